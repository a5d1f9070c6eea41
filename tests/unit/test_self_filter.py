# SPDX-License-Identifier: MIT
"""Points on the arm are told from the rest, at the joints that are measured."""

from dataclasses import replace

import numpy as np
import pytest

from difftori_ros.observation.self_filter import SelfFilter, Shape
from difftori_ros.robot.kinematics import Kinematics
from difftori_ros.robot.profile import ProfileError, load_profile

PANDA = load_profile("panda")
MARGIN = 0.01
FILTER = SelfFilter(PANDA, MARGIN)
HAND = np.array([0.0, 0.0, 0.02, 0.0, 0.0, 0.0, 1.0])


def at(position, opening=0.04) -> dict[str, float]:
    return dict(zip(PANDA.joint_names, [*position, opening], strict=True))


def in_hand(position, *points):
    """Points given in the frame of the hand, in the base frame (N, 3)."""
    rotations, origins = Kinematics(PANDA).placements(np.array([position]), ["panda_hand"])
    return (np.array(points) @ rotations[0, 0].T + origins[0, 0]).astype(np.float32)


def random_position(seed):
    return np.random.default_rng(seed).uniform(PANDA.lower, PANDA.upper)


@pytest.mark.parametrize("seed", range(5))
def test_points_on_the_hand_are_dropped_wherever_the_arm_is(seed):
    position = random_position(seed)
    points = in_hand(position, [0, 0, 0.02], [0.032, 0.09, 0.06], [-0.03, -0.1, 0.0])
    assert not FILTER.outside(points, at(position)).any()


@pytest.mark.parametrize("seed", range(1, 6))
def test_point_between_the_open_fingers_stays(seed):
    position = random_position(seed)
    between = in_hand(position, [0, 0, 0.1034], [0.0, 0.02, 0.1034], [0.0, -0.02, 0.1034])
    assert FILTER.outside(between, at(position, 0.04)).all()


def test_fingers_are_where_the_gripper_is_measured():
    home = PANDA.home
    wide, narrow = in_hand(home, [0, 0.05, 0.1], [0, -0.05, 0.1]), in_hand(home, [0, 0.012, 0.1])
    assert not FILTER.outside(wide, at(home, 0.04)).any()  # both fingers: one follows the other
    assert FILTER.outside(wide, at(home, 0.0)).all()
    assert FILTER.outside(narrow, at(home, 0.04)).all()
    assert not FILTER.outside(narrow, at(home, 0.0)).any()


def test_table_in_front_of_the_arm_stays():
    rng = np.random.default_rng(0)
    table = rng.uniform([0.3, -0.5, -0.01], [0.9, 0.5, 0.01], (2000, 3)).astype(np.float32)
    assert FILTER.outside(table, at(PANDA.home)).all()


def test_answer_for_a_point_does_not_depend_on_the_others():
    rng = np.random.default_rng(1)
    points = rng.uniform([-0.2, -0.3, 0.0], [0.7, 0.3, 1.0], (3000, 3)).astype(np.float32)
    kept = FILTER.outside(points, at(PANDA.home))
    assert 0 < kept.sum() < len(points)
    order = rng.permutation(len(points))
    np.testing.assert_array_equal(FILTER.outside(points[order], at(PANDA.home)), kept[order])
    some = points[::7]
    np.testing.assert_array_equal(FILTER.outside(some, at(PANDA.home)), kept[::7])


@pytest.mark.parametrize(
    ("shape", "on", "off"),
    [
        (Shape("box", np.array([1.0, 2.0, 3.0]), np.zeros(3)), [1.05, 2.05, 3.05], [1.2, 0, 0]),
        (Shape("cylinder", np.array([1.0, 2.0]), np.zeros(3)), [0.7, 0.7, 2.05], [0.9, 0.9, 0]),
        (Shape("capsule", np.array([1.0, 2.0]), np.zeros(3)), [0.0, 0.0, 3.05], [0.7, 0.7, 2.9]),
        (Shape("capsule", np.array([1.0, 0.0]), np.zeros(3)), [0.6, 0.6, 0.6], [0.7, 0.7, 0.7]),
    ],
)
def test_shapes_reach_as_far_as_they_say_and_the_margin(shape, on, off):
    told = shape.outside(np.array([on, off], dtype=np.float32), 0.1)
    assert told.tolist() == [False, True]
    assert np.linalg.norm(on) <= shape.reach + 0.2


def test_robot_without_collision_shapes_is_refused_by_name(tmp_path):
    bare = tmp_path / "bare.urdf"
    bare.write_text('<robot name="bare"><link name="panda_link0"/></robot>')
    with pytest.raises(ProfileError, match="no collision shapes"):
        SelfFilter(replace(PANDA, urdf=bare), MARGIN)
