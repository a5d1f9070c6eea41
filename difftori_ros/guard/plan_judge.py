# SPDX-License-Identifier: MIT
"""A plan is judged by itself, which takes time, and how it joins in the moment it is sent."""

from __future__ import annotations

import numpy as np

from difftori_ros.motion.trajectory import split
from difftori_ros.robot.profile import RobotProfile
from difftori_ros.types import Reason, Trajectory

from .config import GuardConfig
from .continuity_checks import ContinuityCheck
from .measured_joints import MeasuredJoints
from .motion_under_way import STILL_RAD_S, MotionUnderWay, put_off, start_ns
from .plan_checks import PlanCheck, RefusedError
from .retiming import retime_to_limits
from .verdict import Judged
from .workspace import Workspace

PROMPT_NS = 10_000_000
"""A plan from rest that is later than this begins anew [ns]: it has gone on without the arm."""

SENDING_NS = 5_000_000
"""Time from the check of how a plan joins to its sending, at most [ns]."""

AHEAD_NS = 10_000_000
"""It begins that long after the present time: what it takes to judge and to send it [ns]."""


class PlanJudge:
    """All checks of a plan, against what is measured and what is under way."""

    def __init__(
        self,
        profile: RobotProfile,
        config: GuardConfig,
        measured: MeasuredJoints,
        motion: MotionUnderWay,
    ):
        self._profile, self._measured, self._motion = profile, measured, motion
        self._plan_check, self._workspace = PlanCheck(profile, config), Workspace(profile, config)
        self._continuity = ContinuityCheck(config, profile.gripper)

    def judge(self, plan: Trajectory, now_ns: int, break_ns: int, rate: float) -> Judged:
        """The plan as it may be executed, changed if it must be.

        Args:
            plan: The plan as it came; nothing in it is trusted.
            now_ns: The present time [ns].
            break_ns: Time of the last break [ns].
            rate: Rate that may not be exceeded [1].

        Raises:
            RefusedError: It may not be executed.
        """
        plan = self._plan_check.check(plan, now_ns)
        self._continuity.ages(plan, now_ns, self._measured.arm, break_ns)
        plan, late_s = self._begun_anew(plan, now_ns)
        join_ns = now_ns if self._motion.moving(now_ns) else plan.stamp_ns
        retimed = retime_to_limits(plan, join_ns, self._limits, rate)
        arm = split(retimed.plan, self._profile.arm_joints)
        rest = plan.joint_names[len(arm.joint_names) :]
        channels = (arm, split(retimed.plan, rest)) if rest else (arm,)
        reason = Reason.GUARD_ACTIVE if retimed.detail else Reason.OK
        return Judged(retimed.plan, retimed.slowdown, retimed.detail, reason, channels, late_s)

    def join(self, judged: Judged, now_ns: int, break_ns: int) -> None:
        """Pass silently when the plan joins what the arm and the gripper follow at `now_ns`.

        And for `SENDING_NS` more, within which it is to be sent.

        Raises:
            RefusedError: It does not, or has been refused by `judge`.
        """
        if judged.plan is None:
            raise RefusedError(judged.reason, judged.detail)
        arm, *rest = judged.channels
        for moment_ns in (now_ns, now_ns + SENDING_NS // 2, now_ns + SENDING_NS):
            known = self._measured.arm
            measured = self._continuity.ages(judged.plan, moment_ns, known, break_ns)
            self._continuity.arm(arm, moment_ns, measured, self._motion)
            for gripper in rest:
                self._continuity.gripper(
                    gripper, moment_ns, self._measured.gripper, self._motion.gripper
                )

    def _begun_anew(self, plan: Trajectory, now_ns: int) -> tuple[Trajectory, float]:
        """A plan from rest that comes late is carried out later, and by how much that is [s].

        Its start has passed, but the arm still rests there and cannot catch up.
        """
        late_ns = now_ns - start_ns(plan)
        moves = self._motion.moving(now_ns) or np.abs(plan.velocities[0]).max() > STILL_RAD_S
        if late_ns <= PROMPT_NS or moves:
            return plan, 0.0
        late_ns += AHEAD_NS
        return put_off(plan, late_ns), late_ns * 1e-9

    def _limits(self, plan: Trajectory) -> None:
        self._plan_check.limits(plan)
        self._workspace.check(plan)
