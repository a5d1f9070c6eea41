# SPDX-License-Identifier: MIT
"""What breaks a guard that judges at another moment than that of sending: without a clock, a
process or chance, before an arm that follows exactly."""

import numpy as np
import pytest

from difftori_ros.motion.trajectory import Reference, reference_at, split
from difftori_ros.types import Reason
from tests.support.guard_plans import MS, NOW, PANDA, STILL, joint_state, plan, ready
from tests.support.virtual.arm import Followed, start_ns

STEP_RAD, STEP_RAD_S, START_RAD_S = 0.02, 0.3, 0.5
AT = NOW + 400 * MS


class Arm:
    """Follows the newest command exactly, and rests at its end; a command that jumps fails."""

    def __init__(self):
        self._followed = Followed(PANDA.arm_joints, PANDA.home)

    def at(self, time_ns):
        return self._followed.at(time_ns).sample(time_ns)

    def take(self, command, now_ns):
        if command is None:
            return
        command = split(command, PANDA.arm_joints)
        join_ns = max(now_ns, start_ns(command))
        before = self._followed.at(join_ns)
        (p, v), (q, w) = before.sample(join_ns), command.sample(join_ns)
        allowed = STEP_RAD_S if join_ns < before.end_ns else START_RAD_S
        assert np.abs(p - q).max() <= STEP_RAD + 1e-9
        assert np.abs(v - w).max() <= allowed + 1e-9
        self._followed.take(command, 0)

    def measured(self, guard, time_ns):
        guard.joints(joint_state(time_ns, *self.at(time_ns)), time_ns * 1e-9 + 95.0)
        guard.heartbeat(time_ns * 1e-9 + 95.0)


def send(guard, arm, made, now_ns):
    """The plan is judged and, if it is accepted, sent at once."""
    verdict = guard.check(made, now_ns)
    for channel in verdict.channels:
        arm.take(channel, now_ns)
    return verdict


def fast(stamp_ns, start=None, start_ns=None, step=0.06):
    return plan(stamp_ns, step=step, start=start, start_ns=start_ns, gripper=False)


def in_motion():
    """A guard and its arm in the middle of a motion of a second."""
    guard, arm = ready(), Arm()
    made = plan(NOW, step=0.08, horizon=20, gripper=False)
    assert send(guard, arm, made, NOW).accepted
    arm.measured(guard, AT)
    return guard, arm, made


@pytest.mark.parametrize("late_ms", range(0, 300, 20))
def test_a_plan_from_rest_that_comes_late_does_not_jump(late_ms):
    guard, arm = ready(), Arm()
    now_ns = NOW + late_ms * MS
    arm.measured(guard, NOW + late_ms * MS // 6)
    send(guard, arm, fast(NOW), now_ns)


@pytest.mark.parametrize("back_ms", range(0, 300, 30))
def test_old_joint_states_do_not_hide_that_the_arm_has_come_to_rest(back_ms):
    first = fast(NOW)
    leave = NOW + 100 * MS
    second = fast(leave, reference_at(first, leave), leave)
    third = fast(leave + 100 * MS, reference_at(second, leave + 100 * MS), leave + 100 * MS)
    now_ns = first.end_ns + MS
    for never_joined in (second, third):
        guard, arm = ready(), Arm()
        send(guard, arm, first, NOW)
        arm.measured(guard, max(now_ns - back_ms * MS, NOW))
        send(guard, arm, never_joined, now_ns)


@pytest.mark.parametrize("late_ms", [0, 5, 20, 80, 280])
def test_a_process_that_is_stopped_between_check_and_send_sends_nothing_that_jumps(late_ms):
    guard, arm = ready(), Arm()
    first, leave = fast(NOW), NOW + 100 * MS
    send(guard, arm, first, NOW)
    arm.measured(guard, leave)
    judged = guard.judge(fast(leave, reference_at(first, leave), leave, step=-0.06), leave)
    assert judged.plan is not None
    late = leave + late_ms * MS
    verdict = guard.settle(judged, late, guard.joins(judged, late))
    for channel in verdict.channels:
        arm.take(channel, late)
    assert verdict.accepted or late_ms > 5
    assert not verdict.accepted or late_ms < 80


def test_the_pose_of_before_a_stop_in_the_brake_is_not_held():
    guard, arm, _ = in_motion()
    arm.take(guard.estop(True, AT), AT)
    arm.measured(guard, AT + 10 * MS)
    end = AT + 400 * MS
    guard.stalled(end, end * 1e-9 + 95.0, 0.4)
    arm.take(guard.tick(end, end * 1e-9 + 95.0), end)
    arm.measured(guard, end + 10 * MS)
    held = guard.tick(end + 20 * MS, end * 1e-9 + 95.02)
    assert held is not None
    arm.take(held, end + 20 * MS)


@pytest.mark.parametrize("how", ["pause", "reset"])
@pytest.mark.parametrize("after_ms", [0, 20, 50, 70])
def test_pause_and_resume_or_a_reset_in_mid_brake_do_not_forget_it(how, after_ms):
    guard, arm, _ = in_motion()
    if how == "pause":
        arm.take(guard.stop(AT, Reason.PAUSED), AT)
        guard.start(AT)
    else:
        arm.take(guard.estop(True, AT), AT)
        guard.estop(False, AT)
        assert guard.reset(AT) is None
    seen = AT + 30 * MS
    arm.measured(guard, seen)
    now_ns = seen + after_ms * MS
    here = Reference(*arm.at(seen), STILL)
    send(guard, arm, fast(seen, here, max(seen, now_ns - 10 * MS), step=0.08), now_ns)


def test_a_plan_that_waits_when_the_policy_says_it_has_stopped_is_refused():
    guard, arm, motion = in_motion()
    made = fast(AT, reference_at(motion, AT), AT, step=0.03)
    arm.take(guard.policy_stopped(AT + 5 * MS), AT + 5 * MS)
    assert send(guard, arm, made, AT + 10 * MS).reason is Reason.STALE_PLAN


def test_a_plan_from_before_the_reset_is_refused():
    guard, arm = ready(), Arm()
    made = fast(NOW, step=0.01)
    guard.estop(True, NOW + 5 * MS)
    guard.estop(False, NOW + 6 * MS)
    assert guard.reset(NOW + 10 * MS) is None
    arm.measured(guard, NOW + 12 * MS)
    assert send(guard, arm, made, NOW + 15 * MS).reason is Reason.STALE_PLAN
