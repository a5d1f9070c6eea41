# SPDX-License-Identifier: MIT
# pyright: strict
"""How a plan must meet the world: made from fresh inputs, and begun where the arm is."""

from __future__ import annotations

import numpy as np

from difftori_models.contract import FloatArray
from difftori_ros.guard_config import GuardConfig
from difftori_ros.plan_check import RefusedError
from difftori_ros.types import JointState, Reason, Trajectory

FUTURE_S = 0.05
"""How far in the future a plan's stamp or start may lie [s]: clocks of two machines disagree."""

LAG_S = 0.075
"""How late an arm follows its trajectory [s]: so far it may be from where a plan starts."""


class JoinCheck:
    """The checks of a plan against the measured joints and the motion under way."""

    def __init__(self, config: GuardConfig):
        self._config = config

    def ages(self, plan: Trajectory, now_ns: int, measured: JointState | None) -> None:
        """Pass silently when plan and joint states are fresh.

        Raises:
            RefusedError: They are not.
        """
        config = self._config
        age_s = (now_ns - plan.stamp_ns) * 1e-9
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

    def start(
        self,
        arm: Trajectory,
        now_ns: int,
        measured: JointState | None,
        running: Trajectory | None,
    ) -> None:
        """Pass silently when the arm's part starts at the measured joints and joins the motion.

        Raises:
            RefusedError: It does not.
        """
        assert measured is not None  # `ages`
        config = self._config
        start_ns = arm.stamp_ns + round(float(arm.times[0]) * 1e9)
        reason = Reason.START_MISMATCH
        position, _ = arm.sample(max(start_ns, measured.stamp_ns))
        _near(reason, arm, position, measured.position, config.start_tolerance_rad, "rad")
        join_ns = max(start_ns, now_ns)
        if running is None or join_ns >= running.end_ns:
            tolerance = config.start_tolerance_rad_s
            _near(reason, arm, arm.velocities[0], measured.velocity, tolerance, "rad/s")
            # A plan that was built upon others which were never passed on starts elsewhere, and
            # the arm would jump. Each joint starts where it is, or where it was told to rest.
            told = measured.position if running is None else running.positions[-1]
            lag = LAG_S * np.abs(measured.velocity)
            here = np.clip(position, measured.position - lag, measured.position + lag)
            nearer = np.abs(position - told) < np.abs(position - here)
            start = np.where(nearer, told, here)
            _near(reason, arm, position, start, config.continuity_rad, "rad")
            return
        reason = Reason.DISCONTINUOUS
        position, velocity = arm.sample(join_ns)
        was_at, was_moving = running.sample(join_ns)
        _near(reason, arm, position, was_at, config.continuity_rad, "rad")
        _near(reason, arm, velocity, was_moving, config.continuity_rad_s, "rad/s")


def _near(
    reason: Reason, arm: Trajectory, a: FloatArray, b: FloatArray, limit: float, unit: str
) -> None:
    gap = np.abs(a - b)
    k = int(np.argmax(gap))
    if gap[k] > limit:
        detail = f"{arm.joint_names[k]} at {a[k]:.4f} instead of {b[k]:.4f} {unit}"
        raise RefusedError(reason, f"{detail}, allowed are {limit:g} {unit}")
