# SPDX-License-Identifier: MIT
"""The cubic between the points of a trajectory is the one that controllers interpolate with."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import CubicHermiteSpline

from difftori_ros.cubic import state_at, states_at
from difftori_ros.types import Trajectory
from tests.support.motion_checks import seeds


def points(seed, count: int):
    """Times (P,), positions and velocities (P, 3) of a made-up trajectory."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.uniform(1e-4, 0.1, count)) - 0.05
    return times, *rng.normal(size=(2, count, 3))


@settings(max_examples=100, deadline=None)
@given(seed=seeds, count=st.integers(2, 40))
def test_states_are_those_of_the_hermite_spline(seed, count):
    times, positions, velocities = points(seed, count)
    spline = CubicHermiteSpline(times, positions, velocities)
    t = np.random.default_rng(seed).uniform(times[0], times[-1], 20)
    got = states_at(times, positions, velocities, t)
    np.testing.assert_allclose(got[0], spline(t), atol=1e-9)
    np.testing.assert_allclose(got[1], spline(t, 1), rtol=1e-9, atol=1e-9)
    for k, moment in enumerate(t):
        position, velocity, acceleration = state_at(times, positions, velocities, float(moment))
        np.testing.assert_allclose(position, got[0][k], atol=1e-12)
        np.testing.assert_allclose(velocity, got[1][k], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(acceleration, spline(moment, 2), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_outside_the_state_is_that_of_the_point_at_the_end(count):
    times, positions, velocities = points(7, count)
    outside = np.array([times[0] - 1.0, times[-1] + 1.0])
    many = states_at(times, positions, velocities, outside)
    np.testing.assert_allclose(many[0], positions[[0, -1]], atol=1e-12)
    np.testing.assert_allclose(many[1], velocities[[0, -1]], atol=1e-12)
    for end, t in zip((0, -1), outside, strict=True):
        state = state_at(times, positions, velocities, float(t))
        np.testing.assert_array_equal(state, [positions[end], velocities[end], np.zeros(3)])


def test_no_array_of_the_trajectory_is_written_to():
    given_points = points(3, 6)
    kept = [part.copy() for part in given_points]
    made = Trajectory(0, ("a", "b", "c"), *given_points)
    position, velocity = made.sample(-(10**9))
    position += 1.0
    velocity += 1.0
    for part in made.samples(np.arange(-(10**9), 10**9, 10**7)):
        part += 1.0
    for part, before in zip(given_points, kept, strict=True):
        np.testing.assert_array_equal(part, before)
