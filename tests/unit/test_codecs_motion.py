# SPDX-License-Identifier: MIT
"""Joint states, poses, trajectories and stamps survive messages; ill-formed ones are refused."""

import os

os.environ["ROS_PYTHON_CHECK_FIELDS"] = "1"

import math
import re

import numpy as np
import pytest
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import PoseStamped
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import JointState as JointStateMessage
from std_msgs.msg import Float64
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from difftori_ros import codecs
from difftori_ros.codecs.fields import CodecError
from difftori_ros.types import JointState, Pose, Trajectory

quick = settings(deadline=None, max_examples=100)
numbers = st.floats(allow_nan=True, allow_infinity=True)
finite = st.floats(allow_nan=False, allow_infinity=False)
names = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=4)
stamps_ns = st.integers(-(2**31) * 10**9, (2**31) * 10**9 - 1)


def test_these_tests_run_with_the_field_checks_of_the_messages_on():
    with pytest.raises(AssertionError):
        Float64().data = np.float32(1.5)


# stamps


@quick
@given(stamps_ns, st.sampled_from([Time, Duration]))
def test_stamps_survive_to_the_nanosecond(ns, kind):
    stamp = kind()
    codecs.ns_to_stamp(ns, stamp)
    assert codecs.stamp_to_ns(stamp) == ns
    assert 0 <= stamp.nanosec < 10**9


@pytest.mark.parametrize("ns", [2**31 * 10**9, -(2**31) * 10**9 - 1])
def test_a_stamp_that_does_not_fit_is_refused(ns):
    with pytest.raises(CodecError, match="32 bits of seconds"):
        codecs.ns_to_stamp(ns, Time())


def test_a_numpy_integer_is_a_stamp_too():
    stamp = Time()
    codecs.ns_to_stamp(np.int64(1_500_000_000), stamp)
    assert (stamp.sec, stamp.nanosec) == (1, 500_000_000)


# joint states


@quick
@given(
    stamps_ns, st.lists(finite, min_size=3, max_size=3), st.lists(finite, min_size=3, max_size=3)
)
def test_joint_states_survive(stamp_ns, position, velocity):
    state = JointState(stamp_ns, ("a", "b", "c"), np.array(position), np.array(velocity))
    message = JointStateMessage()
    codecs.encode_joint_state(state, message)
    again = codecs.decode_joint_state(message)
    assert (again.stamp_ns, again.names) == (stamp_ns, state.names)
    np.testing.assert_array_equal(again.position, state.position)
    np.testing.assert_array_equal(again.velocity, state.velocity)


def test_single_precision_joint_states_can_be_sent():
    ones = np.ones(2, np.float32)
    message = JointStateMessage()
    codecs.encode_joint_state(JointState(1, ("a", "b"), ones, ones), message)
    assert codecs.decode_joint_state(message).position.dtype == np.float64


@quick
@given(names, st.lists(numbers, max_size=4), st.lists(numbers, max_size=4))
def test_arbitrary_joint_states_are_decoded_when_well_formed_and_refused_otherwise(
    name, position, velocity
):
    message = JointStateMessage(name=name, position=position, velocity=velocity)
    well_formed = (
        0 < len(name) == len(set(name)) == len(position) == len(velocity)
        and np.isfinite(position).all()
        and np.isfinite(velocity).all()
    )
    if well_formed:
        assert codecs.decode_joint_state(message).names == tuple(name)
    else:
        with pytest.raises(CodecError, match=r"joint state: wanted .*, got "):
            codecs.decode_joint_state(message)


def test_joint_states_without_velocities_are_refused_by_name():
    message = JointStateMessage(name=["a", "b"], position=[0.0, 1.0])
    with pytest.raises(CodecError, match="wanted 2 entries in 'velocity', one per name, got 0"):
        codecs.decode_joint_state(message)


def test_the_joint_that_is_not_finite_is_named():
    message = JointStateMessage(name=["a", "b"], position=[0.0, math.nan], velocity=[0.0, 0.0])
    with pytest.raises(CodecError, match="finite numbers in 'position', got b=nan"):
        codecs.decode_joint_state(message)


def test_the_joint_that_comes_twice_is_named():
    message = JointStateMessage(name=["a", "b", "b"], position=[0.0] * 3, velocity=[0.0] * 3)
    with pytest.raises(CodecError, match="wanted each joint once, got twice: b"):
        codecs.decode_joint_state(message)


# poses


def pose_message(xyz, xyzw) -> PoseStamped:
    message = PoseStamped()
    message.header.frame_id = "base"
    p, q = message.pose.position, message.pose.orientation
    p.x, p.y, p.z = map(float, xyz)
    q.x, q.y, q.z, q.w = map(float, xyzw)
    return message


@quick
@given(
    stamps_ns,
    st.lists(finite, min_size=3, max_size=3),
    st.lists(st.floats(-1, 1), min_size=4, max_size=4),
)
def test_poses_survive(stamp_ns, xyz, direction):
    norm = math.hypot(*direction)
    assume(norm > 1e-3)
    pose = Pose(stamp_ns, "base", np.array([*xyz, *(v / norm for v in direction)]))
    message = PoseStamped()
    codecs.encode_pose(pose, message)
    again = codecs.decode_pose(message)
    assert (again.stamp_ns, again.frame_id) == (stamp_ns, "base")
    np.testing.assert_allclose(again.pose, pose.pose, rtol=0, atol=1e-15)


@quick
@given(st.lists(numbers, min_size=3, max_size=3), st.lists(numbers, min_size=4, max_size=4))
def test_arbitrary_poses_have_a_unit_quaternion_or_are_refused(xyz, xyzw):
    try:
        pose = codecs.decode_pose(pose_message(xyz, xyzw)).pose
    except CodecError as error:
        complaint = str(error)
    else:
        assert np.isfinite(pose).all()
        assert math.hypot(*pose[3:]) == pytest.approx(1.0, abs=1e-12)
        return
    assert re.match("pose: wanted .*, got ", complaint)


@pytest.mark.parametrize("scale", [0.9992, 1.0008])
def test_a_rounded_quaternion_is_normalised(scale):
    quaternion = np.array([0.5, -0.5, 0.5, 0.5])
    pose = codecs.decode_pose(pose_message((1, 2, 3), scale * quaternion)).pose
    np.testing.assert_allclose(pose, [1, 2, 3, *quaternion], atol=1e-15)


@pytest.mark.parametrize("quaternion", [(0, 0, 0, 0), (0, 0, 0, 0.998), (0, 0, 0.1, 1)])
def test_a_quaternion_that_is_no_rotation_is_refused_with_its_norm(quaternion):
    with pytest.raises(CodecError, match=r"wanted a quaternion of norm 1, got .* of norm"):
        codecs.decode_pose(pose_message((0, 0, 0), quaternion))


# trajectories


def trajectory(times, n=2, stamp_ns=7_000_000_123) -> Trajectory:
    rng = np.random.default_rng(0)
    shape = (len(times), n)
    joints = tuple(f"joint{k}" for k in range(n))
    return Trajectory(
        stamp_ns, joints, np.array(times), rng.normal(size=shape), rng.normal(size=shape)
    )


def message_of(plan: Trajectory) -> JointTrajectory:
    message = JointTrajectory()
    codecs.encode_trajectory(plan, message, JointTrajectoryPoint)
    return message


@quick
@given(
    stamps_ns, st.lists(st.integers(0, 10**12), min_size=1, max_size=20, unique=True).map(sorted)
)
def test_trajectories_survive_with_times_exact_to_the_nanosecond(stamp_ns, times_ns):
    plan = trajectory([ns / 1e9 for ns in times_ns], stamp_ns=stamp_ns)
    message = message_of(plan)
    assert [codecs.stamp_to_ns(point.time_from_start) for point in message.points] == times_ns
    again = codecs.decode_trajectory(message)
    assert (again.stamp_ns, again.joint_names) == (stamp_ns, plan.joint_names)
    np.testing.assert_array_equal(again.times, plan.times)
    np.testing.assert_array_equal(again.positions, plan.positions)
    np.testing.assert_array_equal(again.velocities, plan.velocities)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_kept_for_the_guard(value):
    plan = trajectory([0.1, 0.2])
    plan.positions[0, 1] = value
    plan.velocities[1, 0] = value
    again = codecs.decode_trajectory(message_of(plan))
    np.testing.assert_array_equal(again.positions, plan.positions)
    np.testing.assert_array_equal(again.velocities, plan.velocities)


def test_times_that_go_back_are_kept_for_the_guard():
    assert codecs.decode_trajectory(message_of(trajectory([0.2, 0.1]))).times.tolist() == [
        0.2,
        0.1,
    ]


points = st.builds(
    JointTrajectoryPoint,
    positions=st.lists(numbers, max_size=3),
    velocities=st.lists(numbers, max_size=3),
    accelerations=st.lists(numbers, max_size=3),
    time_from_start=st.builds(
        Duration, sec=st.integers(-(2**31), 2**31 - 1), nanosec=st.integers(0, 2**32 - 1)
    ),
)


@quick
@given(names, st.lists(points, max_size=4))
def test_arbitrary_trajectories_are_decoded_when_rectangular_and_refused_otherwise(
    joints, point_list
):
    message = JointTrajectory(joint_names=joints, points=point_list)
    n = len(joints)
    rectangular = all(len(p.positions) == len(p.velocities) == n for p in point_list)
    if 0 < n == len(set(joints)) and point_list and rectangular:
        decoded = codecs.decode_trajectory(message)
        assert decoded.positions.shape == decoded.velocities.shape == (len(point_list), n)
    else:
        with pytest.raises(CodecError, match=r"trajectory: wanted .*, got "):
            codecs.decode_trajectory(message)


def test_a_ragged_point_is_named():
    message = message_of(trajectory([0.1, 0.2, 0.3]))
    message.points[1].velocities = [0.0]
    with pytest.raises(CodecError, match="wanted 2 velocities, one per joint, in point 1, got 1"):
        codecs.decode_trajectory(message)


def test_a_time_that_is_not_finite_is_not_sent():
    with pytest.raises(CodecError, match="wanted finite times"):
        message_of(trajectory([0.1, math.nan]))
