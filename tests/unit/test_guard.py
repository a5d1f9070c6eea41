# SPDX-License-Identifier: MIT
"""What the guard passes on and what it refuses, with the sentence the operator reads."""

import numpy as np
import pytest

from difftori_ros.guard.guard import Guard, GuardConfig
from difftori_ros.motion.trajectory import Reference, hold, reference_at, split
from difftori_ros.types import GuardState, Level, Reason, Trajectory
from tests.support.guard_plans import (
    MS,
    NAMES,
    NOW,
    PANDA,
    STILL,
    XARM,
    accepted,
    joint_state,
    plan,
    ready,
    refused,
    two_points,
)


def test_a_valid_plan_is_passed_on_in_one_channel_for_the_arm_and_one_for_the_gripper():
    guard, made = ready(), plan()
    arm, gripper = accepted(guard, made).channels
    assert arm.joint_names == PANDA.arm_joints
    assert gripper.joint_names == ("panda_finger_joint1",)
    np.testing.assert_array_equal(arm.positions, made.positions[:, :7])
    np.testing.assert_array_equal(gripper.positions, made.positions[:, 7:])
    status = guard.status
    assert (status.state, status.reason, status.level) == (
        GuardState.TRACKING,
        Reason.OK,
        Level.OK,
    )
    assert (status.accepted, status.refused) == (1, 0)


def test_a_plan_may_leave_the_gripper_alone():
    (arm,) = accepted(ready(), plan(gripper=False)).channels
    assert arm.joint_names == PANDA.arm_joints


def test_an_arm_without_a_gripper_is_guarded_too():
    guard = ready(XARM)
    verdict = guard.check(hold(XARM.arm_joints, NOW, XARM.home, NOW), NOW)
    assert verdict.accepted
    assert len(verdict.channels) == 1


def test_joints_in_any_order_give_the_same_command():
    made = plan()
    shuffled = split(made, tuple(reversed(NAMES)))
    for one, other in zip(
        accepted(ready(), made).channels, accepted(ready(), shuffled).channels, strict=True
    ):
        assert one.joint_names == other.joint_names
        np.testing.assert_array_equal(one.positions, other.positions)
        np.testing.assert_array_equal(one.velocities, other.velocities)


def test_plan_after_plan_from_the_motion_under_way_is_accepted():
    guard, before, start = ready(), None, None
    for turn in range(10):
        now = NOW + turn * 100 * MS
        here = PANDA.home if before is None else split(before, PANDA.arm_joints).sample(now)[0]
        guard.joints(joint_state(now, here), 100.0 + turn * 0.1)
        guard.heartbeat(100.0 + turn * 0.1)
        if before is not None:
            start = reference_at(split(before, PANDA.arm_joints), now + 20 * MS)
        made = plan(now, start=start, start_ns=now + 20 * MS if before else now)
        accepted(guard, made, now + 22 * MS, after=before)
        assert guard.tick(now + 25 * MS, 100.0 + turn * 0.1) is None
        before = made
    assert guard.status.accepted == 10


def test_once_the_motion_has_ended_the_next_plan_starts_where_the_arm_is():
    guard, made = ready(), plan()
    accepted(guard, made)
    later = made.end_ns + 10 * MS
    sagged = made.positions[-1, :7] + 0.05
    guard.joints(joint_state(later, sagged), 101.0)
    accepted(guard, plan(later, start=Reference(sagged, STILL, STILL)), later)


# plans that do not


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (("a", *NAMES[1:]), "wanted panda_joint1 panda_joint2"),
        ((NAMES[0], NAMES[0], *NAMES[2:]), "got panda_joint1 panda_joint1"),
    ],
)
def test_a_plan_for_other_joints_is_refused(names, sentence):
    refused(ready(), two_points(joint_names=names), Reason.JOINT_MISMATCH, sentence)


def test_a_plan_that_lacks_joints_is_refused():
    few = split(two_points(), NAMES[:3])
    refused(ready(), few, Reason.JOINT_MISMATCH, "got panda_joint1 panda_joint2 panda_joint3")


@pytest.mark.parametrize("field", ["positions", "velocities"])
def test_a_plan_with_arrays_of_another_shape_is_refused(field):
    made = two_points(**{field: np.zeros((2, 3))})
    refused(ready(), made, Reason.JOINT_MISMATCH, "wanted 2 points of 8 joints, got (2, 3)")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("field", "sentence"),
    [("positions", "position of panda_joint3 is"), ("velocities", "velocity of panda_joint3 is")],
)
def test_a_number_that_is_not_finite_is_refused_by_its_joint(field, sentence, bad):
    values = getattr(two_points(), field).copy()
    values[1, 2] = bad
    refused(ready(), two_points(**{field: values}), Reason.NON_FINITE, sentence)


def test_times_that_are_not_finite_are_refused():
    made = two_points(times=np.array([0.0, np.nan]))
    refused(ready(), made, Reason.NON_FINITE, "times are [0.0, nan]")


@pytest.mark.parametrize(
    ("times", "sentence"),
    [
        ([0.0, 0.0], "0.000000 s is followed by 0.000000 s in point 1"),
        ([0.2, 0.1], "0.200000 s is followed by 0.100000 s in point 1"),
        ([-0.1, 0.1], "runs from -0.1 to 0.1 s, allowed are 0 to 10 s"),
        ([0.0, 11.0], "runs from 0 to 11 s, allowed are 0 to 10 s"),
        ([0.2, 0.3], "starts 0.200 s in the future"),
    ],
)
def test_times_that_make_no_sense_are_refused(times, sentence):
    refused(ready(), two_points(times=np.array(times)), Reason.BAD_TIMES, sentence)


def test_a_plan_of_one_point_is_refused():
    one = two_points(times=np.zeros(1), positions=np.zeros((1, 8)), velocities=np.zeros((1, 8)))
    refused(ready(), one, Reason.BAD_TIMES, "wanted at least two points, got 1")


def test_a_plan_that_has_ended_is_refused():
    refused(ready(), two_points(), Reason.BAD_TIMES, "ended 0.100 s ago", NOW + 200 * MS)


def test_a_plan_that_does_not_end_at_rest_is_refused():
    velocities = np.zeros((2, 8))
    velocities[1, 3] = -0.01
    made = two_points(velocities=velocities)
    refused(ready(), made, Reason.NOT_AT_REST, "panda_joint4 ends at -0.01 rad/s")


def test_a_plan_beyond_a_position_limit_is_refused_with_joint_value_and_limit():
    positions = two_points().positions.copy()
    positions[1, 1] = 1.8
    refused(
        ready(),
        two_points(positions=positions),
        Reason.POSITION_LIMIT,
        "panda_joint2 comes to 1.8, allowed are -1.752 to 1.752",
    )


def test_a_plan_that_leaves_the_position_limits_between_its_points_is_refused():
    top = np.append(PANDA.upper, 0.04)
    velocities = np.zeros((3, 8))
    velocities[0, 0], velocities[1, 0] = 1.9, -1.9
    made = Trajectory(NOW, NAMES, np.array([0.0, 0.3, 0.6]), np.tile(top, (3, 1)), velocities)
    refused(ready(), made, Reason.POSITION_LIMIT, "panda_joint1 comes to")


def test_a_plan_that_is_too_fast_at_a_point_is_refused():
    velocities = np.zeros((2, 8))
    velocities[0, 6] = -2.5
    refused(
        ready(),
        two_points(velocities=velocities),
        Reason.VELOCITY_LIMIT,
        "panda_joint7 comes to -2.5, allowed are -2.466 to 2.466",
    )


def test_a_gripper_beyond_its_stroke_is_refused():
    positions = two_points().positions.copy()
    positions[:, 7] = 0.05
    made = two_points(positions=positions)
    refused(ready(), made, Reason.POSITION_LIMIT, "panda_finger_joint1 comes to 0.05")


def test_a_gripper_may_accelerate_as_it_likes():
    positions = two_points().positions.copy()
    positions[1, 7] = 0.03
    accepted(ready(), two_points(positions=positions))


@pytest.mark.parametrize(
    ("age_ms", "sentence"),
    [(501, "made from inputs 0.501 s old, allowed are 0.5 s"), (-60, "inputs -0.060 s old")],
)
def test_a_plan_from_old_inputs_or_from_the_future_is_refused(age_ms, sentence):
    made = two_points(stamp_ns=NOW - age_ms * MS, times=np.array([0.0, 1.0]))
    refused(ready(), made, Reason.STALE_PLAN, sentence)


def test_without_joint_states_every_plan_is_refused():
    guard = Guard(PANDA, GuardConfig())
    guard.start(NOW)
    refused(guard, plan(), Reason.START_MISMATCH, "there are no joint states")


def test_with_old_joint_states_every_plan_is_refused():
    guard = ready()
    made = two_points(stamp_ns=NOW + 600 * MS)
    refused(guard, made, Reason.START_MISMATCH, "joint states are 0.600 s old", NOW + 600 * MS)


def test_a_plan_that_starts_away_from_the_measured_joints_is_refused():
    guard = ready()
    guard.joints(joint_state(position=PANDA.home + 0.2 * np.eye(7)[4]), 100.0)
    refused(
        guard,
        plan(),
        Reason.START_MISMATCH,
        "panda_joint5 at 0.0000 instead of 0.2000 rad, allowed are 0.15 rad",
    )


def test_a_plan_that_starts_moving_from_rest_is_refused():
    start = Reference(PANDA.home, np.full(7, 0.6), STILL)
    refused(
        ready(),
        plan(start=start),
        Reason.START_MISMATCH,
        "panda_joint1 at 0.6000 instead of 0.0000 rad/s, allowed are 0.3 rad/s",
    )


def test_a_plan_that_jumps_away_from_the_motion_under_way_is_refused():
    guard = ready()
    accepted(guard, plan())
    refused(
        guard,
        plan(start=Reference(PANDA.home + 0.03 * np.eye(7)[0], STILL, STILL)),
        Reason.DISCONTINUOUS,
        "panda_joint1 at 0.0300 instead of 0.0000 rad, allowed are 0.02 rad",
    )


def test_a_plan_that_kinks_away_from_the_motion_under_way_is_refused():
    guard = ready()
    accepted(guard, plan())
    made = plan(start=Reference(PANDA.home, np.full(7, 0.4), STILL))
    refused(
        guard, made, Reason.DISCONTINUOUS, "at 0.4000 instead of 0.0000 rad/s, allowed are 0.3"
    )


def test_a_refused_plan_does_not_stop_the_one_under_way():
    guard, made = ready(), plan()
    accepted(guard, made)
    refused(guard, two_points(times=np.zeros(2)), Reason.BAD_TIMES, "followed by")
    assert guard.tick(NOW + 50 * MS, 100.05) is None
    status = guard.status
    assert (status.state, status.level) == (GuardState.TRACKING, Level.WARN)
    assert status.reason is Reason.BAD_TIMES
    again = reference_at(split(made, PANDA.arm_joints), NOW + 60 * MS)
    guard.joints(joint_state(NOW + 60 * MS, again.position), 100.06)
    accepted(guard, plan(NOW + 60 * MS, start=again), NOW + 60 * MS, after=made)
    assert guard.status.reason is Reason.OK


# the watchdog
