# SPDX-License-Identifier: MIT
"""Fresh: track. Late: coast on the rest of the plan. Gone: brake, hold, and recover or latch."""

import numpy as np

from difftori_ros.guard.guard import Guard, GuardConfig
from difftori_ros.motion.trajectory import Reference
from difftori_ros.types import GuardState, Level, Reason
from tests.support.guard_plans import (
    MS,
    NOW,
    PANDA,
    STILL,
    accepted,
    assert_brakes,
    joint_state,
    plan,
    ready,
    refused,
    two_points,
)
from tests.support.promises import assert_valid

LATE = {"coast_after_s": 0.1, "coast_s": 0.1, "follow_tolerance_rad": 3.0}


def long_motion(guard, now_ns=NOW, start=None):
    """A plan that takes a second, accepted."""
    made = plan(now_ns, step=0.03, horizon=20, start=start)
    accepted(guard, made, now_ns)
    return made


def live(guard, now_ns, steady_s, position=PANDA.home):
    guard.heartbeat(steady_s)
    guard.joints(joint_state(now_ns, position), steady_s)


def at_rest_again(guard, command, steady_s, position):
    """The brake has ended, and what comes out holds the measured pose."""
    live(guard, command.end_ns, steady_s, position)
    held = guard.tick(command.end_ns, steady_s)
    assert held is not None
    assert_valid(held, PANDA)
    np.testing.assert_array_equal(held.positions, np.tile(position, (2, 1)))
    np.testing.assert_array_equal(held.velocities, 0.0)


def lose(guard, now_ns, steady_s):
    """A long motion, and no other plan until the guard brakes."""
    made = long_motion(guard, now_ns)
    at = now_ns + 210 * MS
    live(guard, at, steady_s + 0.21)
    command = assert_brakes(guard.tick(at, steady_s + 0.21), made, at)
    assert guard.status.reason is Reason.PLANS_LOST
    return command


def test_a_fresh_plan_is_tracked_a_late_one_coasts_and_a_lost_one_brakes():
    guard = ready(**LATE)
    made = long_motion(guard)
    assert guard.tick(NOW + 100 * MS, 100.1) is None
    assert guard.status.state is GuardState.TRACKING
    live(guard, NOW + 150 * MS, 100.15)
    assert guard.tick(NOW + 150 * MS, 100.15) is None
    status = guard.status
    assert (status.state, status.reason) == (GuardState.COAST, Reason.PLANS_LATE)
    assert status.level is Level.WARN
    assert "are 0.15 s old" in status.detail
    live(guard, NOW + 200 * MS, 100.2)
    assert guard.tick(NOW + 200 * MS, 100.2) is None
    at = NOW + 201 * MS
    assert_brakes(guard.tick(at, 100.201), made, at)
    status = guard.status
    assert (status.state, status.reason) == (GuardState.BRAKE, Reason.PLANS_LOST)
    assert status.detail == "none for 0.20 s"


def test_a_new_plan_ends_coasting():
    guard = ready(**LATE)
    made = long_motion(guard)
    at = NOW + 150 * MS
    live(guard, at, 100.15, made.sample(at)[0][:7])
    guard.tick(at, 100.15)
    assert guard.status.state is GuardState.COAST
    position, velocity = made.sample(at)
    start = Reference(position[:7], velocity[:7], STILL)
    again = plan(at, step=0.03, start=start, gripper=False)
    assert guard.check(again, at).accepted
    assert (guard.status.state, guard.status.reason) == (GuardState.TRACKING, Reason.OK)


def test_a_refused_plan_does_not_end_coasting():
    guard = ready(**LATE)
    long_motion(guard)
    at = NOW + 150 * MS
    live(guard, at, 100.15)
    guard.tick(at, 100.15)
    refused(guard, two_points(times=np.zeros(2)), Reason.BAD_TIMES, "followed by", at)
    assert guard.status.state is GuardState.COAST


def test_a_plan_that_has_come_to_rest_while_coasting_only_waits():
    guard = ready(coast_after_s=0.1, coast_s=5.0)
    made = plan()
    accepted(guard, made)
    live(guard, NOW + 150 * MS, 100.15)
    guard.tick(NOW + 150 * MS, 100.15)
    assert guard.status.state is GuardState.COAST
    live(guard, made.end_ns, 100.5)
    assert guard.tick(made.end_ns, 100.5) is None
    assert (guard.status.state, guard.status.reason) == (GuardState.TRACKING, Reason.WAITING)


def test_after_braking_the_measured_pose_is_held_once():
    guard = ready(**LATE)
    command = lose(guard, NOW, 100.0)
    sagged = command.positions[-1] + 0.01
    assert guard.tick(command.end_ns - MS, 100.3) is None
    at_rest_again(guard, command, 100.4, sagged)
    assert guard.tick(command.end_ns + 20 * MS, 100.42) is None


def test_without_fresh_or_sane_joint_states_nothing_is_held():
    for position, steady in ((PANDA.home, 99.0), (PANDA.upper + 1.0, 100.5)):
        guard = ready(**LATE, joint_timeout_s=0.6)
        command = lose(guard, NOW, 100.0)
        guard.joints(joint_state(command.end_ns, position), steady)
        guard.heartbeat(100.9)
        assert guard.tick(command.end_ns, 100.9 if steady > 100 else 101.0) is None


def test_within_a_second_a_new_plan_from_the_measured_pose_takes_over():
    guard = ready(**LATE)
    command = lose(guard, NOW, 100.0)
    here = command.positions[-1]
    at_rest_again(guard, command, 100.4, here)
    later = command.end_ns + 300 * MS
    live(guard, later, 100.9, here)
    accepted(guard, plan(later, start=Reference(here, STILL, STILL)), later)
    assert guard.status.state is GuardState.TRACKING


def test_after_a_second_it_is_a_fault_until_reset():
    guard = ready(**LATE)
    command = lose(guard, NOW, 100.0)
    here = command.positions[-1]
    at_rest_again(guard, command, 100.4, here)
    later = command.end_ns + 900 * MS
    live(guard, later, 101.3, here)
    assert guard.tick(later, 101.3) is None
    assert (guard.status.state, guard.status.reason) == (GuardState.FAULT, Reason.PLANS_LOST)
    refused(guard, plan(later), Reason.FAULT_LATCHED, "PLANS_LOST: none for 0.21 s", later)
    assert guard.reset(NOW) is None
    accepted(guard, plan(later, start=Reference(here, STILL, STILL)), later)


def test_the_fourth_time_in_a_minute_it_is_a_fault_at_once():
    guard = ready(**LATE)
    now, steady = NOW, 100.0
    for _ in range(3):
        command = lose(guard, now, steady)
        at_rest_again(guard, command, steady + 0.5, command.positions[-1])
        now, steady = command.end_ns + 200 * MS, steady + 0.8
        live(guard, now, steady)
        guard.tick(now, steady)
    command = lose(guard, now, steady)
    assert "4 times in a minute" in guard.status.detail
    refused(guard, plan(now + 250 * MS), Reason.FAULT_LATCHED, "PLANS_LOST", now + 250 * MS)


def test_recoveries_of_more_than_a_minute_ago_do_not_count():
    guard = ready(**LATE, max_recoveries=1)
    command = lose(guard, NOW, 100.0)
    now = command.end_ns + 100 * MS
    live(guard, now, 100.8)
    guard.tick(now, 100.8)
    long_motion(guard, now)
    now += 100_000 * MS
    live(guard, now, 200.0)
    guard.tick(now, 200.0)
    command = lose(guard, now, 200.0)
    now = command.end_ns + 100 * MS
    live(guard, now, 200.8)
    accepted(guard, plan(now), now)


def test_a_policy_that_dies_meanwhile_is_named_and_cannot_recover():
    guard = ready(**LATE)
    command = lose(guard, NOW, 100.0)
    guard.joints(joint_state(command.end_ns), 100.8)
    guard.tick(command.end_ns, 100.8)
    assert (guard.status.state, guard.status.reason) == (GuardState.FAULT, Reason.POLICY_LOST)
    assert "no sign of life for 0.59 s" in guard.status.detail


def test_a_policy_that_says_that_it_stops_meanwhile_is_no_fault():
    guard = ready(**LATE)
    command = lose(guard, NOW, 100.0)
    last = guard.policy_stopped(command.stamp_ns + 10 * MS)
    assert last is not None
    guard.joints(joint_state(last.end_ns, last.positions[-1]), 103.9)
    assert guard.tick(command.end_ns + 3000 * MS, 104.0) is None
    assert guard.status.state is GuardState.TRACKING


def test_a_clock_that_jumps_back_while_braking_leaves_the_fault():
    guard = ready()
    long_motion(guard)
    guard.estop(True, NOW + 100 * MS)
    guard.joints(joint_state(NOW - 9000 * MS), 100.2)
    guard.tick(NOW - 9000 * MS, 100.2)
    assert (guard.status.state, guard.status.reason) == (GuardState.FAULT, Reason.ESTOP)


# stops from outside


def test_the_emergency_stop_brakes_and_latches_and_release_moves_nothing():
    guard = ready(**LATE)
    made = long_motion(guard)
    at = NOW + 80 * MS
    assert_brakes(guard.estop(True, at), made, at)
    assert (guard.status.state, guard.status.reason) == (GuardState.BRAKE, Reason.ESTOP)
    assert guard.estop(True, at + MS) is None
    assert "still pressed" in (guard.reset(NOW) or "")
    assert guard.status.reason is Reason.ESTOP
    assert guard.estop(False, at + 2 * MS) is None
    refused(guard, plan(at), Reason.FAULT_LATCHED, "ESTOP", at)
    assert guard.reset(NOW) is None
    assert guard.status.state is GuardState.TRACKING


def test_the_emergency_stop_of_a_resting_arm_is_a_fault_without_a_command():
    guard = ready()
    assert guard.estop(True, NOW) is None
    assert (guard.status.state, guard.status.reason) == (GuardState.FAULT, Reason.ESTOP)


def test_the_emergency_stop_counts_during_a_brake_that_could_recover():
    guard = ready(**LATE)
    command = lose(guard, NOW, 100.0)
    assert guard.estop(True, command.stamp_ns + 10 * MS) is not None
    assert guard.status.reason is Reason.ESTOP


def test_the_first_fault_is_the_one_that_is_told():
    guard = ready()
    guard.estop(True, NOW)
    assert guard.trip(Reason.SECOND_COMMANDER, "/other publishes", NOW) is None
    assert guard.status.reason is Reason.ESTOP


def test_a_second_commander_is_a_fault_with_its_name():
    guard = ready(**LATE)
    made = long_motion(guard)
    detail = "/other publishes '/arm_controller/joint_trajectory'"
    assert_brakes(guard.trip(Reason.SECOND_COMMANDER, detail, NOW + 50 * MS), made, NOW + 50 * MS)
    assert guard.status.detail == detail


def test_pausing_brakes_and_resuming_starts_from_the_measured_pose():
    guard = ready(**LATE)
    made = long_motion(guard)
    at = NOW + 80 * MS
    assert_brakes(guard.stop(at, Reason.PAUSED), made, at)
    status = guard.status
    assert (status.state, status.reason) == (GuardState.INACTIVE, Reason.PAUSED)
    assert status.level is Level.WARN
    refused(guard, plan(at), Reason.PAUSED, "not active", at)
    guard.start(NOW)
    later = at + 600 * MS
    here = PANDA.home + 0.02
    live(guard, later, 100.7, here)
    accepted(guard, plan(later, start=Reference(here, STILL, STILL)), later)


def test_a_configuration_can_switch_recovery_off():
    guard = Guard(PANDA, GuardConfig(**LATE, max_recoveries=0))
    guard.start(NOW)
    guard.joints(joint_state(), 100.0)
    command = lose(guard, NOW, 100.0)
    refused(guard, plan(command.end_ns), Reason.FAULT_LATCHED, "PLANS_LOST", command.end_ns)
