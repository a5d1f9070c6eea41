# SPDX-License-Identifier: MIT
"""Every parameter of the robot side: name, default, meaning, range (see `config/*.yaml`)."""

from __future__ import annotations

from dataclasses import dataclass

Value = str | bool | int | float | list[int] | list[float] | list[str]


@dataclass(frozen=True)
class Parameter:
    """One declared ROS parameter.

    Attributes:
        name: Its name.
        default: Its default; also fixes its type.
        description: One sentence, with the unit.
        low: Smallest value allowed, for numbers.
        high: Largest value allowed, for numbers.
        choices: Values allowed, for strings; empty for any.
        live: It can be set while the node runs; all others are read-only then.
    """

    name: str
    default: Value
    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    live: bool = False

    def check(self, value: Value) -> str | None:
        """The sentence that says what is wrong with `value`, or None when it is allowed."""
        if self.choices and value not in self.choices:
            return (
                f"parameter '{self.name}': wanted one of {', '.join(self.choices)}, got '{value}'"
            )
        if self.low is not None and self.high is not None:
            numbers = value if isinstance(value, list) else [value]
            for number in numbers:
                if not isinstance(number, int | float) or not self.low <= number <= self.high:
                    limits = f"{self.low:g} to {self.high:g}"
                    return f"parameter '{self.name}': wanted {limits}, got {value}"
        return None


REAL_TIME = (
    Parameter(
        "realtime_priority", 0, "SCHED_FIFO priority of the process; 0 leaves it alone.", 0, 99
    ),
    Parameter("cpu_affinity", [-1], "Cores that the process may run on; [-1] for all.", -1, 4095),
    Parameter("lock_memory", False, "Keep the memory of the process in RAM (mlockall)."),
)

WAYS = (
    Parameter(
        "image_transport",
        "raw",
        "How images come: 'raw' as Image on '<camera>/image_raw', 'compressed' as JPEG or PNG on "
        "'<camera>/image_raw/compressed'.",
        choices=("raw", "compressed"),
    ),
    Parameter(
        "points_from",
        "cloud",
        "How points come: 'cloud' as PointCloud2, 'depth' as depth images on "
        "'<stream>/image_rect_raw' with '<stream>/camera_info', without colour.",
        choices=("cloud", "depth"),
    ),
)
"""How images and points come; policy and black box must agree."""

POLICY = (
    Parameter(
        "checkpoint",
        "pick_cube_points",
        "Folder of the checkpoint, or the name of one that ships; 'hold' holds the measured pose, "
        "'replay:FILE' plays a recorded motion: neither needs a network.",
    ),
    Parameter(
        "checkpoint_sha256",
        "",
        "SHA-256 that the weights must have (export.json where the checkpoint's own graphs run, "
        "with a replay the recording); empty for any.",
    ),
    Parameter("robot", "panda", "Robot profile: a name that ships, or the path of a YAML file."),
    Parameter("device", "cpu", "Where the networks run.", choices=("cpu", "cuda")),
    Parameter(
        "backend",
        "auto",
        "What runs the networks: 'auto' takes cuda_graph on a GPU, exported ONNX graphs on a CPU "
        "(the checkpoint's own, else those in the user's cache, made at first use), and eager "
        "PyTorch where there can be none.",
        choices=("auto", "eager", "onnx", "cuda_graph"),
    ),
    Parameter("threads", 1, "CPU threads of the planner.", 1, 64),
    Parameter(
        "refine",
        True,
        "Refine the base policy's actions; false sends them as they are. Live.",
        live=True,
    ),
    Parameter(
        "trigger",
        "timer",
        "When to plan: 'timer' at the checkpoint's rate, 'observation' once for every stamp that "
        "all streams share.",
        choices=("timer", "observation"),
    ),
    Parameter(
        "deadline_s",
        0.05,
        "Time one plan may take on the steady clock [s]; 0 for no limit. Live.",
        0.0,
        10.0,
        live=True,
    ),
    Parameter(
        "hang_s",
        0.5,
        "Time over its deadline after which a plan is given up with its planner, and another "
        "planner is made [s, steady clock].",
        0.05,
        600.0,
    ),
    Parameter(
        "max_divergences",
        3,
        "Plans in a row that may diverge before the policy is latched until ~/reset.",
        1,
        1000,
    ),
    Parameter(
        "lead_s",
        0.02,
        "Time a plan gets to reach the controller: it leaves the running one this much later [s].",
        0.0,
        0.05,
    ),
    Parameter(
        "dry_run", False, "Plan and publish everything but the plan itself. Live.", live=True
    ),
    Parameter("autostart", True, "Configure and activate without being asked."),
    Parameter("seed", 0, "Seed of the planner's episode.", 0, 2**31 - 1),
    Parameter(
        "start_pose_tolerance_rad",
        0.0,
        "Largest distance from the profile's home pose at activation [rad]; 0 for any.",
        0.0,
        3.2,
    ),
    Parameter(
        "start_tolerance_rad",
        0.1,
        "Largest distance from the first point of a replay that it starts from [rad].",
        0.001,
        1.0,
    ),
    Parameter(
        "joint_states_max_age_s",
        0.05,
        "Oldest joint state a plan is made from [s]. Live.",
        0.001,
        10.0,
        live=True,
    ),
    Parameter(
        "points_max_age_s",
        0.2,
        "Oldest cloud a plan is made from [s]. Live.",
        0.001,
        10.0,
        live=True,
    ),
    Parameter(
        "image_max_age_s",
        0.2,
        "Oldest image a plan is made from [s]. Live.",
        0.001,
        10.0,
        live=True,
    ),
    Parameter(
        "pose_max_age_s", 0.5, "Oldest pose a plan is made from [s]. Live.", 0.001, 10.0, live=True
    ),
    *WAYS,
    Parameter(
        "frozen_frames",
        30,
        "Identical clouds in a row, with new stamps, that are reported as FROZEN; 0 for never.",
        0,
        100000,
    ),
    Parameter("frozen_is_fault", False, "Make no plans from a frozen cloud."),
    Parameter(
        "camera_frame",
        "",
        "Frame of the camera whose extrinsics are given here; empty for TF alone.",
    ),
    Parameter(
        "camera_pose",
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0],
        "Pose of camera_frame in the robot's base frame: x y z [m], quaternion x y z w.",
        -1000.0,
        1000.0,
    ),
    *REAL_TIME,
)

GUARD = (
    Parameter("robot", "panda", "Robot profile: a name that ships, or the path of a YAML file."),
    Parameter(
        "max_plan_age_s", 0.5, "Oldest observation a plan may have been made from [s].", 0.01, 10.0
    ),
    Parameter(
        "start_tolerance_rad",
        0.15,
        "Largest distance of a plan's start from the measured joints [rad].",
        0.001,
        1.0,
    ),
    Parameter(
        "continuity_rad",
        0.02,
        "Largest step from what the arm follows when a plan is sent to that plan [rad].",
        0.0001,
        1.0,
    ),
    Parameter(
        "continuity_rad_s",
        0.3,
        "Largest velocity step between the running plan and the next [rad/s].",
        0.001,
        10.0,
    ),
    Parameter(
        "heartbeat_timeout_s",
        0.5,
        "Silence of the policy after which the arm brakes [s, steady clock].",
        0.05,
        60.0,
    ),
    Parameter(
        "joint_timeout_s",
        0.5,
        "Silence of the joint states after which a moving arm brakes [s, steady clock].",
        0.05,
        60.0,
    ),
    Parameter(
        "follow_tolerance_rad",
        0.25,
        "Largest distance of the measured joints from the running plan; beyond it the arm brakes "
        "[rad].",
        0.01,
        3.0,
    ),
    Parameter("max_refusals", 10, "Refused plans in a row after which the arm brakes.", 1, 1000),
    Parameter(
        "coast_after_s",
        0.3,
        "Age of the inputs of the plan under way from which on no new plan counts as late [s].",
        0.01,
        10.0,
    ),
    Parameter(
        "coast_s", 0.2, "Time the arm may follow a late plan before it brakes [s].", 0.01, 10.0
    ),
    Parameter(
        "recover_s",
        1.0,
        "Time after such a brake in which a new plan takes over by itself [s, steady clock].",
        0.01,
        60.0,
    ),
    Parameter(
        "max_recoveries",
        3,
        "How often a minute it may; then it is a fault until ~/reset.",
        0,
        1000,
    ),
    Parameter(
        "max_slowdown",
        0.5,
        "Share of its speed or path that may be taken from plan after plan; more is a fault.",
        0.0,
        1.0,
    ),
    Parameter(
        "slowdown_timeout_s",
        1.0,
        "Time after which that fault comes [s, steady clock].",
        0.01,
        60.0,
    ),
    Parameter(
        "soft_start_s",
        0.0,
        "Time after a start in which plans are slowed down, less and less; 0 for none [s].",
        0.0,
        60.0,
    ),
    Parameter(
        "workspace_lower",
        [-10.0, -10.0, -10.0],
        "Lower corner of the box that the tip may not leave, x y z in the base frame; "
        "10 m all around is no box [m].",
        -10.0,
        10.0,
    ),
    Parameter(
        "workspace_upper", [10.0, 10.0, 10.0], "Upper corner of that box, x y z [m].", -10.0, 10.0
    ),
    Parameter("self_collision", True, "Keep the spheres of the robot profile apart."),
    Parameter(
        "output",
        "trajectory",
        "What the controllers take: JointTrajectory messages, FollowJointTrajectory goals, or "
        "streamed positions or velocities on <controller>/commands.",
        choices=("trajectory", "action", "position", "velocity"),
    ),
    Parameter(
        "rate_hz", 50.0, "Rate of the watchdog and of streamed commands [Hz].", 10.0, 1000.0
    ),
    *REAL_TIME,
)

BLACKBOX = (
    Parameter(
        "checkpoint",
        "pick_cube_points",
        "Checkpoint of the policy, which names the streams: a folder, or a name that ships.",
    ),
    Parameter("robot", "panda", "Robot profile: a name that ships, or the path of a YAML file."),
    *WAYS,
    Parameter(
        "folder",
        "",
        "Where the files are written; empty for the folder 'difftori' below ROS's log directory.",
    ),
    Parameter("before_s", 10.0, "What is kept from before a fault [s, steady clock].", 0.1, 600.0),
    Parameter(
        "after_s", 1.0, "What is recorded of the time after it [s, steady clock].", 0.0, 60.0
    ),
    Parameter(
        "max_megabytes",
        128,
        "Most that is kept in memory [MB]; the topic that takes most of it gives way first.",
        1,
        16384,
    ),
    Parameter("max_files", 20, "Files kept in the folder; the oldest are deleted.", 1, 100000),
)
