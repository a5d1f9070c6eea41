# SPDX-License-Identifier: MIT
"""When the guard brakes, when a fault is latched, and what clears it."""

import numpy as np
import pytest

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
    moving_guard,
    plan,
    ready,
    refused,
    two_points,
)


def test_a_silent_policy_in_motion_makes_the_arm_brake_and_latches_the_fault():
    guard, made = moving_guard()
    at = NOW + 120 * MS
    assert guard.tick(at, 100.5) is None
    command = assert_brakes(guard.tick(at, 100.51), made, at)
    status = guard.status
    assert (status.state, status.reason, status.level) == (
        GuardState.BRAKE,
        Reason.POLICY_LOST,
        Level.ERROR,
    )
    assert "no sign of life for 0.51 s" in status.detail
    assert status.since_steady_s == 100.51
    refused(guard, plan(at), Reason.FAULT_LATCHED, "POLICY_LOST: no sign of life", at)
    assert guard.tick(command.end_ns - MS, 100.6) is None
    assert guard.status.state is GuardState.BRAKE
    assert guard.tick(command.end_ns, 101.0) is None
    assert guard.status.state is GuardState.FAULT
    assert guard.status.reason is Reason.POLICY_LOST
    guard.heartbeat(101.1)
    guard.joints(joint_state(command.end_ns), 101.1)
    assert guard.tick(command.end_ns + MS, 101.1) is None
    assert guard.status.state is GuardState.FAULT
    refused(guard, plan(at), Reason.FAULT_LATCHED, "POLICY_LOST", command.end_ns)


def test_a_policy_that_falls_silent_while_the_arm_rests_is_a_fault_without_a_command():
    guard, made = moving_guard()
    assert guard.tick(made.end_ns + MS, 100.6) is None
    assert guard.status.state is GuardState.FAULT
    assert guard.status.reason is Reason.POLICY_LOST


def test_a_policy_that_has_never_lived_is_no_fault():
    guard = Guard(PANDA, GuardConfig())
    guard.start(NOW)
    assert guard.tick(NOW, 1e6) is None
    assert guard.status.state is GuardState.TRACKING
    assert guard.status.reason is Reason.WAITING


def test_a_plan_counts_as_the_first_sign_of_life():
    guard = Guard(PANDA, GuardConfig(joint_timeout_s=60.0))
    guard.start(NOW)
    guard.joints(joint_state(), 100.0)
    made = plan(step=0.03)
    accepted(guard, made)
    assert guard.tick(NOW, 100.0) is None
    assert guard.tick(NOW + 50 * MS, 100.4) is None
    assert_brakes(guard.tick(NOW + 100 * MS, 100.6), made, NOW + 100 * MS)


def test_silent_joint_states_in_motion_make_the_arm_brake():
    guard, made = moving_guard()
    guard.heartbeat(100.5)
    command = guard.tick(NOW + 100 * MS, 100.51)
    assert_brakes(command, made, NOW + 100 * MS)
    assert guard.status.reason is Reason.JOINT_STATES_LOST
    assert guard.status.detail == "no usable joint states for 0.51 s"


def test_silent_joint_states_at_rest_are_no_fault():
    guard = ready()
    guard.heartbeat(200.0)
    assert guard.tick(NOW, 200.0) is None
    assert guard.status.state is GuardState.TRACKING


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        (joint_state(names=("x", *PANDA.arm_joints[1:])), "joint panda_joint1 is missing"),
        (joint_state(position=np.full(7, np.nan)), "not finite"),
        (joint_state(velocity=np.full(7, np.inf)), "not finite"),
        (joint_state(velocity=np.zeros(0)), "lack positions or velocities"),
    ],
)
def test_useless_joint_states_count_as_silence_and_are_named(state, sentence):
    guard, made = moving_guard()
    guard.heartbeat(100.5)
    guard.joints(state, 100.5)
    assert_brakes(guard.tick(NOW + 100 * MS, 100.51), made, NOW + 100 * MS)
    assert guard.status.reason is Reason.BAD_JOINT_STATE
    assert sentence in guard.status.detail


def test_one_bad_joint_state_between_good_ones_is_no_fault():
    guard, _ = moving_guard()
    guard.heartbeat(100.5)
    guard.joints(joint_state(position=np.full(7, np.nan)), 100.3)
    guard.joints(joint_state(NOW + 40 * MS), 100.4)
    assert guard.tick(NOW + 50 * MS, 100.6) is None


def test_extra_joints_in_other_order_are_understood():
    guard = Guard(PANDA, GuardConfig())
    guard.start(NOW)
    names = ("other", *reversed(PANDA.arm_joints))
    guard.joints(
        joint_state(position=[9.0, *reversed(PANDA.home)], velocity=np.zeros(8), names=names), 0
    )
    accepted(guard, plan())


def test_too_many_refusals_in_a_row_make_the_arm_brake():
    guard, made = moving_guard(max_refusals=3)
    bad = two_points(times=np.zeros(2))
    for _ in range(2):
        guard.check(bad, NOW)
    assert guard.tick(NOW + 40 * MS, 100.1) is None
    guard.check(bad, NOW)
    assert_brakes(guard.tick(NOW + 50 * MS, 100.1), made, NOW + 50 * MS)
    assert guard.status.reason is Reason.BAD_TIMES
    assert "3 plans in a row refused, last: 0.000000 s is followed" in guard.status.detail


def test_an_accepted_plan_ends_the_row_of_refusals():
    guard = ready(max_refusals=2)
    bad = two_points(times=np.zeros(2))
    guard.check(bad, NOW)
    accepted(guard, plan())
    guard.check(bad, NOW)
    assert guard.tick(NOW, 100.0) is None
    assert guard.status.state is GuardState.TRACKING


# starting, stopping, resetting


def test_an_inactive_guard_passes_nothing_on():
    guard = Guard(PANDA, GuardConfig())
    guard.joints(joint_state(), 100.0)
    assert guard.status.state is GuardState.INACTIVE
    refused(guard, plan(), Reason.STOPPED, "not active")
    assert guard.tick(NOW, 1e6) is None
    assert guard.status.reason is Reason.STOPPED


def test_stopping_in_motion_brakes_and_passes_nothing_on():
    guard, made = moving_guard()
    assert_brakes(guard.stop(NOW + 80 * MS), made, NOW + 80 * MS)
    assert guard.status.state is GuardState.INACTIVE
    refused(guard, plan(), Reason.STOPPED, "not active")
    assert guard.stop(NOW + 90 * MS) is None


def test_stopping_at_rest_commands_nothing():
    assert ready().stop(NOW) is None


def test_after_stop_and_start_the_next_plan_starts_where_the_arm_is():
    guard, _ = moving_guard()
    guard.stop(NOW + 80 * MS)
    guard.start(NOW)
    far = PANDA.home + 0.1
    later = NOW + 400 * MS  # nobody knows that it was moved while it may still brake
    guard.joints(joint_state(later, far), 100.4)
    accepted(guard, plan(later, start=Reference(far, STILL, STILL)), later)


def test_a_fault_survives_stop_and_start_and_only_reset_clears_it():
    guard, _ = moving_guard()
    assert guard.tick(NOW + 100 * MS, 101.0) is not None
    assert guard.stop(NOW + 110 * MS) is None
    guard.start(NOW)
    assert guard.status.reason is Reason.POLICY_LOST
    guard.reset(NOW)
    assert (guard.status.state, guard.status.reason) == (GuardState.TRACKING, Reason.WAITING)
    guard.joints(joint_state(NOW + 600 * MS), 102.0)
    assert guard.tick(NOW + 600 * MS, 102.0) is None
    accepted(guard, plan(NOW + 600 * MS), NOW + 600 * MS)


def test_reset_does_not_start_an_inactive_guard():
    guard = Guard(PANDA, GuardConfig())
    guard.reset(NOW)
    assert guard.status.state is GuardState.INACTIVE


def test_the_status_says_since_when():
    guard = ready()
    guard.tick(NOW, 103.0)
    guard.heartbeat(103.0)
    guard.check(two_points(times=np.zeros(2)), NOW)
    guard.heartbeat(104.0)
    guard.check(two_points(times=np.zeros(2)), NOW)
    assert guard.status.since_steady_s == 103.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_plan_age_s", 0.0),
        ("heartbeat_timeout_s", float("nan")),
        ("continuity_rad", float("inf")),
        ("velocity_factor", 0.9),
        ("max_refusals", 0),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"{name} must be finite and at least"):
        GuardConfig(**{name: value})


# whatever comes


def test_an_arm_that_does_not_follow_is_braked_and_named():
    guard, made = moving_guard()
    later = NOW + 100 * MS
    position = made.sample(later)[0][:7].copy()
    position[2] += 0.3
    guard.heartbeat(100.1)
    guard.joints(joint_state(later, position), 100.1)
    assert_brakes(guard.tick(later, 100.1), made, later)
    assert guard.status.reason is Reason.NOT_FOLLOWING
    assert "panda_joint3 is 0.300 rad away, allowed are 0.25 rad" in guard.status.detail


def test_an_arm_that_follows_late_is_left_alone():
    guard, made = moving_guard()
    later = NOW + 100 * MS
    guard.heartbeat(100.1)
    guard.joints(joint_state(later, made.sample(later)[0][:7] - 0.2), 100.1)
    assert guard.tick(later, 100.1) is None
    assert guard.status.state is GuardState.TRACKING


def test_joint_states_from_before_the_plan_do_not_judge_it():
    guard, _ = moving_guard()
    guard.heartbeat(100.1)
    guard.joints(joint_state(NOW - MS, PANDA.home + 0.3), 100.1)
    assert guard.tick(NOW + 50 * MS, 100.1) is None


def test_a_policy_that_says_that_it_stops_may_fall_silent_while_the_arm_rests():
    guard = ready()
    assert guard.policy_stopped(NOW) is None
    assert guard.tick(NOW, 160.0) is None
    assert guard.status.state is GuardState.TRACKING


def test_a_policy_that_says_that_it_stops_in_motion_is_braked_and_that_is_no_fault():
    guard, made = moving_guard()
    at = NOW + 80 * MS
    guard.heartbeat(100.08)
    command = assert_brakes(guard.policy_stopped(at), made, at)
    assert guard.policy_stopped(at + MS) is None
    guard.joints(joint_state(command.end_ns, command.positions[-1]), 100.5)
    for later, steady in ((command.end_ns, 100.5), (command.end_ns + 2000 * MS, 102.5)):
        guard.joints(joint_state(later, command.positions[-1]), steady)
        assert guard.tick(later, steady) is None
        assert guard.status.state is GuardState.TRACKING
    assert guard.status.reason is Reason.WAITING


def test_joint_states_that_cannot_be_read_count_as_silence_and_are_named():
    guard, made = moving_guard()
    guard.heartbeat(100.5)
    guard.unreadable_joints("position of panda_joint3 is nan")
    assert_brakes(guard.tick(NOW + 100 * MS, 100.51), made, NOW + 100 * MS)
    assert guard.status.reason is Reason.BAD_JOINT_STATE
    assert "position of panda_joint3 is nan" in guard.status.detail


def test_a_clock_that_jumps_back_ends_the_motion_under_way():
    guard, _ = moving_guard()
    before = NOW - 20_000 * MS
    guard.heartbeat(100.1)
    guard.joints(joint_state(before), 100.1)
    assert guard.tick(before, 100.1) is None
    assert guard.status.reason is Reason.CLOCK_JUMPED
    accepted(guard, plan(before), before)


def test_a_second_after_the_last_verdict_a_resting_guard_says_that_it_waits():
    guard = ready()
    guard.check(two_points(times=np.zeros(2)), NOW)
    assert guard.status.reason is Reason.BAD_TIMES
    guard.heartbeat(101.4)
    guard.joints(joint_state(NOW), 101.4)
    guard.tick(NOW, 101.5)
    assert guard.status.reason is Reason.WAITING
