# SPDX-License-Identifier: MIT
# pyright: strict
"""What a plan must be by itself: well formed, within the limits, and at rest at its end."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from difftori_models.contract import FloatArray
from difftori_ros.robot import RobotProfile
from difftori_ros.timing import segment_accelerations, split
from difftori_ros.types import Reason, Trajectory

REST_RAD_S = 1e-6
"""Speed that still counts as rest at the end of a plan [rad/s]."""

GRIPPER_TOLERANCE = 0.05
"""Share of the gripper's stroke by which a plan may exceed it, for errors of measurement."""


class RefusedError(Exception):
    """A plan is not to be executed: `reason`, and `detail`, one sentence with numbers."""

    def __init__(self, reason: Reason, detail: str):
        super().__init__(detail)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class GuardConfig:
    """What the guard tolerates.

    Attributes:
        max_plan_age_s: Oldest observation a plan may have been made from [s].
        max_joint_age_s: Oldest joint state a plan's start may be compared with [s].
        max_duration_s: Longest time from a plan's stamp to its rest [s].
        start_tolerance_rad: Largest distance of a plan from the measured joints [rad]. An arm
            follows its trajectory late: 75 ms at 2 rad/s make 0.15 rad.
        start_tolerance_rad_s: Largest difference of a plan's first velocity from the measured one
            when no motion is under way [rad/s].
        continuity_rad: Largest step from the motion under way to the plan [rad].
        continuity_rad_s: Largest velocity step from the motion under way to the plan [rad/s]. One
            that comes 10 ms after its start may be off by twice the acceleration times 10 ms.
        heartbeat_timeout_s: Silence of the policy after which the arm brakes [s].
        joint_timeout_s: Silence of the joint states in motion after which the arm brakes [s].
        position_tolerance_rad: How far a plan may leave the position limits [rad].
        velocity_factor: How many times the velocity limit a plan may reach [1].
        acceleration_factor: How many times the acceleration limit a plan's cubics may reach [1].
        follow_tolerance_rad: Largest distance of the measured joints from the motion under way
            [rad].
        max_refusals: Plans refused in a row after which the arm brakes.

    Raises:
        ValueError: A value is not positive and finite, or a factor is below one.
    """

    max_plan_age_s: float = 0.5
    max_joint_age_s: float = 0.5
    max_duration_s: float = 10.0
    start_tolerance_rad: float = 0.15
    start_tolerance_rad_s: float = 0.5
    continuity_rad: float = 0.02
    continuity_rad_s: float = 0.3
    heartbeat_timeout_s: float = 0.5
    joint_timeout_s: float = 0.5
    position_tolerance_rad: float = 0.01
    velocity_factor: float = 1.05
    acceleration_factor: float = 1.25
    follow_tolerance_rad: float = 0.25
    max_refusals: int = 10

    def __post_init__(self) -> None:
        for name in (item.name for item in fields(self)):
            value = float(getattr(self, name))
            least = 1.0 if name.endswith("factor") or name == "max_refusals" else 1e-6
            if not least <= value < math.inf:
                raise ValueError(f"{name} must be finite and at least {least:g}, got {value:g}")


class PlanCheck:
    """The checks of a plan by itself, for one robot and one configuration."""

    def __init__(self, profile: RobotProfile, config: GuardConfig):
        self._profile, self._longest_s = profile, config.max_duration_s
        self._lower = profile.lower - config.position_tolerance_rad
        self._upper = profile.upper + config.position_tolerance_rad
        self._speed = profile.velocity * config.velocity_factor
        self._effort = profile.acceleration * config.acceleration_factor
        gripper = profile.gripper
        if gripper is not None:
            low, high = sorted((gripper.open, gripper.closed))
            slack = GRIPPER_TOLERANCE * (high - low)
            self._lower = np.append(self._lower, low - slack)
            self._upper = np.append(self._upper, high + slack)
            self._speed = np.append(self._speed, gripper.velocity * config.velocity_factor)

    def check(self, plan: Trajectory, now_ns: int) -> Trajectory:
        """The plan with its joints in profile order, once it has passed.

        Raises:
            RefusedError: It has not.
        """
        with np.errstate(all="ignore"):  # every test is written so that NaN fails it
            self._shape(plan)
            self._finite(plan)
            plan = split(plan, self._names(plan))
            self._times(plan, now_ns)
            self._rest(plan)
            self._limits(plan)
        return plan

    def _names(self, plan: Trajectory) -> tuple[str, ...]:
        """All joints, or the arm's: a policy without a gripper leaves it alone."""
        every = self._profile.joint_names
        return every if len(plan.joint_names) == len(every) else self._profile.arm_joints

    def _shape(self, plan: Trajectory) -> None:
        wanted, got = self._names(plan), plan.joint_names
        if sorted(got) != sorted(wanted):
            detail = f"wanted {' '.join(wanted)}, got {' '.join(got)}"
            raise RefusedError(Reason.JOINT_MISMATCH, detail)
        shape = (len(plan.times), len(got))
        for values in (plan.positions, plan.velocities):
            if values.shape != shape:
                detail = f"wanted {shape[0]} points of {shape[1]} joints, got {values.shape}"
                raise RefusedError(Reason.JOINT_MISMATCH, detail)

    @staticmethod
    def _finite(plan: Trajectory) -> None:
        if not np.isfinite(plan.times).all():
            raise RefusedError(Reason.NON_FINITE, f"times are {plan.times.tolist()}")
        for what, values in (("position", plan.positions), ("velocity", plan.velocities)):
            bad = np.argwhere(~np.isfinite(values))
            if len(bad):
                row, k = (int(i) for i in bad[0])
                detail = f"{what} of {plan.joint_names[k]} is {values[row, k]} in point {row}"
                raise RefusedError(Reason.NON_FINITE, detail)

    def _times(self, plan: Trajectory, now_ns: int) -> None:
        times, longest = plan.times, self._longest_s
        if len(times) < 2:
            detail = f"wanted at least two points, got {len(times)}"
            raise RefusedError(Reason.BAD_TIMES, detail)
        steps = np.diff(times)
        if not (steps > 0).all():
            k = int(np.argmin(steps))
            detail = f"{times[k]:.6f} s is followed by {times[k + 1]:.6f} s in point {k + 1}"
            raise RefusedError(Reason.BAD_TIMES, detail)
        if times[0] < 0 or times[-1] > longest:
            detail = (
                f"runs from {times[0]:.3g} to {times[-1]:.3g} s, allowed are 0 to {longest:g} s"
            )
            raise RefusedError(Reason.BAD_TIMES, detail)
        if now_ns > plan.end_ns:
            detail = f"ended {(now_ns - plan.end_ns) * 1e-9:.3f} s ago"
            raise RefusedError(Reason.BAD_TIMES, detail)

    @staticmethod
    def _rest(plan: Trajectory) -> None:
        last = np.abs(plan.velocities[-1])
        k = int(np.argmax(last))
        if last[k] > REST_RAD_S:
            detail = f"{plan.joint_names[k]} ends at {plan.velocities[-1, k]:.4g} rad/s"
            raise RefusedError(Reason.NOT_AT_REST, detail)

    def _limits(self, plan: Trajectory) -> None:
        n, arm = len(plan.joint_names), len(self._profile.arm_joints)
        h, p, v = np.diff(plan.times)[:, None], plan.positions, plan.velocities
        # a cubic stays within the hull of its Bezier points
        hull = np.concatenate([p, p[:-1] + h * v[:-1] / 3, p[1:] - h * v[1:] / 3])
        self._within(Reason.POSITION_LIMIT, plan, hull, self._lower[:n], self._upper[:n])
        # its speed peaks where its acceleration, which is linear, passes zero
        first, last = segment_accelerations(plan)
        u = first / (first - last)
        peak = np.where((u > 0) & (u < 1), v[:-1] + h * u * first / 2, 0.0)
        speeds = np.concatenate([v, peak])
        self._within(Reason.VELOCITY_LIMIT, plan, speeds, -self._speed[:n], self._speed[:n])
        both = np.concatenate([first, last])[:, :arm]
        self._within(Reason.ACCELERATION_LIMIT, plan, both, -self._effort, self._effort)

    @staticmethod
    def _within(
        reason: Reason, plan: Trajectory, values: FloatArray, low: FloatArray, high: FloatArray
    ) -> None:
        bad = np.argwhere(~((values >= low) & (values <= high)))
        if len(bad):
            row, k = (int(i) for i in bad[0])
            comes = f"{plan.joint_names[k]} comes to {values[row, k]:.4g}"
            raise RefusedError(reason, f"{comes}, allowed are {low[k]:.4g} to {high[k]:.4g}")
