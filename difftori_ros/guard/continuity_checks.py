# SPDX-License-Identifier: MIT
"""How a plan must meet the world: made from fresh inputs, and joined to what the arm follows.

What counts is the moment in which the plan is sent, and the plan at the time when it takes over,
not at its own start: one that is late has gone on without the arm.
"""

from __future__ import annotations

import numpy as np

from difftori_ros.robot.profile import Gripper
from difftori_ros.types import FloatArray, JointState, Reason, Trajectory

from .config import GuardConfig
from .motion_under_way import MotionUnderWay, start_ns
from .plan_checks import RefusedError

FUTURE_S = 0.05
"""How far in the future a plan's stamp or start may lie [s]: clocks of two machines disagree."""

GRIPPER_STEP = 0.1
"""Share of the gripper's stroke by which a plan may step it [1]: fingers hold things."""

GRIPPER_LAG_S = 0.075
"""How late a gripper follows its targets [s]."""


class ContinuityCheck:
    """The checks of a plan against the measured joints and the motion under way."""

    def __init__(self, config: GuardConfig, gripper: Gripper | None):
        self._config = config
        self._gripper_step = 0.0
        if gripper is not None:
            stroke = abs(gripper.open - gripper.closed)
            self._gripper_step = GRIPPER_STEP * stroke + GRIPPER_LAG_S * gripper.velocity

    def ages(
        self, plan: Trajectory, now_ns: int, measured: JointState | None, since_ns: int
    ) -> JointState:
        """The measured joints, when they and the plan are fresh.

        Args:
            plan: The plan.
            now_ns: The present time [ns].
            measured: The newest joint states since the last break, if there are any.
            since_ns: Time of the last break [ns]: what a plan from before continues has ended.

        Raises:
            RefusedError: They are not fresh.
        """
        config = self._config
        age_s = (now_ns - plan.stamp_ns) * 1e-9
        if plan.stamp_ns < since_ns:
            before_s = (since_ns - plan.stamp_ns) * 1e-9
            detail = f"made from inputs {before_s:.3f} s before the last break"
            raise RefusedError(Reason.STALE_PLAN, detail)
        if not -FUTURE_S <= age_s <= config.max_plan_age_s:
            detail = f"made from inputs {age_s:.3f} s old, allowed are {config.max_plan_age_s:g} s"
            raise RefusedError(Reason.STALE_PLAN, detail)
        ahead_s = float(plan.times[0]) - age_s
        if ahead_s > FUTURE_S:
            raise RefusedError(Reason.BAD_TIMES, f"starts {ahead_s:.3f} s in the future")
        if measured is None:
            raise RefusedError(Reason.START_MISMATCH, "there are no joint states to compare with")
        age_s = (now_ns - measured.stamp_ns) * 1e-9
        if age_s > config.max_joint_age_s:
            detail = (
                f"joint states are {age_s:.3f} s old, allowed are {config.max_joint_age_s:g} s"
            )
            raise RefusedError(Reason.START_MISMATCH, detail)
        return measured

    def arm(
        self, plan: Trajectory, now_ns: int, measured: JointState, motion: MotionUnderWay
    ) -> None:
        """Pass silently when the arm's part joins, at `now_ns`, what the arm follows then.

        That is the motion under way, else the rest at its end, else where the arm is measured.

        Raises:
            RefusedError: It does not.
        """
        config = self._config
        begin_ns, reason = start_ns(plan), Reason.START_MISMATCH
        # where the arm was to be when it was measured: on the plan, or on what it continues
        was = motion.following(measured.stamp_ns)
        earlier = was is not None and was.stamp_ns <= measured.stamp_ns < was.end_ns
        if was is not None and earlier and measured.stamp_ns < begin_ns:
            position, _ = was.sample(measured.stamp_ns)
        else:
            position, _ = plan.sample(max(begin_ns, measured.stamp_ns))
        gap = np.abs(position - measured.position)
        _within(plan, reason, gap, config.start_tolerance_rad, position, measured.position)
        join_ns = max(begin_ns, now_ns)
        running = motion.following(join_ns)
        position, velocity = plan.sample(join_ns)
        if running is not None and join_ns < running.end_ns:
            reason = Reason.DISCONTINUOUS
            was_at, was_moving = running.sample(join_ns)
            gap = np.abs(position - was_at)
            _within(plan, reason, gap, config.continuity_rad, position, was_at)
            gap = np.abs(velocity - was_moving)
            _within(plan, reason, gap, config.continuity_rad_s, velocity, was_moving, "rad/s")
            return
        # Each joint starts where it is measured, as far as it cannot have gone on since, or where
        # it was told to rest. What was measured before that rest tells nothing about it.
        drift = np.abs(measured.velocity) * max(0.0, (join_ns - measured.stamp_ns) * 1e-9)
        here, still = measured.position, np.zeros_like(velocity)
        gap = np.abs(position - here) + drift
        if running is None:
            speed, limit = np.abs(measured.velocity), config.start_tolerance_rad_s
            _within(plan, reason, speed, limit, measured.velocity, still, "rad/s")
        else:
            told = running.positions[-1]
            told_gap, resting = np.abs(position - told), measured.stamp_ns >= running.end_ns
            nearer = (gap < told_gap) & resting
            here, gap = np.where(nearer, here, told), np.where(nearer, gap, told_gap)
            if resting:
                moves = np.abs(velocity - measured.velocity) < np.abs(velocity)
                still = np.where(moves, measured.velocity, still)
        limit = config.continuity_rad_s
        _within(plan, reason, np.abs(velocity - still), limit, velocity, still, "rad/s")
        _within(plan, reason, gap, config.continuity_rad, position, here)

    def gripper(
        self,
        plan: Trajectory,
        now_ns: int,
        measured: tuple[int, float] | None,
        running: Trajectory | None,
    ) -> None:
        """Pass silently when the gripper's part starts near where it is told to be by then.

        Once it rests it may be where it is measured: at something that it holds.

        Args:
            plan: The gripper's part.
            now_ns: The present time [ns].
            measured: When and where it was measured; None when that is not known.
            running: What the gripper follows; None when that is not known.

        Raises:
            RefusedError: It does not.
        """
        join_ns = max(now_ns, start_ns(plan))
        known = [] if running is None else [float(running.sample(join_ns)[0][0])]
        if measured is not None and (running is None or measured[0] >= running.end_ns):
            known.append(measured[1])
        wanted = float(plan.sample(join_ns)[0][0])
        steps = [abs(wanted - position) for position in known]
        if steps and min(steps) > self._gripper_step:
            detail = (
                f"{plan.joint_names[0]} at {wanted:.4f} instead of {known[0]:.4f}, "
                f"allowed are {self._gripper_step:.3g}"
            )
            raise RefusedError(Reason.DISCONTINUOUS, detail)


def _within(
    plan: Trajectory,
    reason: Reason,
    gap: FloatArray,
    limit: float,
    wanted: FloatArray,
    found: FloatArray,
    unit: str = "rad",
) -> None:
    k = int(np.argmax(gap))
    if gap[k] > limit:
        detail = f"{plan.joint_names[k]} at {wanted[k]:.4f} instead of {found[k]:.4f} {unit}"
        raise RefusedError(reason, f"{detail}, allowed are {limit:g} {unit}")
