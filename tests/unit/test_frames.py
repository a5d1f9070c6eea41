# SPDX-License-Identifier: MIT
"""The frame tree says where one frame is in another at a stamp, or why it cannot say."""

import os

os.environ["ROS_PYTHON_CHECK_FIELDS"] = "1"

from types import SimpleNamespace

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from difftori_ros.codecs.fields import CodecError
from difftori_ros.codecs.transforms import decode_transforms
from difftori_ros.observation.frame_tree import FrameError, FrameTree
from difftori_ros.rigid import matrix_to_pose, pose_to_matrix

SECOND = 1_000_000_000
quick = settings(deadline=None, max_examples=50)


def turned(angle: float, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> np.ndarray:
    """Turned about z by `angle` [rad], at x y z."""
    return pose_to_matrix(np.array([x, y, z, 0.0, 0.0, np.sin(angle / 2), np.cos(angle / 2)]))


@st.composite
def poses(draw) -> np.ndarray:
    xyz = draw(st.lists(st.floats(-10, 10), min_size=3, max_size=3))
    quaternion = np.array(draw(st.lists(st.floats(-1, 1), min_size=4, max_size=4)))
    assume(np.linalg.norm(quaternion) > 0.1)
    return np.array([*xyz, *(quaternion / np.linalg.norm(quaternion))])


# poses and matrices


@quick
@given(poses())
def test_a_pose_survives_the_way_through_a_matrix_but_for_the_quaternions_sign(pose):
    again = matrix_to_pose(pose_to_matrix(pose))
    np.testing.assert_allclose(again[:3], pose[:3], atol=1e-12)
    assert abs(again[3:] @ pose[3:]) == pytest.approx(1.0, abs=1e-9)
    assert again[6] >= 0


def test_the_matrix_of_a_pose_maps_points_out_of_the_posed_frame():
    matrix = turned(np.pi / 2, x=1.0)
    np.testing.assert_allclose(matrix @ [1, 0, 0, 1], [1, 1, 0, 1], atol=1e-12)


@pytest.mark.parametrize(
    ("pose", "complaint"),
    [
        ([0.0] * 7, "norm 1"),
        ([0.0] * 6, "7 finite numbers"),
        ([np.nan, 0, 0, 0, 0, 0, 1], "7 finite numbers"),
        ([0, 0, 0, 0, 0, 0, 1.1], "norm 1"),
        ([0, 0, 0, 1e300, 0, 0, 1e300], "norm 1"),
    ],
)
def test_seven_numbers_that_are_no_pose_are_refused(pose, complaint):
    with pytest.raises(ValueError, match=complaint):
        pose_to_matrix(np.array(pose))


# static transforms


def test_a_chain_of_static_transforms_maps_points_at_any_time():
    tree = FrameTree()
    tree.set_static("world", "base", turned(np.pi / 2))
    tree.set_static("base", "camera", turned(0.0, x=1.0))
    point = tree.lookup("world", "camera", 5) @ [0, 0, 0, 1]
    np.testing.assert_allclose(point, [0, 1, 0, 1], atol=1e-12)


@quick
@given(poses(), poses(), poses())
def test_frames_on_two_branches_meet_at_their_ancestor_and_the_way_back_is_the_inverse(a, b, c):
    tree = FrameTree()
    tree.set_static("base", "arm", pose_to_matrix(a))
    tree.set_static("arm", "hand", pose_to_matrix(b))
    tree.set_static("base", "camera", pose_to_matrix(c))
    there = tree.lookup("hand", "camera", 1)
    expected = np.linalg.inv(pose_to_matrix(a) @ pose_to_matrix(b)) @ pose_to_matrix(c)
    np.testing.assert_allclose(there, expected, atol=1e-9)
    np.testing.assert_allclose(tree.lookup("camera", "hand", 1) @ there, np.eye(4), atol=1e-9)


def test_a_frame_is_where_it_is():
    np.testing.assert_array_equal(FrameTree().lookup("anything", "anything", 1), np.eye(4))


def test_what_the_caller_does_with_a_result_changes_nothing():
    tree = FrameTree()
    given_matrix = turned(0.3)
    tree.set_static("base", "camera", given_matrix)
    given_matrix[0, 3] = 9
    tree.lookup("base", "camera", 1)[0, 3] = 9
    assert tree.lookup("base", "camera", 1)[0, 3] == 0


# timed transforms


def moving() -> FrameTree:
    tree = FrameTree()
    tree.push("base", "hand", 2 * SECOND, turned(0.4, x=2.0))
    tree.push("base", "hand", 2 * SECOND + SECOND // 2, turned(0.8, x=4.0))
    return tree


@quick
@given(st.floats(0, 1))
def test_between_two_stamps_it_moves_straight_and_turns_evenly(fraction):
    stamp = 2 * SECOND + round(fraction * SECOND / 2)
    matrix = moving().lookup("base", "hand", stamp)
    exact = (stamp - 2 * SECOND) / (SECOND / 2)
    expected = turned(0.4 + 0.4 * exact, x=2 + 2 * exact)
    np.testing.assert_allclose(matrix, expected, atol=1e-9)


def test_the_shorter_way_is_turned():
    tree = FrameTree()
    tree.push("base", "hand", 100, turned(np.pi - 0.1))
    tree.push("base", "hand", 200, turned(-np.pi + 0.1))
    matrix = tree.lookup("base", "hand", 150)
    np.testing.assert_allclose(matrix[:2, :2], -np.eye(2), atol=1e-9)


def test_transforms_may_arrive_out_of_order_and_again():
    tree = FrameTree()
    for stamp, x in ((300, 3.0), (100, 1.0), (200, 9.0), (200, 2.0)):
        tree.push("base", "hand", stamp, turned(0.0, x=x))
    assert tree.lookup("base", "hand", 150)[0, 3] == pytest.approx(1.5)
    assert tree.lookup("base", "hand", 250)[0, 3] == pytest.approx(2.5)


def test_the_stamp_of_the_cloud_counts_for_every_link_of_the_chain():
    tree = moving()
    tree.set_static("hand", "camera", turned(0.0, z=0.1))
    matrix = tree.lookup("base", "camera", 2 * SECOND + SECOND // 4)
    np.testing.assert_allclose(matrix, turned(0.6, x=3.0, z=0.1), atol=1e-9)


def test_before_the_first_stamp_the_time_asked_for_is_too_old():
    with pytest.raises(FrameError, match=r"'hand' to 'base' .* too old by 0\.500 s"):
        moving().lookup("base", "hand", SECOND + SECOND // 2)


def test_after_the_last_stamp_the_time_asked_for_is_in_the_future():
    with pytest.raises(FrameError, match=r"'hand' to 'base' .* in the future by 0\.100 s"):
        moving().lookup("base", "hand", 2 * SECOND + 6 * SECOND // 10)


def test_a_gap_that_is_too_long_is_not_bridged():
    tree = moving()
    tree.push("base", "hand", 5 * SECOND, turned(0.0))
    with pytest.raises(FrameError, match=r"2\.500 s apart, and at most 0\.5 s"):
        tree.lookup("base", "hand", 3 * SECOND)


def test_only_so_many_transforms_are_kept():
    tree = FrameTree(depth=3)
    for stamp in range(1, 6):
        tree.push("base", "hand", stamp, turned(0.0, x=stamp))
    assert tree.lookup("base", "hand", 3)[0, 3] == 3
    with pytest.raises(FrameError, match="too old"):
        tree.lookup("base", "hand", 2)


def test_clearing_forgets_what_moves_and_keeps_what_is_fixed():
    tree = moving()
    tree.set_static("base", "camera", turned(0.0))
    tree.clear()
    assert tree.frames == ("base", "camera")


# what is refused


def test_an_unknown_frame_is_named_with_the_frames_that_exist():
    tree = moving()
    with pytest.raises(FrameError, match="no frame 'lidar'; frames that exist: base, hand"):
        tree.lookup("base", "lidar", 1)
    with pytest.raises(FrameError, match="no frame 'lidar'; frames that exist: none"):
        FrameTree().lookup("base", "lidar", 1)


def test_two_trees_are_named():
    tree = moving()
    tree.set_static("world", "camera", turned(0.0))
    with pytest.raises(FrameError, match="two trees: camera -> world and hand -> base"):
        tree.lookup("hand", "camera", 2 * SECOND)


def test_a_loop_is_refused():
    tree = moving()
    with pytest.raises(FrameError, match="wanted a tree, got 'base' under 'hand'"):
        tree.push("hand", "base", 1, turned(0.0))
    with pytest.raises(FrameError, match="wanted a tree"):
        tree.set_static("hand", "base", turned(0.0))


@pytest.mark.parametrize(("parent", "child"), [("", "a"), ("a", ""), ("a", "a")])
def test_names_that_make_no_link_are_refused(parent, child):
    with pytest.raises(FrameError, match="two frame names that differ"):
        FrameTree().set_static(parent, child, turned(0.0))


@pytest.mark.parametrize(
    "wrong",
    [
        np.eye(3),
        np.full((4, 4), np.nan),
        np.diag([1.0, 1.0, -1.0, 1.0]),
        np.diag([2.0, 2.0, 2.0, 1.0]),
        np.diag([1.0, 1.0, 1.0, 2.0]),
        np.diag([1e300, 1e300, 1e300, 1.0]),
    ],
)
def test_a_matrix_that_is_not_rigid_is_refused(wrong):
    with pytest.raises(FrameError, match="wanted a rigid transform"):
        FrameTree().set_static("base", "camera", wrong)


def test_a_message_does_not_move_a_frame_that_a_parameter_fixed():
    tree = FrameTree()
    tree.set_static("base", "camera", turned(0.0))
    with pytest.raises(FrameError, match="'camera', which is fixed to 'base'"):
        tree.push("base", "camera", 1, turned(1.0))
    np.testing.assert_array_equal(tree.lookup("base", "camera", 1), turned(0.0))


def test_a_timed_transform_without_a_stamp_is_refused():
    with pytest.raises(FrameError, match="stamp above 0"):
        FrameTree().push("base", "hand", 0, turned(0.0))


def test_a_frame_that_comes_under_another_parent_starts_anew():
    tree = moving()
    tree.push("gantry", "hand", 9 * SECOND, turned(0.0, x=7.0))
    assert tree.lookup("gantry", "hand", 9 * SECOND)[0, 3] == 7
    assert tree.frames == ("gantry", "hand")


# messages


def tf_message(*transforms: TransformStamped) -> SimpleNamespace:
    """What a tf2_msgs TFMessage looks like; that package is not in every ROS installation."""
    return SimpleNamespace(transforms=list(transforms))


def transform_message(w: float = 1.0, x: float = 0.5) -> TransformStamped:
    message = TransformStamped(child_frame_id="camera")
    message.header.frame_id = "base"
    message.header.stamp.sec, message.header.stamp.nanosec = 3, 4
    message.transform.translation.x = x
    message.transform.rotation.w = w
    return message


def test_transforms_come_out_of_a_message_in_its_order():
    other = transform_message(x=1.5)
    other.child_frame_id = "hand"
    first, second = decode_transforms(tf_message(transform_message(), other))
    parent, child, stamp_ns, matrix = first
    assert (parent, child, stamp_ns) == ("base", "camera", 3 * SECOND + 4)
    np.testing.assert_array_equal(matrix, turned(0.0, x=0.5))
    assert second.child == "hand"


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (transform_message(w=0.0), "from 'camera' to 'base': wanted a quaternion of norm 1"),
        (transform_message(x=float("nan")), "from 'camera' to 'base': wanted finite numbers"),
        (TransformStamped(), "wanted two frame names"),
    ],
)
def test_a_transform_that_is_none_is_refused_by_its_frames(message, complaint):
    with pytest.raises(CodecError, match=complaint):
        decode_transforms(tf_message(transform_message(), message))


def test_a_pose_from_parameters_that_is_none_is_refused_by_the_names_of_its_frames():
    tree = FrameTree()
    with pytest.raises(FrameError, match="pose of 'camera' in 'base'"):
        tree.set_static_pose("base", "camera", np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0]))
    tree.set_static_pose("base", "camera", np.array([1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]))
    np.testing.assert_allclose(tree.lookup("base", "camera", 0)[:3, 3], [1.0, 0.0, 0.0])
