# SPDX-License-Identifier: MIT
"""Nothing that comes raises, and what is accepted keeps P1."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from difftori_ros.motion.trajectory import Reference, schedule
from difftori_ros.types import Trajectory
from tests.support.guard_plans import (
    DT,
    MS,
    NAMES,
    NOW,
    PANDA,
    STILL,
    accepted,
    assert_brakes,
    joint_state,
    ready,
)
from tests.support.promises import assert_valid

numbers = st.floats(allow_nan=True, allow_infinity=True) | st.floats(-3.0, 3.0)


@st.composite
def anything(draw) -> Trajectory:
    """Any trajectory at all: ragged, infinite, unsorted, for other joints."""
    count, width = draw(st.integers(0, 4)), draw(st.sampled_from([0, 7, 8, 8, 8]))
    names = draw(st.permutations(NAMES))[:width]
    seed = draw(st.integers(0, 2**32 - 1))
    array = np.random.default_rng(seed).normal(0, draw(st.sampled_from([0, 1])), (2, count, width))
    for _ in range(draw(st.integers(0, 3)) if array.size else 0):
        array.reshape(-1)[draw(st.integers(0, array.size - 1))] = draw(numbers)
    times = np.array(draw(st.lists(numbers, min_size=count, max_size=count)), dtype=float)
    if draw(st.booleans()):
        times = np.sort(np.abs(times))
    stamp = draw(st.integers(-(2**63), 2**63) | st.integers(NOW - 10**9, NOW + 10**8))
    with np.errstate(over="ignore"):
        return Trajectory(stamp, tuple(names), times, array[0], array[1])


@settings(max_examples=300, deadline=None)
@given(made=anything())
def test_nothing_that_comes_raises(made):
    verdict = ready().check(made, NOW)
    assert verdict.detail
    for channel in verdict.channels:
        assert_valid(channel, PANDA, measured=PANDA.home)


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from([0.0, 1e-3, 1e-2, 0.1, 1.0]),
    dt=st.sampled_from([0.01, 0.05, 0.2]),
    age=st.floats(-0.1, 0.6),
    margin=st.sampled_from([0.0, 0.05]),
)
def test_what_is_accepted_of_plans_gone_slightly_wrong_keeps_p1(seed, size, dt, age, margin):
    rng = np.random.default_rng(seed)
    home = np.append(np.clip(PANDA.upper - margin, PANDA.lower, PANDA.upper), 0.04)
    guard = ready()
    guard.joints(joint_state(position=home[:7]), 100.0)
    count = int(rng.integers(2, 8))
    positions = home + np.cumsum(rng.normal(0, size * dt, (count, 8)), axis=0)
    velocities = np.gradient(positions, dt, axis=0) * rng.uniform(0, 1.5)
    velocities[-1] = 0
    stamp = NOW - round(age * 1e9)
    made = Trajectory(stamp, NAMES, dt * np.arange(count), positions, velocities)
    verdict = guard.check(made, NOW)
    for channel in verdict.channels:
        assert_valid(channel, PANDA, measured=home[:7])
    assert verdict.accepted == bool(verdict.channels)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_whenever_the_policy_dies_the_brake_keeps_p1(seed):
    rng = np.random.default_rng(seed)
    guard = ready()
    waypoints = PANDA.home + np.cumsum(rng.normal(0, 0.1, (4, 7)), axis=0)
    made = schedule(PANDA, NOW, waypoints, DT, Reference(PANDA.home, STILL, STILL), NOW)
    assert made is not None
    accepted(guard, made)
    at = NOW + round(rng.uniform(0, made.times[-1]) * 1e9) - MS
    assert_brakes(guard.tick(max(at, NOW), 200.0), made, max(at, NOW))
