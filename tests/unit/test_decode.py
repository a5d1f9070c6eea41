# SPDX-License-Identifier: MIT
"""A plan's actions become joint waypoints that say exactly what the actions mean."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from difftori_models.contract.specs import ActionSpec, Observation, Plan, PlanStatus
from difftori_ros.motion.action_decoder import Decoder, Waypoints
from difftori_ros.robot.kinematics import Kinematics
from difftori_ros.robot.profile import ProfileError, load_profile
from difftori_ros.types import Reason

PANDA = load_profile("panda")
ARM = Kinematics(PANDA)
STAMP = 5_000_000_000
DOWN = (1.0, 0.0, 0.0, 0.0)
JOINTS = (*PANDA.arm_joints, "gripper")

seeds = st.integers(0, 2**32 - 1)


def action_spec(kind="ee_delta_pos", names=("x", "y", "z", "gripper"), **changes) -> ActionSpec:
    ones = (1.0,) * len(names)
    low = tuple(-value for value in ones)
    return replace(ActionSpec(kind, names, ones, low, ones, 0.05, 4, 2, DOWN), **changes)


def seen(position=PANDA.home, finger=0.04, order=PANDA.joint_names) -> Observation:
    values = dict(zip(PANDA.joint_names, [*position, finger], strict=True))
    columns = np.array([values[name] for name in order])
    tip = ARM.tip_pose(np.asarray(position))
    return Observation(STAMP, tuple(order), columns, np.zeros(8), {"tip": tip})


def plan(actions) -> Plan:
    actions = np.asarray(actions, dtype=np.float64)
    return Plan(STAMP, actions, 0.0, 0.0, 0, 0.0, PlanStatus.BASE)


def decode(spec: ActionSpec, actions, observation=None) -> Waypoints:
    return Decoder(spec, PANDA, ARM).decode(plan(actions), observation or seen())


@settings(max_examples=50, deadline=None)
@given(seed=seeds)
def test_tip_goes_where_the_displacements_add_up_to_and_keeps_its_orientation(seed):
    rng = np.random.default_rng(seed)
    observation = seen(PANDA.home + rng.uniform(-0.1, 0.1, 7))
    moves = rng.uniform(-0.03, 0.03, (4, 3))
    found = decode(action_spec(), np.hstack([moves, np.ones((4, 1))]), observation)
    assert found.reason is Reason.OK
    wanted = observation.poses["tip"][:3] + np.cumsum(moves, axis=0)
    for position, target in zip(found.arm, wanted, strict=True):
        reached = ARM.tip_pose(position)
        assert np.linalg.norm(reached[:3] - target) < 1e-3
        assert abs(np.dot(reached[3:], DOWN)) > 1 - 1e-6
    np.testing.assert_allclose(found.tip, wanted, atol=1e-3)


def test_tip_keeps_the_orientation_it_has_when_the_spec_names_none():
    tilted = seen(PANDA.home + np.array([0.0, 0.0, 0.2, 0.0, 0.1, 0.2, 0.0]))
    actions = np.tile([0.01, 0.0, 0.0, 1.0], (4, 1))
    found = decode(action_spec(tip_orientation=None), actions, tilted)
    assert found.reason is Reason.OK
    for position in found.arm:
        quaternion = ARM.tip_pose(position)[3:]
        assert abs(np.dot(quaternion, tilted.poses["tip"][3:])) > 1 - 1e-6


def test_targets_of_the_tip_stay_in_its_box_and_come_back_at_once():
    x, y, z = ARM.tip_pose(PANDA.home)[:3]
    spec = action_spec(tip_low=(x - 1, y - 1, z - 0.015), tip_high=(x + 1, y + 1, z + 1))
    downs = np.array([-0.01, -0.01, -0.01, 0.01])
    found = decode(spec, np.column_stack([0 * downs, 0 * downs, downs, 1 + 0 * downs]))
    np.testing.assert_allclose(found.tip[:, 2] - z, [-0.01, -0.015, -0.015, -0.005], atol=1e-3)


def test_tip_outside_its_box_may_come_nearer_but_is_not_pulled_in_and_goes_no_farther():
    x, y, z = ARM.tip_pose(PANDA.home)[:3]
    spec = action_spec(tip_low=(x + 0.1, y - 1, z - 1), tip_high=(x + 1, y + 1, z + 1))
    moves = np.array([-0.01, 0.01, -0.02, 0.01])
    found = decode(spec, np.column_stack([moves, 0 * moves, 0 * moves, 1 + 0 * moves]))
    np.testing.assert_allclose(found.tip[:, 0] - x, [0.0, 0.01, 0.01, 0.02], atol=1e-3)


def test_waypoints_of_small_steps_stay_on_one_branch_of_the_arm():
    found = decode(action_spec(), np.tile([0.0, 0.01, 0.0, 1.0], (4, 1)))
    steps = np.diff(np.vstack([PANDA.home, found.arm]), axis=0)
    assert np.abs(steps).max() < 0.1


def test_waypoints_end_where_the_arm_can_no_longer_reach():
    actions = np.tile([0.08, 0.0, 0.0, 1.0], (4, 1))
    found = decode(action_spec(), actions)
    assert found.reason is Reason.IK_FAILED
    assert 0 < len(found.arm) < 4
    assert len(found.tip) == len(found.arm)
    x, y, z = ARM.tip_pose(PANDA.home)[:3]
    np.testing.assert_allclose(found.tip[-1], [x + 0.08 * len(found.arm), y, z], atol=1e-3)


def test_no_waypoint_is_left_when_the_first_cannot_be_reached():
    found = decode(action_spec(), np.tile([5.0, 0.0, 0.0, 1.0], (4, 1)))
    assert found.reason is Reason.IK_FAILED
    assert found.arm.shape == (0, 7)
    assert found.tip.shape == (0, 3)


@settings(max_examples=30, deadline=None)
@given(seed=seeds)
def test_joint_displacements_add_up_from_the_measured_joints(seed):
    rng = np.random.default_rng(seed)
    moves = rng.uniform(-0.02, 0.02, (4, 7))
    found = decode(action_spec("joint_delta", JOINTS), np.hstack([moves, np.ones((4, 1))]))
    np.testing.assert_allclose(found.arm, PANDA.home + np.cumsum(moves, axis=0), atol=1e-12)
    np.testing.assert_allclose(found.tip[-1], ARM.tip_pose(found.arm[-1])[:3])
    assert found.reason is Reason.OK


def test_joint_positions_are_taken_as_they_are():
    targets = PANDA.home + 0.01 * np.arange(4)[:, None]
    found = decode(action_spec("joint_position", JOINTS), np.hstack([targets, np.ones((4, 1))]))
    np.testing.assert_array_equal(found.arm, targets)


@pytest.mark.parametrize("kind", ["joint_delta", "joint_position"])
def test_joint_waypoints_stay_inside_the_limits(kind):
    found = decode(action_spec(kind, JOINTS), np.full((4, 8), 9.0))
    np.testing.assert_array_equal(found.arm, np.tile(PANDA.upper, (4, 1)))


def test_order_of_the_observed_joints_makes_no_difference():
    spec, actions = action_spec("joint_delta", JOINTS), np.full((4, 8), 0.01)
    turned = decode(spec, actions, seen(order=PANDA.joint_names[::-1]))
    assert turned.arm.tobytes() == decode(spec, actions).arm.tobytes()


def test_gripper_command_of_minus_one_is_closed_and_of_one_is_open():
    actions = np.zeros((5, 4))
    actions[:, 3] = [-1.0, 1.0, 0.0, -7.0, 7.0]
    found = decode(action_spec(), actions)
    np.testing.assert_allclose(found.gripper, [0.0, 0.04, 0.02, 0.0, 0.04], atol=1e-15)


def test_gripper_may_stand_anywhere_among_the_action_names():
    spec = action_spec(names=("gripper", "x", "y", "z"))
    found = decode(spec, np.tile([-1.0, 0.01, 0.0, 0.0], (2, 1)))
    np.testing.assert_array_equal(found.gripper, [0.0, 0.0])
    assert found.tip[1][0] - found.tip[0][0] == pytest.approx(0.01, abs=1e-3)


def test_actions_without_a_gripper_leave_it_alone():
    assert decode(action_spec(names=("x", "y", "z")), np.zeros((2, 3))).gripper is None


@pytest.mark.parametrize(
    ("kind", "names", "wanted"),
    [
        ("ee_delta_pos", ("y", "x", "z", "gripper"), "('x', 'y', 'z')"),
        ("ee_delta_pos", ("x", "y", "gripper"), "('x', 'y', 'z')"),
        ("joint_delta", ("x", "y", "z"), "panda_joint1"),
        ("joint_position", (*PANDA.arm_joints[::-1], "gripper"), "panda_joint1"),
    ],
)
def test_wrong_action_names_are_refused_beside_those_wanted(kind, names, wanted):
    with pytest.raises(ProfileError, match=f"actions of kind '{kind}'") as caught:
        Decoder(action_spec(kind, names), PANDA, ARM)
    assert wanted in str(caught.value)
    assert names[0] in str(caught.value)


def test_unknown_kind_of_action_is_refused_beside_the_known_ones():
    with pytest.raises(ProfileError, match=r"'torque'; known: ee_delta_pos, joint_delta"):
        Decoder(action_spec("torque"), PANDA, ARM)
