# SPDX-License-Identifier: MIT
"""The gripper goes to its targets at its own pace, and joins the arm's plan."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from difftori_ros.motion.trajectory import gripper_ramp, hold, join, schedule, split
from difftori_ros.robot.profile import Gripper
from difftori_ros.types import Trajectory
from tests.support.motion_checks import (
    DT,
    GRIPPER,
    MS,
    PANDA,
    STAMP,
    at_rest,
    ends_at_rest_where,
    seeds,
)
from tests.support.promises import assert_valid, everywhere


@settings(max_examples=200, deadline=None)
@given(
    start=st.floats(-0.01, 0.05),
    targets=st.lists(st.floats(-0.02, 0.06), min_size=1, max_size=8),
    late=st.floats(0.0, 0.5),
)
def test_a_gripper_ramp_is_rate_limited_and_ends_at_rest_at_the_last_target(start, targets, late):
    made = gripper_ramp(GRIPPER, STAMP, start, np.array(targets), DT, STAMP + round(late * 1e9))
    positions, speeds, _ = everywhere(made)
    wanted = np.clip(targets[-1], 0.0, 0.04)
    assert made.joint_names == ("panda_finger_joint1",)
    assert made.positions[0, 0] == start
    assert made.times[0] == pytest.approx(late, abs=1e-8)
    assert (np.diff(made.times) > 0).all()
    assert ends_at_rest_where(made)[0] == pytest.approx(wanted, abs=1e-8)
    assert np.abs(speeds).max() <= GRIPPER.velocity
    assert positions.min() >= min(start, 0.0) - 1e-9
    assert positions.max() <= max(start, 0.04) + 1e-9


def test_a_gripper_target_is_pursued_while_its_action_holds():
    made = gripper_ramp(GRIPPER, STAMP, 0.0, np.array([0.0, 0.0, 0.04, 0.04]), DT, STAMP)
    assert made.sample(STAMP + 100 * MS)[0][0] == pytest.approx(0.0, abs=1e-9)
    assert made.sample(STAMP + 200 * MS)[0][0] > 0.01
    assert made.times[-1] == pytest.approx(0.1 + 0.04 / 0.19, abs=0.045)


@pytest.mark.parametrize("start", [np.nan, np.inf, 1e9])
def test_a_gripper_that_cannot_be_there_is_left_alone(start):
    made = gripper_ramp(GRIPPER, STAMP, start, np.array([0.04]), DT, STAMP)
    assert len(made.times) == 2
    assert not made.velocities.any()


def test_a_gripper_without_targets_stays():
    made = gripper_ramp(GRIPPER, STAMP, 0.02, np.zeros(0), DT, STAMP)
    np.testing.assert_array_equal(made.positions, [[0.02], [0.02]])


def test_a_gripper_that_turns_about_a_joint_and_closes_upwards_is_ramped_too():
    claw = Gripper(joint="claw", open=0.0, closed=0.8, velocity=1.0, topic="/claw")
    made = gripper_ramp(claw, STAMP, 0.0, np.array([0.8]), DT, STAMP)
    assert ends_at_rest_where(made)[0] == pytest.approx(0.8)


@settings(max_examples=80, deadline=None)
@given(seed=seeds, start=st.floats(0, 0.04), target=st.sampled_from([0.0, 0.04]))
def test_arm_and_gripper_join_and_come_apart_again(seed, start, target):
    rng = np.random.default_rng(seed)
    waypoints = PANDA.home + np.cumsum(rng.normal(0, 0.03, (int(rng.integers(0, 5)), 7)), axis=0)
    arm = schedule(PANDA, STAMP, waypoints, DT, at_rest(PANDA.home), STAMP)
    ramp = gripper_ramp(GRIPPER, STAMP, start, np.full(4, target), DT, STAMP)
    assert arm is not None
    both = join(arm, ramp)
    assert both.joint_names == PANDA.joint_names
    assert_valid(both, PANDA)
    assert both.end_ns >= max(arm.end_ns, ramp.end_ns) - MS
    back = split(both, PANDA.arm_joints)
    for t_ns in range(STAMP, both.end_ns, 3 * MS):
        np.testing.assert_allclose(back.sample(t_ns)[0], arm.sample(t_ns)[0], atol=1e-9)
        np.testing.assert_allclose(back.sample(t_ns)[1], arm.sample(t_ns)[1], atol=1e-6)
        p, _ = split(both, ("panda_finger_joint1",)).sample(t_ns)
        assert p[0] == pytest.approx(ramp.sample(t_ns)[0][0], abs=2e-5)
    assert ends_at_rest_where(both)[-1] == ramp.positions[-1, 0]


def test_split_takes_columns_in_the_order_asked_for():
    values = np.arange(6.0).reshape(2, 3)
    made = Trajectory(STAMP, ("a", "b", "c"), np.array([0.0, 1.0]), values, values * 10)
    taken = split(made, ("c", "a"))
    np.testing.assert_array_equal(taken.positions, [[2, 0], [5, 3]])
    np.testing.assert_array_equal(taken.velocities, [[20, 0], [50, 30]])


def test_split_names_the_joint_that_is_not_there():
    made = hold(("a", "b"), STAMP, np.zeros(2), STAMP)
    with pytest.raises(ValueError, match="no joint z; it has a, b"):
        split(made, ("a", "z"))
