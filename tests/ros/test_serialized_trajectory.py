# SPDX-License-Identifier: MIT
"""Serialized trajectories are written and read as rclpy does it, to the last bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message
from trajectory_msgs.msg import JointTrajectory

from difftori_ros import codecs
from difftori_ros.codecs.serialized_trajectory import read_trajectory, write_trajectory
from difftori_ros.nodes.node_base import trajectory_message
from difftori_ros.types import Trajectory

NAMES = st.lists(st.text("abcdefgh_/äß1", min_size=1, max_size=24), min_size=1, max_size=9)


@st.composite
def trajectories(draw):
    names = tuple(dict.fromkeys(draw(NAMES)))
    seed, points = draw(st.integers(0, 2**32 - 1)), draw(st.integers(1, 60))
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.uniform(0.0, 0.2, points))
    shape = (points, len(names))
    values = rng.normal(size=(2, *shape))
    values[rng.random(values.shape) < 0.02] = np.nan
    stamp_ns = draw(st.integers(0, 2**31 * 10**9 - 1))
    return Trajectory(stamp_ns, names, times, values[0], values[1])


def assert_same(one, other):
    assert (one.stamp_ns, one.joint_names) == (other.stamp_ns, other.joint_names)
    for name in ("times", "positions", "velocities"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@settings(max_examples=200, deadline=None)
@given(trajectories())
def test_what_either_has_written_is_read_alike_by_both(trajectory):
    theirs, ours = serialize_message(trajectory_message(trajectory)), write_trajectory(trajectory)
    for raw in (theirs, ours):
        read = deserialize_message(raw, JointTrajectory)
        assert_same(codecs.decode_trajectory(read), trajectory)
        assert_same(read_trajectory(raw), trajectory)


def message():
    made = Trajectory(5, ("a", "bcd"), np.array([0.0, 0.1]), np.ones((2, 2)), np.zeros((2, 2)))
    return trajectory_message(made)


def test_what_rclpy_must_read_is_left_to_it():
    with_more = message()
    with_more.points[1].accelerations = [1.0, 2.0]
    framed, twice, short = message(), message(), message()
    framed.header.frame_id = "world"
    twice.joint_names = ["a", "a"]
    short.points[1].velocities = [0.0]
    empty, nameless = JointTrajectory(), message()
    nameless.joint_names = []
    empty.joint_names = ["a"]
    for made in (with_more, twice, short, empty, nameless):
        assert read_trajectory(serialize_message(made)) is None
    assert read_trajectory(serialize_message(framed)) is not None


@pytest.mark.parametrize("cut", range(0, 168, 7))
def test_bytes_that_are_cut_off_or_changed_are_never_taken_for_a_trajectory_of_ours(cut):
    raw = write_trajectory(codecs.decode_trajectory(message()))
    assert cut < len(raw)
    assert read_trajectory(raw[:cut]) is None
    assert_same(read_trajectory(raw + bytes(4)), read_trajectory(raw))
    assert read_trajectory(b"\x00\x00" + raw[2:]) is None


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_left(data):
    found = read_trajectory(b"\x00\x01\x00\x00" + data)
    assert found is None or len(found.joint_names) > 0


@pytest.mark.parametrize("time", [np.nan, np.inf, 1e12])
def test_times_that_do_not_fit_are_refused(time):
    made = Trajectory(5, ("a",), np.array([0.0, time]), np.zeros((2, 1)), np.zeros((2, 1)))
    with pytest.raises(codecs.CodecError, match="times"):
        write_trajectory(made)
