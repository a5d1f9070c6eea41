# SPDX-License-Identifier: MIT
"""A plan joins what the arm follows at the moment of sending; what was made before the last break
(a stall of the process, a reset, a pause, a farewell, a brake, a set clock) counts no more."""

import numpy as np
import pytest

from difftori_ros.guard import Guard, GuardConfig, State
from difftori_ros.motion_under_way import put_off
from difftori_ros.timing import Reference, gripper_ramp, join, reference_at
from difftori_ros.types import Reason
from difftori_ros.verdict import Latched
from tests.guard_plans import (
    DT,
    GRIPPER,
    MS,
    NAMES,
    NOW,
    PANDA,
    STILL,
    accepted,
    assert_brakes,
    joint_state,
    plan,
    ready,
    refused,
)

AT = NOW + 400 * MS


def measure(guard, motion, stamp_ns):
    """The arm is measured where the motion is at that time, and the policy is heard."""
    position, velocity = motion.sample(stamp_ns)
    steady_s = 100.0 + (stamp_ns - NOW) * 1e-9
    guard.joints(joint_state(stamp_ns, position, velocity), steady_s)
    guard.heartbeat(steady_s)
    return Reference(position, velocity, STILL)


def long_motion(guard, step=0.08):
    """A plan of a second is under way; the arm is measured on it at `AT`."""
    made = plan(step=step, horizon=20, gripper=False)
    accepted(guard, made)
    measure(guard, made, AT)
    return made


def leaving(motion, at_ns, step=0.06):
    """A plan that leaves a motion at a time, from inputs of that time."""
    return plan(at_ns, step, reference_at(motion, at_ns), at_ns, gripper=False)


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
    assert (guard.status.state, guard.status.reason) == (State.BRAKE, Reason.ESTOP)


def test_a_brake_is_not_made_again_once_the_arm_rests_by_itself():
    guard = ready()
    first = long_motion(guard)
    guard.estop(True, AT)
    assert guard.again(first.end_ns + MS) is None
    measure(guard, first, first.end_ns + 10 * MS)
    held = guard.tick(first.end_ns + 20 * MS, 101.2)
    np.testing.assert_array_equal(held.positions[0], first.positions[-1])


# stalls


def test_after_a_stall_plans_and_joint_states_from_before_are_refused():
    guard = ready()
    first = long_motion(guard, step=0.01)
    assert guard.stalled(AT + 300 * MS, 100.7, 0.3) == ()
    later = AT + 310 * MS
    refused(guard, leaving(first, AT + 100 * MS), Reason.STALE_PLAN, "last break", later)
    measure(guard, first, AT + 290 * MS)
    refused(guard, leaving(first, later), Reason.START_MISMATCH, "no joint states", later)
    measure(guard, first, later)
    accepted(guard, leaving(first, later), later, after=first)


def test_a_stall_names_itself_and_not_the_policy_that_could_not_be_heard():
    guard = ready(coast_after_s=0.3, coast_s=0.2)
    first = long_motion(guard)
    guard.stalled(AT + 400 * MS, 101.2, 0.8)
    assert (guard.status.state, guard.status.reason) == (State.TRACKING, Reason.STALLED)
    assert "0.80 s" in guard.status.detail
    assert_brakes(guard.tick(AT + 400 * MS, 101.2), first, AT + 400 * MS)
    assert (guard.status.state, guard.status.reason) == (State.BRAKE, Reason.STALLED)


def test_a_stall_of_a_guard_that_holds_a_fault_changes_nothing():
    guard = ready()
    guard.trip(Reason.SECOND_COMMANDER, "", NOW)
    guard.stalled(NOW + 400 * MS, 100.4, 0.4)
    assert (guard.status.state, guard.status.reason) == (State.FAULT, Reason.SECOND_COMMANDER)


def test_a_policy_is_lost_when_it_stays_silent_after_the_stall():
    guard = ready()
    guard.stalled(NOW + 600 * MS, 100.6, 0.6)
    assert guard.tick(NOW + 1000 * MS, 101.0) is None
    guard.tick(NOW + 1200 * MS, 101.2)
    assert guard.status.reason is Reason.POLICY_LOST


def test_a_stall_before_anything_was_heard_makes_nobody_late():
    guard = Guard(PANDA, GuardConfig())
    guard.start(0)
    guard.stalled(NOW, 100.0, 3.0)
    assert guard.tick(NOW + 5000 * MS, 105.0) is None
    assert (guard.status.state, guard.status.reason) == (State.TRACKING, Reason.WAITING)


@pytest.mark.parametrize("speed", [0.0, 0.6])
def test_a_streamed_controller_brakes_from_where_it_was_left(speed):
    guard = ready()
    first = long_motion(guard)
    stands = Reference(first.sample(AT)[0], np.full(7, speed), STILL)
    (command,) = guard.stalled(AT + 250 * MS, 100.65, 0.25, stands)
    np.testing.assert_allclose(command.positions[0], stands.position)
    np.testing.assert_allclose(command.velocities[0], stands.velocity)
    assert (guard.status.state, guard.status.reason) == (State.BRAKE, Reason.STALLED)
    rest = measure(guard, command, command.end_ns + MS)
    accepted(guard, plan(command.end_ns + MS, start=rest, gripper=False), command.end_ns + MS)


def test_a_streamed_controller_that_is_left_alone_again_and_again_is_a_fault():
    guard = ready(max_recoveries=0)
    first = long_motion(guard)
    stands = Reference(first.sample(AT)[0], STILL, STILL)
    guard.stalled(AT + 250 * MS, 100.65, 0.25, stands)
    assert guard.latched is not None
    assert "1 times in a minute" in guard.status.detail


def test_a_streamed_brake_that_was_left_alone_goes_on_from_there():
    guard = ready()
    first = long_motion(guard)
    command = guard.estop(True, AT)
    stands = reference_at(command, AT + 20 * MS)
    (again,) = guard.stalled(AT + 300 * MS, 100.7, 0.3, stands)
    np.testing.assert_allclose(again.velocities[0], stands.velocity)
    assert guard.status.reason is Reason.ESTOP
    assert first.end_ns > AT


def test_a_streamed_motion_that_was_put_off_is_joined_where_it_is_then():
    guard = ready()
    first = long_motion(guard)
    later = guard.put_off(100 * MS, 0)
    np.testing.assert_allclose(later.times, first.times + 0.1)
    measure(guard, later, AT)
    refused(guard, leaving(first, AT), Reason.START_MISMATCH, "instead of", AT)
    accepted(guard, leaving(later, AT), AT, after=later)


def test_the_motion_before_is_put_off_too_for_a_brake_that_is_made_again():
    guard = ready()
    first = long_motion(guard)
    guard.estop(True, AT)
    guard.put_off(100 * MS, 0)
    assert_brakes(guard.again(AT + 100 * MS), put_off(first, 100 * MS), AT + 100 * MS)


def test_a_streamed_brake_that_is_made_again_goes_on_from_where_the_stream_was_left():
    guard = ready()
    first = long_motion(guard)
    guard.estop(True, AT)
    stands = Reference(first.sample(AT)[0], np.full(7, 0.5), STILL)
    (brake,) = guard.stalled(AT + 300 * MS, 100.7, 0.3, stands)
    assert_brakes(guard.again(AT + 310 * MS), brake, AT + 310 * MS)


def test_a_streamed_gripper_that_was_left_alone_is_held_and_joined_there():
    guard = ready()
    guard.joints(hand(NOW, 0.04), 100.0)
    accepted(guard, with_gripper(NOW, 0.04, 0.0))
    stands = Reference(np.array([0.03]), np.array([-0.1]), np.zeros(1))
    (held,) = guard.stalled(NOW + 300 * MS, 100.3, 0.25, None, stands)
    assert held.joint_names == (GRIPPER.joint,)
    np.testing.assert_array_equal(held.positions, 0.03)
    later = NOW + 400 * MS
    guard.joints(joint_state(later), 100.4)
    stray = with_gripper(later, 0.0, 0.0)
    refused(guard, stray, Reason.DISCONTINUOUS, "instead of 0.0300", later)
    accepted(guard, with_gripper(later, 0.03, 0.0), later)


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


@pytest.mark.parametrize("break_", ["farewell", "reset", "resume", "brake"])
def test_plans_from_before_a_break_are_refused(break_):
    guard, late = ready(), NOW + 5 * MS
    if break_ == "farewell":
        guard.farewell(late)
    elif break_ == "reset":
        guard.reset(late)
    elif break_ == "resume":
        guard.stop(late, Reason.PAUSED)
        guard.start(late)
    else:
        accepted(guard, plan(step=0.06))
        guard.farewell(late)
        guard.heartbeat(100.0)
    refused(guard, plan(), Reason.STALE_PLAN, "before the last break", NOW + 10 * MS)


def test_a_farewell_counts_though_the_policy_was_not_heard_since_the_reset():
    guard = ready()
    guard.reset(NOW - 50 * MS)
    assert guard.farewell(NOW + 5 * MS) is None
    refused(guard, plan(), Reason.STALE_PLAN, "before the last break", NOW + 10 * MS)


def test_a_pause_outlives_the_emergency_stop_and_the_reset():
    guard = ready()
    guard.stop(NOW, Reason.PAUSED)
    guard.estop(True, NOW)
    guard.estop(False, NOW)
    assert guard.reset(NOW) is None
    assert (guard.status.state, guard.status.reason) == (State.INACTIVE, Reason.PAUSED)
    guard.start(NOW)
    assert guard.status.state is State.TRACKING


def test_a_pause_in_a_brake_that_could_recover_is_one():
    guard = ready()
    first = long_motion(guard)
    guard.heartbeat(100.9)
    guard.joints(joint_state(AT + 500 * MS, first.sample(AT + 500 * MS)[0]), 100.9)
    assert guard.tick(AT + 500 * MS, 100.9) is not None
    assert guard.status.reason is Reason.PLANS_LOST
    assert guard.stop(AT + 510 * MS, Reason.PAUSED) is None
    assert (guard.status.state, guard.status.reason) == (State.INACTIVE, Reason.PAUSED)
    assert 0 < guard.rests_in_s(AT + 510 * MS) < 0.4


def test_the_pose_measured_in_mid_brake_is_not_held_at_its_end():
    guard = ready()
    made = long_motion(guard)
    command = assert_brakes(guard.estop(True, AT), made, AT)
    measure(guard, command, AT + 10 * MS)
    assert guard.tick(command.end_ns + MS, 100.5) is None
    assert guard.status.state is State.BRAKE
    measure(guard, command, command.end_ns + 10 * MS)
    held = guard.tick(command.end_ns + 20 * MS, 100.9)
    np.testing.assert_array_equal(held.positions[0], command.positions[-1])
    assert guard.status.state is State.FAULT


def test_a_pose_away_from_the_end_of_a_brake_is_not_held_for_the_arm_would_jump():
    guard = ready()
    made = long_motion(guard)
    command = assert_brakes(guard.estop(True, AT), made, AT)
    end = command.end_ns + 10 * MS
    guard.joints(joint_state(end, PANDA.home), 100.9)
    assert guard.tick(end, 100.9) is None
    assert guard.status.state is State.FAULT


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
    assert guard.status.state is State.TRACKING


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
    assert guard.status.state is State.FAULT
    guard.reset(NOW)
    assert guard.latched == Latched(None, paused=True)


def test_an_earlier_process_that_held_nothing_leaves_nothing():
    guard = ready()
    guard.restore(Latched(None))
    assert guard.status.state is State.TRACKING


# joint states and clocks


def test_silent_joint_states_of_a_resting_arm_are_named_and_no_fault():
    guard = ready()
    guard.heartbeat(100.6)
    assert guard.tick(NOW + 600 * MS, 100.6) is None
    assert (guard.status.state, guard.status.reason) == (State.TRACKING, Reason.JOINT_STATES_LOST)
    guard.joints(joint_state(NOW + 610 * MS), 100.61)
    guard.heartbeat(101.7)
    guard.joints(joint_state(NOW + 1700 * MS), 101.7)
    guard.tick(NOW + 1700 * MS, 101.7)
    assert guard.status.reason is Reason.WAITING


def test_an_arm_that_nobody_has_seen_come_to_rest_is_a_fault():
    guard = ready()
    first = long_motion(guard)
    guard.heartbeat(101.2)
    assert guard.tick(first.end_ns + 100 * MS, 101.2) is None
    assert (guard.status.state, guard.status.reason) == (State.FAULT, Reason.JOINT_STATES_LOST)


@pytest.mark.parametrize("step_ms", [-150, -30, 40, 5000])
def test_a_motion_goes_on_when_the_clock_is_set(step_ms):
    guard = ready()
    first = long_motion(guard)
    now, step_ns = AT + 10 * MS, step_ms * MS
    guard.clock_jumped(now + step_ns, step_ns)
    assert guard.status.reason is Reason.CLOCK_JUMPED
    assert not guard.check(leaving(first, AT), now + step_ns + MS).accepted
    later = now + 170 * MS  # before that the clock shows times that it has shown before
    position, velocity = first.sample(later)
    guard.joints(joint_state(later + step_ns, position, velocity), 100.58)
    made = plan(later + step_ns, 0.06, reference_at(first, later), later + step_ns, gripper=False)
    accepted(guard, made, later + step_ns)
    assert guard.rests_in_s(later + step_ns) > 0


def test_a_clock_may_be_set_before_anything_is_known():
    guard = Guard(PANDA, GuardConfig())
    guard.start(0)
    guard.clock_jumped(NOW, -30 * MS)
    assert guard.status.reason is Reason.CLOCK_JUMPED
    assert guard.tick(NOW + MS, 100.0) is None


@pytest.mark.parametrize("step_ms", [-150, 5000])
def test_fingers_that_hold_something_do_so_on_the_new_clock(step_ms):
    guard = ready()
    guard.joints(hand(NOW, 0.04), 100.0)
    grasp = with_gripper(NOW, 0.04, 0.0)
    accepted(guard, grasp)
    seen, step_ns = grasp.end_ns + 10 * MS, step_ms * MS
    guard.joints(hand(seen, 0.025), 100.5)
    guard.clock_jumped(seen + step_ns, step_ns)
    later = seen + step_ns + 170 * MS
    accepted(guard, with_gripper(later, 0.025, 0.0), later)


def test_joint_states_of_a_clock_that_has_begun_anew_since_are_none():
    guard, before = ready(), NOW - 4000 * MS
    guard.tick(before, 100.1)
    refused(guard, plan(before), Reason.START_MISMATCH, "no joint states", before)


def test_a_clock_that_begins_anew_ends_every_break():
    guard = Guard(PANDA, GuardConfig())
    guard.start(NOW)
    guard.joints(joint_state(NOW), 99.9)
    before = NOW - 4000 * MS
    guard.tick(before, 100.0)
    guard.joints(joint_state(before), 100.0)
    accepted(guard, plan(before), before)
    guard.stalled(NOW, 100.0, 0.3)
    guard.joints(joint_state(before + 50 * MS), 100.1)
    guard.tick(before + 50 * MS, 100.1)
    accepted(guard, plan(before + 50 * MS), before + 50 * MS)


# the gripper


def with_gripper(stamp_ns, start_at, target):
    still = Reference(PANDA.home, STILL, STILL)
    arm = plan(stamp_ns, 0.0, still, stamp_ns, gripper=False)
    return join(arm, gripper_ramp(GRIPPER, stamp_ns, start_at, np.full(4, target), DT, stamp_ns))


def hand(stamp_ns, width):
    return joint_state(stamp_ns, np.append(PANDA.home, width), np.zeros(8), NAMES)


def test_a_plan_may_not_step_the_gripper_by_half_its_stroke():
    guard = ready()
    guard.joints(hand(NOW, 0.0), 100.0)
    made = with_gripper(NOW, 0.02, 0.02)
    refused(guard, made, Reason.DISCONTINUOUS, "panda_finger_joint1 at 0.0200 instead of 0.0000")


def test_fingers_that_hold_something_may_be_told_on_from_either_place():
    for start_at in (0.0, 0.025):
        guard = ready()
        guard.joints(hand(NOW, 0.04), 100.0)
        grasp = with_gripper(NOW, 0.04, 0.0)
        accepted(guard, grasp)
        later = grasp.end_ns + 10 * MS
        guard.joints(hand(later, 0.025), 100.5)
        accepted(guard, with_gripper(later, start_at, 0.0), later)


def test_a_gripper_that_is_not_measured_is_joined_where_it_was_told_to_be():
    guard = ready()
    accepted(guard, with_gripper(NOW, 0.04, 0.04))
    later = NOW + 300 * MS
    guard.joints(joint_state(later), 100.3)
    stray = with_gripper(later, 0.0, 0.0)
    refused(guard, stray, Reason.DISCONTINUOUS, "instead of 0.0400", later)
