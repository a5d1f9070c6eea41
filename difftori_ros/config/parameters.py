# SPDX-License-Identifier: MIT
"""The parameters of the policy node and of the black box, and those that several nodes share.

The guard's are in `difftori_ros.guard.config`, those of the simulated robot in
`difftori_sim.ros.bridge_parameters`.
"""

from __future__ import annotations

from dataclasses import dataclass

from .parameter import Parameter, parameter, parameters_of

__all__ = ["BLACKBOX", "POLICY", "REAL_TIME", "TRANSPORT", "Parameter"]

ROBOT = "Robot profile: a name that ships, or the path of a YAML file."


@dataclass(frozen=True)
class RealTimeParameters:
    """What a process asks of the operating system."""

    realtime_priority: int = parameter(
        0, "SCHED_FIFO priority of the process; 0 leaves it alone.", low=0, high=99
    )
    cpu_affinity: tuple[int, ...] = parameter(
        (-1,), "Cores that the process may run on; [-1] for all.", low=-1, high=4095
    )
    lock_memory: bool = parameter(False, "Keep the memory of the process in RAM (mlockall).")


@dataclass(frozen=True)
class TransportParameters:
    """As what images and points come; policy and black box must agree."""

    image_transport: str = parameter(
        "raw",
        "How images come: 'raw' as Image on '<camera>/image_raw', 'compressed' as JPEG or PNG on "
        "'<camera>/image_raw/compressed'.",
        choices=("raw", "compressed"),
    )
    points_from: str = parameter(
        "cloud",
        "How points come: 'cloud' as PointCloud2, 'depth' as depth images on "
        "'<stream>/image_rect_raw' with '<stream>/camera_info', without colour.",
        choices=("cloud", "depth"),
    )


@dataclass(frozen=True)
class PolicyParameters:
    """What plans, from what, when and how fast."""

    checkpoint: str = parameter(
        "pick_cube_points",
        "Folder of the checkpoint, or the name of one that ships; 'hold' holds the measured pose, "
        "'replay:FILE' plays a recorded motion: neither needs a network.",
    )
    checkpoint_sha256: str = parameter(
        "",
        "SHA-256 that the weights must have (export.json where the checkpoint's own graphs run, "
        "with a replay the recording); empty for any.",
    )
    robot: str = parameter("panda", ROBOT)
    device: str = parameter("cpu", "Where the networks run.", choices=("cpu", "cuda"))
    backend: str = parameter(
        "auto",
        "What runs the networks: 'auto' takes cuda_graph on a GPU, exported ONNX graphs on a CPU "
        "(the checkpoint's own, else those in the user's cache, made at first use), and eager "
        "PyTorch where there can be none.",
        choices=("auto", "eager", "onnx", "cuda_graph"),
    )
    threads: int = parameter(1, "CPU threads of the planner.", low=1, high=64)
    refine: bool = parameter(
        True, "Refine the base policy's actions; false sends them as they are.", live=True
    )
    trigger: str = parameter(
        "timer",
        "When to plan: 'timer' at the checkpoint's rate, 'observation' once for every stamp that "
        "all streams share.",
        choices=("timer", "observation"),
    )
    deadline_s: float = parameter(
        0.05,
        "Time one plan may take on the steady clock; 0 for no limit.",
        unit="s",
        low=0.0,
        high=10.0,
        live=True,
    )
    planner_timeout_s: float = parameter(
        0.5,
        "Time over its deadline, on the steady clock, after which a plan is given up with its "
        "planner, and another planner is made.",
        unit="s",
        low=0.05,
        high=600.0,
    )
    max_divergences: int = parameter(
        3,
        "Consecutive plans that may diverge before the policy is latched until ~/reset.",
        low=1,
        high=1000,
    )
    command_latency_s: float = parameter(
        0.02,
        "Time a plan gets to reach the controller: it leaves the running one this much later.",
        unit="s",
        low=0.0,
        high=0.05,
    )
    dry_run: bool = parameter(False, "Plan and publish everything but the plan itself.", live=True)
    autostart: bool = parameter(True, "Configure and activate without being asked.")
    seed: int = parameter(0, "Seed of the planner's episode.", low=0, high=2**31 - 1)
    start_pose_tolerance_rad: float = parameter(
        0.0,
        "Largest distance from the profile's home pose at activation; 0 for any.",
        unit="rad",
        low=0.0,
        high=3.2,
    )
    start_tolerance_rad: float = parameter(
        0.1,
        "Largest distance from the first point of a replay that it starts from.",
        unit="rad",
        low=0.001,
        high=1.0,
    )
    joint_states_max_age_s: float = parameter(
        0.05,
        "Oldest joint state a plan is made from.",
        unit="s",
        low=0.001,
        high=10.0,
        live=True,
    )
    points_max_age_s: float = parameter(
        0.2, "Oldest cloud a plan is made from.", unit="s", low=0.001, high=10.0, live=True
    )
    image_max_age_s: float = parameter(
        0.2, "Oldest image a plan is made from.", unit="s", low=0.001, high=10.0, live=True
    )
    pose_max_age_s: float = parameter(
        0.5, "Oldest pose a plan is made from.", unit="s", low=0.001, high=10.0, live=True
    )
    frozen_frames: int = parameter(
        30,
        "Consecutive identical clouds, with new stamps, that are reported as FROZEN; 0 for never.",
        low=0,
        high=100000,
    )
    frozen_is_fault: bool = parameter(False, "Make no plans from a frozen cloud.")
    camera_frame: str = parameter(
        "", "Frame of the camera whose extrinsics are given here; empty for TF alone."
    )
    camera_pose: tuple[float, ...] = parameter(
        (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0),
        "Pose of camera_frame in the robot's base frame: x y z [m], quaternion x y z w.",
        low=-1000.0,
        high=1000.0,
    )


@dataclass(frozen=True)
class BlackboxParameters:
    """What is recorded, where, and how much of it."""

    checkpoint: str = parameter(
        "pick_cube_points",
        "Checkpoint of the policy, which names the streams: a folder, or a name that ships.",
    )
    robot: str = parameter("panda", ROBOT)
    folder: str = parameter(
        "",
        "Where the files are written; empty for the folder 'difftori' below ROS's log directory.",
    )
    before_s: float = parameter(
        10.0,
        "What is kept from before a fault, on the steady clock.",
        unit="s",
        low=0.1,
        high=600.0,
    )
    after_s: float = parameter(
        1.0,
        "What is recorded of the time after it, on the steady clock.",
        unit="s",
        low=0.0,
        high=60.0,
    )
    max_megabytes: int = parameter(
        128,
        "Most that is kept in memory; the topic that takes most of it gives way first.",
        unit="MB",
        low=1,
        high=16384,
    )
    max_files: int = parameter(
        20, "Files kept in the folder; the oldest are deleted.", low=1, high=100000
    )


REAL_TIME = parameters_of(RealTimeParameters)
TRANSPORT = parameters_of(TransportParameters)
POLICY = (*parameters_of(PolicyParameters), *TRANSPORT, *REAL_TIME)
BLACKBOX = (*parameters_of(BlackboxParameters), *TRANSPORT)
