# SPDX-License-Identifier: MIT
"""What the controllers follow, as far as the guard knows: each follows its newest command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from difftori_ros.motion.trajectory import Reference, brake, hold, reference_at
from difftori_ros.robot.profile import RobotProfile
from difftori_ros.types import FloatArray, JointState, Trajectory

STILL_RAD_S = 0.02
"""Speed below which a joint is measured to be at rest [rad/s]."""

LAGS_NS = 150_000_000
"""How late an arm may follow its trajectory [ns]."""


class MotionUnderWay:
    """The commands that were sent last, until their end and as the rest at their end.

    Until its first point the newest command leaves the one before it under way.

    Attributes:
        arm: What the arm follows, or rests at the end of; None when that is not known.
        gripper: The same of the gripper.
    """

    def __init__(self, profile: RobotProfile):
        self._profile = profile
        self.arm: Trajectory | None = None
        self.gripper: Trajectory | None = None
        self._before: Trajectory | None = None
        self._undone: tuple[Trajectory | None, Trajectory | None] = None, None
        self._doubtful = False

    def moving(self, now_ns: int) -> bool:
        """Whether the arm is on its way at `now_ns`."""
        return self.arm is not None and now_ns < self.arm.end_ns

    def following(self, time_ns: int) -> Trajectory | None:
        """The arm's command that it follows at that time; None when that is not known."""
        arm, before = self.arm, self._before
        return before if arm is not None and before and time_ns < start_ns(arm) else arm

    def age_s(self, now_ns: int) -> float:
        """Age of what the arm's command was made from [s]; 0 without one."""
        return 0.0 if self.arm is None else (now_ns - self.arm.stamp_ns) * 1e-9

    def follow(self, arm: Trajectory, gripper: Trajectory | None = None) -> Trajectory:
        """The commands are under way from now on; returns the arm's."""
        self._undone = self.arm, self._before
        self._before, self.arm, self._doubtful = self.arm, arm, False
        self.gripper = gripper or self.gripper
        return arm

    def brake(self, now_ns: int) -> Trajectory | None:
        """The arm brakes from where it is on its way at `now_ns`; None when it is not moving."""
        following = self.following(now_ns)
        if following is None or not self.moving(now_ns):
            return None
        return self.brake_from(reference_at(following, now_ns), now_ns)

    def brake_from(self, here: Reference, now_ns: int) -> Trajectory:
        """The arm brakes from a given state."""
        return self.follow(brake(self._profile, now_ns, here, now_ns))

    def hold(self, measured: JointState, now_ns: int, tolerance_rad: float) -> Trajectory | None:
        """The arm stays where it is measured, if that is near the end of its motion.

        Elsewhere it would be made to jump, or a lying sensor would be believed: it rests at that
        end then, as it was told to.
        """
        here = np.clip(measured.position, self._profile.lower, self._profile.upper)
        told = measured.position if self.arm is None else self.arm.positions[-1]
        if np.abs(here - told).max() > tolerance_rad:
            return None
        return self.follow(hold(self._profile.arm_joints, now_ns, here, now_ns))

    def hold_gripper(self, position: FloatArray, now_ns: int) -> Trajectory:
        """The gripper stays at `position` (1,) [m or rad]."""
        assert self._profile.gripper is not None
        self.gripper = hold((self._profile.gripper.joint,), now_ns, position, now_ns)
        return self.gripper

    def sent(self) -> None:
        """The arm's last command has been sent: `take_back` leaves it."""
        self._undone = self.arm, self._before

    def take_back(self) -> None:
        """The arm's last command was never sent: what was under way before it still is."""
        self.arm, self._before = self._undone

    def forget(self) -> None:
        """Nothing is known to be under way."""
        self.arm = self.gripper = self._before = None
        self._undone, self._doubtful = (None, None), False

    def doubt(self, now_ns: int) -> None:
        """The arm may have been put elsewhere: only a motion that it may still follow counts."""
        gripper = self.gripper
        if not self.moving(now_ns):
            self.forget()
        if gripper is not None and now_ns < gripper.end_ns:
            self.gripper = gripper  # after a brake of the arm the fingers go on alone
        self._doubtful = self.arm is not None

    def look(self, measured: JointState, tolerance_rad: float) -> None:
        """A doubtful motion is forgotten once the arm is measured at rest away from it."""
        if not self._doubtful or self.arm is None or np.abs(measured.velocity).max() > STILL_RAD_S:
            return
        late_ns = measured.stamp_ns - LAGS_NS
        if late_ns < start_ns(self.arm):
            return  # it may not have begun to move
        moments_ns = np.linspace(late_ns, measured.stamp_ns, 9).astype(np.int64)
        gaps = np.abs(self.arm.samples(moments_ns)[0] - measured.position).max(axis=1)
        if gaps.min() > tolerance_rad:
            self.forget()

    def put_off(self, arm_ns: int, gripper_ns: int) -> Trajectory | None:
        """The motions go on that much later than they were to [ns]; returns the arm's, if so."""
        self._change_arm(lambda part: put_off(part, arm_ns))
        self.gripper = self.gripper and put_off(self.gripper, gripper_ns)
        return self.arm if arm_ns else None

    def shift(self, step_ns: int) -> None:
        """The clock of the stamps was set by `step_ns` [ns]: the motion goes on as before."""

        def shifted(part: Trajectory) -> Trajectory:
            return replace(part, stamp_ns=part.stamp_ns + step_ns)

        self._change_arm(shifted)
        self.gripper = self.gripper and shifted(self.gripper)

    def _change_arm(self, changed: Callable[[Trajectory], Trajectory]) -> None:
        arm, before = self._undone
        self._undone = arm and changed(arm), before and changed(before)
        self.arm = self.arm and changed(self.arm)
        self._before = self._before and changed(self._before)


def start_ns(trajectory: Trajectory) -> int:
    """Time of the first point [ns]."""
    return trajectory.stamp_ns + round(float(trajectory.times[0]) * 1e9)


def put_off(trajectory: Trajectory, late_ns: int) -> Trajectory:
    """The same motion, `late_ns` later [ns]."""
    return replace(trajectory, times=trajectory.times + late_ns * 1e-9) if late_ns else trajectory
