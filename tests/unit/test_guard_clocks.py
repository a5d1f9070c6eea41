# SPDX-License-Identifier: MIT
"""Joint states that fall silent, clocks that are set, and a gripper that may not jump."""

import pytest

from difftori_ros.guard.guard import Guard, GuardConfig
from difftori_ros.motion.trajectory import reference_at
from difftori_ros.types import GuardState, Reason
from tests.support.guard_plans import (
    AT,
    MS,
    NOW,
    PANDA,
    accepted,
    hand,
    joint_state,
    leaving,
    long_motion,
    plan,
    ready,
    refused,
    with_gripper,
)

# joint states and clocks


def test_silent_joint_states_of_a_resting_arm_are_named_and_no_fault():
    guard = ready()
    guard.heartbeat(100.6)
    assert guard.tick(NOW + 600 * MS, 100.6) is None
    assert (guard.status.state, guard.status.reason) == (
        GuardState.TRACKING,
        Reason.JOINT_STATES_LOST,
    )
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
    assert (guard.status.state, guard.status.reason) == (
        GuardState.FAULT,
        Reason.JOINT_STATES_LOST,
    )


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


def test_fingers_that_close_on_after_a_brake_are_not_forgotten_by_a_resume():
    guard = ready()
    guard.joints(hand(NOW, 0.04), 100.0)
    grasp = with_gripper(NOW, 0.04, 0.0)
    accepted(guard, grasp)
    guard.stop(NOW + 20 * MS, Reason.PAUSED)
    at = NOW + 150 * MS  # the arm rests since, the fingers do not
    assert at < grasp.end_ns
    guard.start(at)
    guard.joints(hand(at + MS, 0.04), 100.15)  # measured late
    stray = with_gripper(at + MS, 0.04, 0.04)
    refused(guard, stray, Reason.DISCONTINUOUS, "panda_finger_joint1", at + 2 * MS)


def test_a_gripper_that_is_not_measured_is_joined_where_it_was_told_to_be():
    guard = ready()
    accepted(guard, with_gripper(NOW, 0.04, 0.04))
    later = NOW + 300 * MS
    guard.joints(joint_state(later), 100.3)
    stray = with_gripper(later, 0.0, 0.0)
    refused(guard, stray, Reason.DISCONTINUOUS, "instead of 0.0400", later)
