# SPDX-License-Identifier: MIT
"""After a stall of the guard's process what lies in its queues counts no more, and a streamed
controller is taken where it was left."""

import numpy as np
import pytest

from difftori_ros.guard.guard import Guard, GuardConfig
from difftori_ros.guard.motion_under_way import put_off
from difftori_ros.motion.trajectory import Reference, reference_at
from difftori_ros.types import GuardState, Reason
from tests.support.guard_plans import (
    AT,
    GRIPPER,
    MS,
    NOW,
    PANDA,
    STILL,
    accepted,
    assert_brakes,
    hand,
    joint_state,
    leaving,
    long_motion,
    measure,
    plan,
    ready,
    refused,
    with_gripper,
)


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
    assert (guard.status.state, guard.status.reason) == (GuardState.TRACKING, Reason.STALLED)
    assert "0.80 s" in guard.status.detail
    assert_brakes(guard.tick(AT + 400 * MS, 101.2), first, AT + 400 * MS)
    assert (guard.status.state, guard.status.reason) == (GuardState.BRAKE, Reason.STALLED)


def test_a_stall_of_a_guard_that_holds_a_fault_changes_nothing():
    guard = ready()
    guard.trip(Reason.SECOND_COMMANDER, "", NOW)
    guard.stalled(NOW + 400 * MS, 100.4, 0.4)
    assert (guard.status.state, guard.status.reason) == (GuardState.FAULT, Reason.SECOND_COMMANDER)


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
    assert (guard.status.state, guard.status.reason) == (GuardState.TRACKING, Reason.WAITING)


@pytest.mark.parametrize("speed", [0.0, 0.6])
def test_a_streamed_controller_brakes_from_where_it_was_left(speed):
    guard = ready()
    first = long_motion(guard)
    stands = Reference(first.sample(AT)[0], np.full(7, speed), STILL)
    (command,) = guard.stalled(AT + 250 * MS, 100.65, 0.25, stands)
    np.testing.assert_allclose(command.positions[0], stands.position)
    np.testing.assert_allclose(command.velocities[0], stands.velocity)
    assert (guard.status.state, guard.status.reason) == (GuardState.BRAKE, Reason.STALLED)
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
