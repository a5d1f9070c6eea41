# SPDX-License-Identifier: MIT
"""The guard's patience with the policy, with the joint states and with the arm."""

from __future__ import annotations

from collections import deque

import numpy as np

from difftori_ros.types import Reason

from .config import GuardConfig
from .measured_joints import MeasuredJoints
from .motion_under_way import MotionUnderWay

MINUTE_S = 60.0
"""Time in which brakes are counted that a new plan has ended [s, steady clock]."""


class Watchdog:
    """Says when the arm must brake, and why. All its times are of the steady clock."""

    def __init__(self, config: GuardConfig, measured: MeasuredJoints, motion: MotionUnderWay):
        self._config, self._measured, self._motion = config, measured, motion
        self._recoveries: deque[float] = deque()
        self.begin()

    def begin(self) -> None:
        """All patience begins anew; the policy is silent until it is heard."""
        self._heartbeat_s: float | None = None
        self._slow_since_s: float | None = None
        self._refused, self._refusal = 0, (Reason.OK, "")

    def reset(self) -> None:
        """As `begin`; recoveries from brakes are counted anew, too."""
        self.begin()
        self._recoveries.clear()

    def heartbeat(self, steady_s: float) -> None:
        """The policy process is known to have lived then."""
        self._heartbeat_s = steady_s

    def policy_stopped(self) -> bool:
        """The policy's silence is no fault from now on; False when it has been silent before."""
        heard = self._heartbeat_s is not None
        self._heartbeat_s, self._slow_since_s = None, None
        return heard

    def stalled(self, steady_s: float) -> None:
        """Nobody could be heard until now, so that silence counts from now on."""
        if self._heartbeat_s is not None:
            self._heartbeat_s = steady_s

    def refused(self, reason: Reason, detail: str) -> None:
        """One more consecutive plan was refused."""
        self._refused, self._refusal = self._refused + 1, (reason, detail)

    def accepted(self, steady_s: float, slowdown: float, soft: bool, detail: str) -> None:
        """A plan was passed on, slowed down by `slowdown` [1], `soft` on purpose."""
        self._heartbeat_s = steady_s  # a plan is a sign of life
        self._refused, self._slowdown = 0, detail
        if slowdown <= self._config.max_slowdown or soft:
            self._slow_since_s = None
        elif self._slow_since_s is None:
            self._slow_since_s = steady_s

    def recovered(self, steady_s: float) -> None:
        """A plan has ended a brake."""
        self._recoveries.append(steady_s)

    def recoveries(self, steady_s: float) -> int:
        """How many plans have ended a brake within the last minute."""
        while self._recoveries and steady_s - self._recoveries[0] > MINUTE_S:
            self._recoveries.popleft()
        return len(self._recoveries)

    def fault(self, moving: bool, steady_s: float) -> tuple[Reason, str] | None:
        """Why the arm must brake now, if it must."""
        config = self._config
        if (lost := self.policy_lost(steady_s)) is not None:
            return lost
        if moving and (lag := self._lag()) is not None:
            return Reason.NOT_FOLLOWING, lag
        silence = self.joints_silent(steady_s)
        if silence is not None and (moving or not self.seen_at_rest()):
            if self._measured.problem:
                return Reason.BAD_JOINT_STATE, f"{silence}: {self._measured.problem}"
            return Reason.JOINT_STATES_LOST, silence
        if self._refused >= config.max_refusals:
            reason, detail = self._refusal
            return reason, f"{self._refused} plans in a row refused, last: {detail}"
        if self._slow_since_s is not None:
            slow_s = steady_s - self._slow_since_s
            if slow_s > config.slowdown_timeout_s:
                detail = f"by more than {config.max_slowdown:.0%} for {slow_s:.2f} s, last: "
                return Reason.GUARD_ACTIVE, detail + self._slowdown
        return None

    def policy_lost(self, steady_s: float) -> tuple[Reason, str] | None:
        """The policy's silence as a fault, if it has lasted for too long."""
        if self._heartbeat_s is None:
            return None
        silent_s = steady_s - self._heartbeat_s
        if silent_s <= self._config.heartbeat_timeout_s:
            return None
        return Reason.POLICY_LOST, f"no sign of life for {silent_s:.2f} s"

    def joints_silent(self, steady_s: float) -> str | None:
        """The silence of the joint states in a sentence, if it has lasted for too long."""
        silent_s = self._measured.silent_s(steady_s)
        if silent_s <= self._config.joint_timeout_s:
            return None
        return f"no usable joint states for {silent_s:.2f} s"

    def seen_at_rest(self) -> bool:
        """Whether the arm was measured after the end of its last motion."""
        arm, measured = self._motion.arm, self._measured.arm
        return arm is None or (measured is not None and measured.stamp_ns >= arm.end_ns)

    def _lag(self) -> str | None:
        """By how much the arm is away from the motion under way, if that is too much."""
        measured = self._measured.arm
        running = None if measured is None else self._motion.following(measured.stamp_ns)
        if running is None or measured is None or measured.stamp_ns < running.stamp_ns:
            return None
        wanted, _ = running.sample(measured.stamp_ns)
        gap = np.abs(wanted - measured.position)
        k = int(np.argmax(gap))
        if gap[k] <= self._config.follow_tolerance_rad:
            return None
        joint, limit = running.joint_names[k], self._config.follow_tolerance_rad
        return f"{joint} is {gap[k]:.3f} rad away, allowed are {limit:g} rad"
