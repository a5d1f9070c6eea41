# SPDX-License-Identifier: MIT
"""Every parameter of the robot side: name, default, meaning, range (see `config/*.yaml`)."""

from __future__ import annotations

from dataclasses import dataclass

Value = str | bool | int | float | list[float] | list[str]


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
    """

    name: str
    default: Value
    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()

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


POLICY = (
    Parameter(
        "checkpoint",
        "pick_cube_points",
        "Folder of the checkpoint, or the name of one that ships.",
    ),
    Parameter("robot", "panda", "Robot profile: a name that ships, or the path of a YAML file."),
    Parameter("device", "cpu", "Where the networks run.", choices=("cpu", "cuda")),
    Parameter(
        "backend",
        "auto",
        "What runs the networks: 'auto' takes cuda_graph on a GPU, exported ONNX graphs on a CPU "
        "where the checkpoint has them, and eager PyTorch otherwise.",
        choices=("auto", "eager", "compile", "onnx", "cuda_graph"),
    ),
    Parameter("threads", 1, "CPU threads of the planner.", 1, 64),
    Parameter("refine", True, "Refine the base policy's actions; false sends them as they are."),
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
        "Time one plan may take on the steady clock [s]; 0 for no limit.",
        0.0,
        10.0,
    ),
    Parameter(
        "lead_s",
        0.02,
        "Time a plan gets to reach the controller: it leaves the running one this much later [s].",
        0.0,
        0.05,
    ),
    Parameter("dry_run", False, "Plan and publish everything but the plan itself."),
    Parameter("autostart", True, "Configure and activate without being asked."),
    Parameter("seed", 0, "Seed of the planner's episode.", 0, 2**31 - 1),
    Parameter(
        "joint_states_max_age_s", 0.05, "Oldest joint state a plan is made from [s].", 0.001, 10.0
    ),
    Parameter("points_max_age_s", 0.2, "Oldest cloud a plan is made from [s].", 0.001, 10.0),
    Parameter("pose_max_age_s", 0.5, "Oldest pose a plan is made from [s].", 0.001, 10.0),
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
        "Largest step between the running plan and the next [rad].",
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
        "Silence of the joint states after which the arm brakes [s, steady clock].",
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
)
