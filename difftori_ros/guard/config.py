# SPDX-License-Identifier: MIT
"""What the guard tolerates, and the parameters of its node."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from difftori_ros.config.parameter import parameter, parameters_of
from difftori_ros.config.parameters import REAL_TIME, ROBOT

OFF_M = 10.0
"""A workspace box whose sides are all this far away, or farther, does not exist [m]."""

MAY_BE_ZERO = ("soft_start_s", "max_slowdown", "max_recoveries")
"""Settings for which zero has a meaning."""


@dataclass(frozen=True)
class GuardConfig:
    """What the guard tolerates. What is no parameter is the same on every robot.

    Raises:
        ValueError: A value makes no sense; the message names it.
    """

    max_plan_age_s: float = parameter(
        0.5, "Oldest observation a plan may have been made from.", unit="s", low=0.01, high=10.0
    )
    start_tolerance_rad: float = parameter(
        0.15,
        "Largest distance of a plan's start from the measured joints. An arm follows its "
        "trajectory late: 75 ms at 2 rad/s make 0.15 rad.",
        unit="rad",
        low=0.001,
        high=1.0,
    )
    continuity_rad: float = parameter(
        0.02,
        "Largest step from what the arm follows when a plan is sent to that plan: from the motion "
        "under way, from the rest at its end, or from where the arm is measured. A measured arm "
        "that moves uses up what it may have moved since.",
        unit="rad",
        low=0.0001,
        high=1.0,
    )
    continuity_rad_s: float = parameter(
        0.3,
        "Largest velocity step from the motion under way, or from the rest at its end, to the "
        "next plan.",
        unit="rad/s",
        low=0.001,
        high=10.0,
    )
    heartbeat_timeout_s: float = parameter(
        0.5,
        "Silence of the policy, on the steady clock, after which the arm brakes.",
        unit="s",
        low=0.05,
        high=60.0,
    )
    joint_timeout_s: float = parameter(
        0.5,
        "Silence of the joint states, on the steady clock, after which a moving arm brakes.",
        unit="s",
        low=0.05,
        high=60.0,
    )
    follow_tolerance_rad: float = parameter(
        0.25,
        "Largest distance of the measured joints from the motion under way; beyond it the arm "
        "brakes.",
        unit="rad",
        low=0.01,
        high=3.0,
    )
    max_refusals: int = parameter(
        10, "Consecutive refused plans after which the arm brakes.", low=1, high=1000
    )
    coast_after_s: float = parameter(
        0.3,
        "Age of the inputs of the plan under way from which on no new plan counts as late.",
        unit="s",
        low=0.01,
        high=10.0,
    )
    coast_s: float = parameter(
        0.2,
        "Time the arm may follow the rest of a late plan before it brakes.",
        unit="s",
        low=0.01,
        high=10.0,
    )
    recover_s: float = parameter(
        1.0,
        "Time after such a brake, on the steady clock, in which a new plan takes over by itself.",
        unit="s",
        low=0.01,
        high=60.0,
    )
    max_recoveries: int = parameter(
        3, "How often a minute it may; then it is a fault until ~/reset.", low=0, high=1000
    )
    max_slowdown: float = parameter(
        0.5,
        "Share of its speed or path that may be taken from plan after plan; more is a fault.",
        low=0.0,
        high=1.0,
    )
    slowdown_timeout_s: float = parameter(
        1.0,
        "Time after which that fault comes, on the steady clock.",
        unit="s",
        low=0.01,
        high=60.0,
    )
    soft_start_s: float = parameter(
        0.0,
        "Time after a start in which plans are slowed down, less and less; 0 for none.",
        unit="s",
        low=0.0,
        high=60.0,
    )
    workspace_lower: tuple[float, ...] = parameter(
        (-OFF_M, -OFF_M, -OFF_M),
        "Lower corner of the box that the tip may not leave, x y z in the base frame; 10 m all "
        "around is no box.",
        unit="m",
        low=-OFF_M,
        high=OFF_M,
    )
    workspace_upper: tuple[float, ...] = parameter(
        (OFF_M, OFF_M, OFF_M),
        "Upper corner of that box, x y z.",
        unit="m",
        low=-OFF_M,
        high=OFF_M,
    )
    self_collision: bool = parameter(True, "Keep the spheres of the robot profile apart.")
    max_joint_age_s: float = 0.5
    """Oldest joint state a plan's start may be compared with [s]."""
    max_duration_s: float = 10.0
    """Longest time from a plan's stamp to its rest [s]."""
    start_tolerance_rad_s: float = 0.1
    """Largest measured speed of an arm of which it is not known what it follows [rad/s]: it must
    rest before a plan may start."""
    position_tolerance_rad: float = 0.01
    """How far a plan may leave the position limits [rad]."""
    velocity_factor: float = 1.05
    """How many times the velocity limit a plan may reach [1]."""
    acceleration_factor: float = 1.25
    """How many times the acceleration limit a plan's cubics may reach [1]."""
    jerk_factor: float = 1.0
    """How many times the jerk limit a plan's cubics may reach [1]."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense, by name."""
        for name in (item.name for item in fields(self)):
            value = getattr(self, name)
            if isinstance(value, bool | tuple | list):
                continue
            least = 1.0 if name.endswith("factor") or name == "max_refusals" else 1e-6
            least = 0.0 if name in MAY_BE_ZERO else least
            if not least <= value < math.inf:
                raise ValueError(f"{name} must be finite and at least {least:g}, got {value:g}")
        corners = (self.workspace_lower, self.workspace_upper)
        if not all(
            len(corner) == 3 and all(map(math.isfinite, corner)) for corner in corners
        ) or not all(low < high for low, high in zip(*corners, strict=True)):
            raise ValueError(
                "workspace_lower must lie below workspace_upper, x y z [m], got "
                f"{list(corners[0])} and {list(corners[1])}"
            )

    @property
    def has_box(self) -> bool:
        """Whether the tip has a workspace box."""
        sides = (*self.workspace_lower, *self.workspace_upper)
        return any(abs(side) < OFF_M for side in sides)


@dataclass(frozen=True)
class GuardNodeParameters:
    """What the guard's node needs beside its tolerances."""

    robot: str = parameter("panda", ROBOT)
    output: str = parameter(
        "trajectory",
        "What the controllers take: JointTrajectory messages, FollowJointTrajectory goals, or "
        "streamed positions or velocities on <controller>/commands.",
        choices=("trajectory", "action", "position", "velocity"),
    )
    rate_hz: float = parameter(
        50.0,
        "Rate of the watchdog and of streamed commands.",
        unit="Hz",
        low=10.0,
        high=1000.0,
    )


GUARD = (*parameters_of(GuardNodeParameters), *parameters_of(GuardConfig), *REAL_TIME)
