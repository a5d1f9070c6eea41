# SPDX-License-Identifier: MIT
"""The newest joint states that the guard may believe."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from difftori_ros.robot.profile import RobotProfile
from difftori_ros.types import JointState

CLOCK_BACK_NS = 600_000_000
"""By how much stamps must go back to be of another clock [ns]."""

LATE_NS = 500_000_000
"""How late a message may still come [ns]: so long it may bear a stamp of the clock before."""


class MeasuredJoints:
    """Takes in joint states; what does not fit the profile counts as silence.

    Attributes:
        arm: The arm's joints in profile order; None until they are known.
        gripper: Stamp [ns] and position [m or rad] of its joint; None until it is known.
        problem: What is wrong with the newest joint states; empty for nothing.
    """

    def __init__(self, profile: RobotProfile):
        self._profile = profile
        self._gripper_joint = profile.gripper.joint if profile.gripper else ""
        self.arm: JointState | None = None
        self.gripper: tuple[int, float] | None = None
        self.problem = ""
        self._heard_s: float | None = None
        self._since_ns, self._back_ns = 0, CLOCK_BACK_NS

    def take(self, state: JointState, steady_s: float) -> None:
        """The joints are as `state` says, unless it was measured before the last `forget`."""
        problem = self._problem(state)
        if problem:
            self.problem = problem
            return
        self._heard_s, self.problem = steady_s, ""
        if state.stamp_ns < self._since_ns - self._back_ns:
            self._since_ns = state.stamp_ns  # the clock is another one
        if state.stamp_ns < self._since_ns:
            return
        arm = self._profile.arm_joints
        index = [state.names.index(name) for name in arm]
        self.arm = JointState(state.stamp_ns, arm, state.position[index], state.velocity[index])
        if self._gripper_joint in state.names:
            position = state.position[state.names.index(self._gripper_joint)]
            self.gripper = state.stamp_ns, float(position)

    def unreadable(self, why: str) -> None:
        """A message could not be read; that counts as silence."""
        self.problem = why

    def forget(self, now_ns: int, steady_s: float, lasted_s: float) -> None:
        """What was measured before `now_ns` counts no more; silence counts from `steady_s`.

        Args:
            now_ns: The present time [ns].
            steady_s: The same on the steady clock [s].
            lasted_s: For how long messages may have waited [s].
        """
        self.arm, self.gripper, self._since_ns = None, None, now_ns
        self._back_ns = CLOCK_BACK_NS + round(lasted_s * 1e9)
        if self._heard_s is not None:
            self._heard_s = steady_s

    def clock_is(self, now_ns: int) -> None:
        """The clock of the stamps shows `now_ns`; far behind what is known it is another one."""
        if self.arm is not None and now_ns < self.arm.stamp_ns - CLOCK_BACK_NS:
            self.arm = None

    def shift(self, now_ns: int, step_ns: int) -> int:
        """The clock was set by `step_ns`, to `now_ns` [ns]: what is known bears its new time.

        Returns:
            The time before which a stamp may be of the clock as it was [ns].
        """
        if self.arm is not None:
            self.arm = replace(self.arm, stamp_ns=self.arm.stamp_ns + step_ns)
        if self.gripper is not None:
            self.gripper = self.gripper[0] + step_ns, self.gripper[1]
        # after a longer step back they would lie in the future
        self._since_ns = now_ns + (-step_ns if -LATE_NS <= step_ns < 0 else 0)
        return self._since_ns

    def silent_s(self, steady_s: float) -> float:
        """Time since the last usable joint states [s]; 0 before the first."""
        return 0.0 if self._heard_s is None else steady_s - self._heard_s

    def _problem(self, state: JointState) -> str:
        arm = self._profile.arm_joints
        missing = [name for name in arm if name not in state.names]
        if missing:
            return f"joint {missing[0]} is missing from the last ones"
        if not state.position.shape == state.velocity.shape == (len(state.names),):
            return "the last ones lack positions or velocities"
        index = [state.names.index(name) for name in arm]
        if not np.isfinite(state.position[index]).all():
            return "the last ones are not finite"
        return "" if np.isfinite(state.velocity[index]).all() else "the last ones are not finite"
