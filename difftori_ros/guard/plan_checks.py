# SPDX-License-Identifier: MIT
"""What a plan must be by itself: well formed, at rest at its end, and within the limits.

What is malformed is refused. A plan beyond a limit may still be saved by slowing it down along its
path (`retiming`), so the limits are a check of their own that tells where the first excess lies.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from difftori_ros.motion.trajectory import segment_accelerations, split
from difftori_ros.robot.profile import RobotProfile
from difftori_ros.types import FloatArray, Reason, Trajectory

from .config import GuardConfig

REST_RAD_S = 1e-6
"""Speed that still counts as rest at the end of a plan [rad/s]."""

GRIPPER_TOLERANCE = 0.05
"""Share of the gripper's stroke by which a plan may exceed it, for errors of measurement."""


KINDS = (
    *[Reason.POSITION_LIMIT] * 4,
    *[Reason.VELOCITY_LIMIT] * 3,
    *[Reason.ACCELERATION_LIMIT] * 2,
    *[Reason.JERK_LIMIT] * 2,
)
"""What each row of the table of limited values is about, in the order in which it is told."""


class RefusedError(Exception):
    """A plan is not to be executed: `reason`, and `detail`, one sentence with numbers.

    Where it is a limit that is exceeded, `from_s` is the time of the last point before that, on
    the plan's own times [s].
    """

    def __init__(self, reason: Reason, detail: str, from_s: float | None = None):
        super().__init__(detail)
        self.reason, self.detail, self.from_s = reason, detail, from_s


class PlanCheck:
    """The checks of a plan by itself, for one robot and one configuration."""

    def __init__(self, profile: RobotProfile, config: GuardConfig):
        self._profile, self._longest_s = profile, config.max_duration_s
        lower = profile.lower - config.position_tolerance_rad
        upper = profile.upper + config.position_tolerance_rad
        speed = profile.velocity * config.velocity_factor
        effort = profile.acceleration * config.acceleration_factor
        jerk = profile.jerk * config.jerk_factor
        gripper = profile.gripper
        if gripper is not None:  # it has a range and a speed, and no other limits
            low, high = sorted((gripper.open, gripper.closed))
            slack = GRIPPER_TOLERANCE * (high - low)
            lower, upper = np.append(lower, low - slack), np.append(upper, high + slack)
            speed = np.append(speed, gripper.velocity * config.velocity_factor)
            effort, jerk = np.append(effort, np.inf), np.append(jerk, np.inf)
        repeats = [4, 3, 2, 2]  # as in `KINDS`
        self._lower = np.array([lower, -speed, -effort, -jerk]).repeat(repeats, axis=0)
        self._upper = np.array([upper, speed, effort, jerk]).repeat(repeats, axis=0)

    def check(self, plan: Trajectory, now_ns: int) -> Trajectory:
        """The plan with its joints in profile order, once it is known to be well formed.

        Raises:
            RefusedError: It is not.
        """
        with np.errstate(all="ignore"):  # every test is written so that NaN fails it
            self._shape(plan)
            self._finite(plan)
            plan = split(plan, self._names(plan))
            self._times(plan, now_ns)
            self._rest(plan)
        return plan

    def _names(self, plan: Trajectory) -> tuple[str, ...]:
        """All joints, or the arm's: a policy without a gripper leaves it alone."""
        every = self._profile.joint_names
        return every if len(plan.joint_names) == len(every) else self._profile.arm_joints

    def _shape(self, plan: Trajectory) -> None:
        wanted, got = self._names(plan), plan.joint_names
        if got != wanted and sorted(got) != sorted(wanted):
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
            finite = np.isfinite(values)
            if not finite.all():
                row, k = (int(i) for i in np.argwhere(~finite)[0])
                detail = f"{what} of {plan.joint_names[k]} is {values[row, k]} in point {row}"
                raise RefusedError(Reason.NON_FINITE, detail)

    def _times(self, plan: Trajectory, now_ns: int) -> None:
        times, longest = plan.times, self._longest_s
        if len(times) < 2:
            detail = f"wanted at least two points, got {len(times)}"
            raise RefusedError(Reason.BAD_TIMES, detail)
        steps = times[1:] - times[:-1]
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

    def limits(self, plan: Trajectory) -> None:
        """Pass silently when a plan that `check` gave keeps every limit at every time.

        Raises:
            RefusedError: It does not; the first excess of the first kind is told.
        """
        n, arm = len(plan.joint_names), len(self._profile.arm_joints)
        times, p, v = plan.times, plan.positions, plan.velocities
        values = np.zeros((len(self._lower), len(times) - 1, n))
        with np.errstate(all="ignore"):
            h = (times[1:] - times[:-1])[:, None]
            # a cubic stays within the hull of its Bezier points
            values[0], values[3] = p[:-1], p[1:]
            third = h / 3
            values[1], values[2] = p[:-1] + third * v[:-1], p[1:] - third * v[1:]
            # its speed peaks where its acceleration, which is linear, passes zero
            first, last = segment_accelerations(plan)
            u = first / (first - last)
            values[4], values[6] = v[:-1], v[1:]
            peaks = (u > 0) & (u < 1)
            np.copyto(values[5], v[:-1] + h / 2 * u * first, where=peaks)
            # its jerk is constant; where two of them meet the acceleration may step
            first, last = first[:, :arm], last[:, :arm]
            values[7, :, :arm], values[8, :, :arm] = first, last
            values[9, :, :arm] = (last - first) / h
            values[10, :-1, :arm] = (first[1:] - last[:-1]) / ((h[:-1] + h[1:]) / 2)
            values[10, -1, :arm] = -last[-1] / h[-1]
        low, high = self._lower[:, None, :n], self._upper[:, None, :n]
        inside = (values >= low) & (values <= high)  # NaN is not
        if not inside.all():
            self._refuse(plan, values, inside)

    def _refuse(self, plan: Trajectory, values: FloatArray, inside: NDArray[np.bool_]) -> None:
        """Name the first excess of the first kind; values (rows, segments, joints)."""
        reason = KINDS[int((~inside).any(axis=(1, 2)).argmax())]
        rows = [row for row, kind in enumerate(KINDS) if kind is reason]
        bad = ~inside[rows]
        segment = int(bad.any(axis=(0, 2)).argmax())
        kind, k = (int(i) for i in np.argwhere(bad[:, segment])[0])
        row = rows[kind]
        comes = f"{plan.joint_names[k]} comes to {values[row, segment, k]:.4g}"
        low, high = self._lower[row, k], self._upper[row, k]
        detail = f"{comes}, allowed are {low:.4g} to {high:.4g}"
        raise RefusedError(reason, detail, float(plan.times[segment]))
