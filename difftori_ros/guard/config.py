# SPDX-License-Identifier: MIT
"""What the guard tolerates."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

OFF_M = 10.0
"""A workspace box whose sides are all this far away, or farther, does not exist [m]."""

MAY_BE_ZERO = ("soft_start_s", "max_slowdown", "max_recoveries")
"""Settings for which zero has a meaning."""


@dataclass(frozen=True)
class GuardConfig:
    """What the guard tolerates.

    Attributes:
        max_plan_age_s: Oldest observation a plan may have been made from [s].
        max_joint_age_s: Oldest joint state a plan's start may be compared with [s].
        max_duration_s: Longest time from a plan's stamp to its rest [s].
        start_tolerance_rad: Largest distance of a plan from the measured joints [rad]. An arm
            follows its trajectory late: 75 ms at 2 rad/s make 0.15 rad.
        start_tolerance_rad_s: Largest measured speed of an arm of which it is not known what it
            follows [rad/s]: it must rest before a plan may start.
        continuity_rad: Largest step from what the arm follows when the plan is sent [rad]: from
            the motion under way, from the rest at its end, or from where the arm is measured. A
            measured arm that moves uses up what it may have moved since.
        continuity_rad_s: Largest velocity step from the motion under way, or from the rest at its
            end, to the plan [rad/s].
        coast_after_s: Age of the inputs of the plan under way from which it counts as late [s].
        coast_s: Time the arm may follow the rest of a late plan before it brakes [s].
        recover_s: Time after such a brake in which a new plan may take over by itself [s].
        max_recoveries: How often a minute it may.
        heartbeat_timeout_s: Silence of the policy after which the arm brakes [s].
        joint_timeout_s: Silence of the joint states in motion after which the arm brakes [s].
        position_tolerance_rad: How far a plan may leave the position limits [rad].
        velocity_factor: How many times the velocity limit a plan may reach [1].
        acceleration_factor: How many times the acceleration limit a plan's cubics may reach [1].
        jerk_factor: How many times the jerk limit a plan's cubics may reach [1].
        follow_tolerance_rad: Largest distance of the measured joints from the motion under way
            [rad].
        max_refusals: Plans refused in a row after which the arm brakes.
        max_slowdown: Share by which plans may be slowed down for long; more is a fault [1].
        slowdown_timeout_s: Time for which they may be slowed down by more than that [s].
        soft_start_s: Time after the start in which plans are slowed down, less and less [s].
        workspace_lower: Lower corner of the box of the tip, in the base frame [m].
        workspace_upper: Upper corner [m].
        self_collision: Keep the profile's spheres apart.

    Raises:
        ValueError: A value makes no sense; the message names it.
    """

    max_plan_age_s: float = 0.5
    max_joint_age_s: float = 0.5
    max_duration_s: float = 10.0
    start_tolerance_rad: float = 0.15
    start_tolerance_rad_s: float = 0.1
    continuity_rad: float = 0.02
    continuity_rad_s: float = 0.3
    coast_after_s: float = 0.3
    coast_s: float = 0.2
    recover_s: float = 1.0
    max_recoveries: int = 3
    heartbeat_timeout_s: float = 0.5
    joint_timeout_s: float = 0.5
    position_tolerance_rad: float = 0.01
    velocity_factor: float = 1.05
    acceleration_factor: float = 1.25
    jerk_factor: float = 1.0
    follow_tolerance_rad: float = 0.25
    max_refusals: int = 10
    max_slowdown: float = 0.5
    slowdown_timeout_s: float = 1.0
    soft_start_s: float = 0.0
    workspace_lower: tuple[float, ...] = (-OFF_M, -OFF_M, -OFF_M)
    workspace_upper: tuple[float, ...] = (OFF_M, OFF_M, OFF_M)
    self_collision: bool = True

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
