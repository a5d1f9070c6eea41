# SPDX-License-Identifier: MIT
"""A plan joins what the arm follows at the moment of sending; what was made before the last break
(a reset, a pause, a stop of the policy, a brake) counts no more."""

import numpy as np
import pytest

from difftori_ros.guard.verdict import Latched
from difftori_ros.motion.trajectory import Reference, reference_at
from difftori_ros.types import GuardState, Reason
from tests.support.guard_plans import (
    AT,
    MS,
    NOW,
    PANDA,
    STILL,
    accepted,
    assert_brakes,
    joint_state,
    leaving,
    long_motion,
    measure,
    plan,
    ready,
    refused,
)

# the moment of sending


def test_a_late_plan_from_rest_is_begun_later_and_that_is_told():
    guard, made, now = ready(), plan(step=0.06), NOW + 120 * MS
    verdict = accepted(guard, made, now)
    arm = verdict.channels[0]
    assert arm.stamp_ns + round(arm.times[0] * 1e9) == now + 10 * MS
    np.testing.assert_allclose(np.diff(arm.times), np.diff(made.times), atol=2e-9)
    np.testing.assert_array_equal(arm.positions, made.positions[:, :7])
    assert verdict.changed is not None
    assert verdict.changed.stamp_ns == made.stamp_ns
    np.testing.assert_array_equal(verdict.changed.times, arm.times)


def test_a_plan_from_rest_in_time_is_left_as_it_is():
    assert accepted(ready(), plan(step=0.06), NOW + 10 * MS).changed is None


def test_a_late_plan_that_starts_in_motion_is_refused_while_the_arm_rests():
    moving = Reference(PANDA.home, np.full(7, 0.45), STILL)
    refused(ready(), plan(step=0.06, start=moving), Reason.START_MISMATCH, "", NOW + 120 * MS)


def test_what_was_measured_on_the_way_tells_nothing_about_the_rest_after_it():
    guard, first = ready(), plan(step=0.06, gripper=False)
    accepted(guard, first)
    never_sent = leaving(first, NOW + 100 * MS)
    measure(guard, never_sent, NOW + 150 * MS)
    built_upon_it = leaving(never_sent, NOW + 200 * MS)
    refused(guard, built_upon_it, Reason.START_MISMATCH, "instead of", first.end_ns + MS)


def test_a_plan_that_joined_when_it_was_judged_is_refused_when_it_is_sent_too_late():
    guard, first = ready(), plan(step=0.06, gripper=False)
    accepted(guard, first)
    measure(guard, first, NOW + 100 * MS)
    judged = guard.judge(leaving(first, NOW + 100 * MS, -0.06), NOW + 100 * MS)
    assert guard.joins(judged, NOW + 101 * MS) is None
    late = NOW + 250 * MS
    verdict = guard.settle(judged, late, guard.joins(judged, late))
    assert (verdict.accepted, verdict.reason) == (False, Reason.DISCONTINUOUS)
    assert guard.status.refused == 1


def test_joint_states_that_are_late_are_compared_with_what_the_arm_followed_then():
    guard = ready()
    first = long_motion(guard)
    measure(guard, first, AT - 200 * MS)
    assert np.abs(first.sample(AT)[0] - first.sample(AT - 200 * MS)[0]).max() > 0.15
    accepted(guard, leaving(first, AT), AT, after=first)


def test_a_brake_that_could_not_be_sent_in_time_is_made_for_the_later_time():
    guard = ready()
    first = long_motion(guard)
    assert guard.estop(True, AT) is not None
    late = AT + 200 * MS
    assert_brakes(guard.again(late), first, late)
    assert (guard.status.state, guard.status.reason) == (GuardState.BRAKE, Reason.ESTOP)


def test_a_brake_is_not_made_again_once_the_arm_rests_by_itself():
    guard = ready()
    first = long_motion(guard)
    guard.estop(True, AT)
    assert guard.again(first.end_ns + MS) is None
    measure(guard, first, first.end_ns + 10 * MS)
    held = guard.tick(first.end_ns + 20 * MS, 101.2)
    np.testing.assert_array_equal(held.positions[0], first.positions[-1])


# a plan that starts later


def test_until_a_plan_starts_the_arm_is_on_the_motion_before():
    guard = ready()
    first = long_motion(guard)
    start = AT + 40 * MS  # by the clock of another machine
    accepted(guard, plan(AT, 0.06, reference_at(first, start), start, gripper=False), AT)
    at = AT + 3 * MS
    still = plan(at, start=Reference(first.sample(start)[0], STILL, STILL), gripper=False)
    refused(guard, still, Reason.DISCONTINUOUS, "instead of", at)
    assert_brakes(guard.estop(True, at), first, at)


def test_a_brake_made_again_before_a_plan_starts_leaves_the_motion_before_it():
    guard = ready()
    first = long_motion(guard)
    start = AT + 40 * MS
    accepted(guard, plan(AT, 0.06, reference_at(first, start), start, gripper=False), AT)
    guard.estop(True, AT + 3 * MS)
    at = AT + 20 * MS
    assert_brakes(guard.again(at), first, at)


# orders


@pytest.mark.parametrize("how", ["pause", "reset"])
def test_a_brake_under_way_is_not_forgotten_by_resuming_or_a_reset(how):
    guard = ready()
    made = long_motion(guard)
    if how == "pause":
        command = assert_brakes(guard.stop(AT, Reason.PAUSED), made, AT)
        guard.start(AT)
    else:
        command = assert_brakes(guard.estop(True, AT), made, AT)
        guard.estop(False, AT)
        assert guard.reset(AT) is None
    seen = AT + 30 * MS
    here = measure(guard, command, seen)
    stray = plan(seen, 0.08, here, seen + 40 * MS, gripper=False)
    refused(guard, stray, Reason.DISCONTINUOUS, "instead of", seen + 50 * MS)
    rest = measure(guard, command, command.end_ns)
    accepted(guard, plan(command.end_ns, start=rest, gripper=False), command.end_ns)


def test_an_arm_that_was_put_elsewhere_does_not_follow_the_motion_from_before_the_reset():
    guard = ready()
    long_motion(guard)
    guard.reset(AT)
    guard.joints(joint_state(AT + 10 * MS, PANDA.home), 100.41)
    accepted(guard, plan(AT + 10 * MS), AT + 10 * MS)


def test_an_arm_that_follows_late_has_not_been_put_elsewhere():
    guard, first = ready(), plan(step=0.08, horizon=20, gripper=False)
    accepted(guard, first)
    at = NOW + 80 * MS
    guard.reset(at)
    guard.joints(joint_state(at, PANDA.home), 100.08)  # it has not begun to move
    made = plan(at, 0.01, start=Reference(PANDA.home, STILL, STILL), gripper=False)
    refused(guard, made, Reason.DISCONTINUOUS, "instead of", at + 5 * MS)


def test_an_arm_that_is_where_it_should_be_follows_on_after_a_reset():
    guard = ready()
    made = long_motion(guard)
    guard.reset(AT)
    here = made.sample(AT + 20 * MS)[0]
    guard.joints(joint_state(AT + 20 * MS, here), 100.42)
    accepted(guard, leaving(made, AT + 20 * MS), AT + 20 * MS, after=made)


@pytest.mark.parametrize("break_", ["policy stops", "reset", "resume", "brake"])
def test_plans_from_before_a_break_are_refused(break_):
    guard, late = ready(), NOW + 5 * MS
    if break_ == "policy stops":
        guard.policy_stopped(late)
    elif break_ == "reset":
        guard.reset(late)
    elif break_ == "resume":
        guard.stop(late, Reason.PAUSED)
        guard.start(late)
    else:
        accepted(guard, plan(step=0.06))
        guard.policy_stopped(late)
        guard.heartbeat(100.0)
    refused(guard, plan(), Reason.STALE_PLAN, "before the last break", NOW + 10 * MS)


def test_a_stop_of_the_policy_counts_though_the_policy_was_not_heard_since_the_reset():
    guard = ready()
    guard.reset(NOW - 50 * MS)
    assert guard.policy_stopped(NOW + 5 * MS) is None
    refused(guard, plan(), Reason.STALE_PLAN, "before the last break", NOW + 10 * MS)


def test_a_pause_outlives_the_emergency_stop_and_the_reset():
    guard = ready()
    guard.stop(NOW, Reason.PAUSED)
    guard.estop(True, NOW)
    guard.estop(False, NOW)
    assert guard.reset(NOW) is None
    assert (guard.status.state, guard.status.reason) == (GuardState.INACTIVE, Reason.PAUSED)
    guard.start(NOW)
    assert guard.status.state is GuardState.TRACKING


def test_a_pause_in_a_brake_that_could_recover_is_one():
    guard = ready()
    first = long_motion(guard)
    guard.heartbeat(100.9)
    guard.joints(joint_state(AT + 500 * MS, first.sample(AT + 500 * MS)[0]), 100.9)
    assert guard.tick(AT + 500 * MS, 100.9) is not None
    assert guard.status.reason is Reason.PLANS_LOST
    assert guard.stop(AT + 510 * MS, Reason.PAUSED) is None
    assert (guard.status.state, guard.status.reason) == (GuardState.INACTIVE, Reason.PAUSED)
    assert 0 < guard.rests_in_s(AT + 510 * MS) < 0.4


def test_the_pose_measured_in_mid_brake_is_not_held_at_its_end():
    guard = ready()
    made = long_motion(guard)
    command = assert_brakes(guard.estop(True, AT), made, AT)
    measure(guard, command, AT + 10 * MS)
    assert guard.tick(command.end_ns + MS, 100.5) is None
    assert guard.status.state is GuardState.BRAKE
    measure(guard, command, command.end_ns + 10 * MS)
    held = guard.tick(command.end_ns + 20 * MS, 100.9)
    np.testing.assert_array_equal(held.positions[0], command.positions[-1])
    assert guard.status.state is GuardState.FAULT


def test_a_pose_away_from_the_end_of_a_brake_is_not_held_for_the_arm_would_jump():
    guard = ready()
    made = long_motion(guard)
    command = assert_brakes(guard.estop(True, AT), made, AT)
    end = command.end_ns + 10 * MS
    guard.joints(joint_state(end, PANDA.home), 100.9)
    assert guard.tick(end, 100.9) is None
    assert guard.status.state is GuardState.FAULT


def test_a_plan_joins_the_hold_at_the_end_of_a_brake():
    guard = ready()
    long_motion(guard)
    guard.heartbeat(100.9)
    command = guard.tick(AT + 500 * MS, 100.85)
    hung = command.positions[-1] - 0.015
    end = command.end_ns + 10 * MS
    guard.joints(joint_state(end, hung), 101.2)
    guard.heartbeat(101.2)
    held = guard.tick(end, 101.2)
    np.testing.assert_array_equal(held.positions[0], hung)
    now = held.end_ns + MS
    accepted(guard, plan(now, start=Reference(hung, STILL, STILL), gripper=False), now)


# what an earlier process held


def test_a_fault_of_an_earlier_process_is_held_until_a_reset():
    guard, held = ready(), Latched(Reason.SECOND_COMMANDER, "/other publishes")
    guard.restore(held)
    assert guard.latched == held
    refused(guard, plan(), Reason.FAULT_LATCHED, "SECOND_COMMANDER: /other publishes")
    assert guard.reset(NOW) is None
    assert guard.latched is None
    assert guard.status.state is GuardState.TRACKING


def test_a_pause_of_an_earlier_process_is_held_until_it_is_resumed():
    guard, held = ready(), Latched(None, paused=True)
    guard.restore(held)
    assert guard.latched == held
    refused(guard, plan(), Reason.PAUSED, "not active")
    guard.start(NOW)
    assert guard.latched is None


def test_a_pause_below_a_fault_of_an_earlier_process_outlives_the_reset():
    guard = ready()
    guard.restore(Latched(Reason.ESTOP, paused=True))
    assert guard.status.state is GuardState.FAULT
    guard.reset(NOW)
    assert guard.latched == Latched(None, paused=True)


def test_an_earlier_process_that_held_nothing_leaves_nothing():
    guard = ready()
    guard.restore(Latched(None))
    assert guard.status.state is GuardState.TRACKING
