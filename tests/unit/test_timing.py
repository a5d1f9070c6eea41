# SPDX-License-Identifier: MIT
"""Waypoints become trajectories that keep every limit, start as they are told and end at rest."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from difftori_ros.motion.ruckig_path import MotionError, RuckigPath
from difftori_ros.motion.trajectory import (
    Reference,
    brake,
    hold,
    reference_at,
    schedule,
    segment_accelerations,
)
from difftori_ros.types import Trajectory
from tests.support.motion_checks import (
    DT,
    MS,
    PANDA,
    PROFILES,
    STAMP,
    STILL,
    TIGHT,
    at_rest,
    ends_at_rest_where,
    seeds,
)
from tests.support.promises import assert_valid, everywhere


def reach(t: np.ndarray, size: float, duration_s: float) -> np.ndarray:
    """A minimum-jerk motion from the home pose, positions (len(t), 7)."""
    u = np.clip(np.asarray(t) / duration_s, 0, 1)[:, None]
    along = 10 * u**3 - 15 * u**4 + 6 * u**5
    return PANDA.home + size * along * np.array([1, -0.5, 0.3, 0.7, -0.4, 0.6, 0.2])


@settings(max_examples=150, deadline=None)
@given(
    seed=seeds,
    robot=st.sampled_from(sorted(PROFILES)),
    count=st.integers(0, 8),
    step=st.sampled_from([0.0, 0.01, 0.1, 1.0]),
    jumps=st.booleans(),
    late=st.floats(0.0, 0.5),
    corner=st.booleans(),
    dt=st.sampled_from([0.02, 0.05, 0.1]),
)
def test_every_schedule_from_rest_keeps_every_limit(
    seed, robot, count, step, jumps, late, corner, dt
):
    profile, rng = PROFILES[robot], np.random.default_rng(seed)
    position = rng.uniform(profile.lower, profile.upper)
    if corner:
        position = np.where(rng.random(7) < 0.5, profile.lower, profile.upper)
    if jumps:
        waypoints = rng.uniform(profile.lower - 0.5, profile.upper + 0.5, (count, 7))
    else:
        waypoints = position + np.cumsum(rng.normal(0, step, (count, 7)), axis=0)
    start_ns = STAMP + round(late * 1e9)
    made = schedule(profile, STAMP, waypoints, dt, at_rest(position), start_ns)
    assert made is not None
    assert_valid(made, profile, **TIGHT)
    assert made.stamp_ns == STAMP
    assert made.joint_names == profile.arm_joints
    assert made.times[0] == pytest.approx(late, abs=1e-8)
    assert (made.positions[0] == position).all()
    assert np.diff(made.times).max() <= 0.01 + 1e-9


@settings(max_examples=150, deadline=None)
@given(seed=seeds, count=st.integers(0, 6), late=st.floats(0.0, 0.2), speed=st.floats(0.0, 1.0))
def test_every_schedule_in_motion_starts_in_its_state_and_keeps_the_limits(
    seed, count, late, speed
):
    rng = np.random.default_rng(seed)
    middle, half = (PANDA.lower + PANDA.upper) / 2, (PANDA.upper - PANDA.lower) / 2
    start = Reference(
        middle + rng.uniform(-0.2, 0.2, 7) * half,
        rng.uniform(-speed, speed, 7) * PANDA.velocity,
        rng.uniform(-speed, speed, 7) * PANDA.acceleration,
    )
    waypoints = start.position + np.cumsum(rng.normal(0, 0.1, (count, 7)), axis=0)
    made = schedule(PANDA, STAMP, waypoints, DT, start, STAMP + round(late * 1e9))
    assert made is not None
    assert_valid(made, PANDA, **TIGHT)
    assert (made.positions[0] == start.position).all()
    assert (made.velocities[0] == start.velocity).all()


@settings(max_examples=40, deadline=None)
@given(seed=seeds, robot=st.sampled_from(sorted(PROFILES)))
def test_a_chain_of_plans_from_a_jittery_policy_keeps_the_limits_and_is_continuous(seed, robot):
    profile, rng = PROFILES[robot], np.random.default_rng(seed)
    position = rng.uniform(profile.lower, profile.upper)
    goal = rng.uniform(profile.lower, profile.upper)
    now, start, before = STAMP, at_rest(position), None
    for _ in range(12):
        here = start.position + rng.normal(0, 0.01, 7)
        steps = np.clip(0.1 * (goal - here), -0.1, 0.1) + rng.normal(0, 0.01, (4, 7))
        started = now + int(rng.integers(0, 60)) * MS
        if before is not None:
            start = reference_at(before, started)
        made = schedule(profile, now, here + np.cumsum(steps, axis=0), DT, start, started)
        assert made is not None
        assert_valid(
            made,
            profile,
            after=before,
            at_ns=started,
            position_tolerance=2e-3,
            velocity_factor=1.01,
            acceleration_factor=1.15,
            continuity=(1e-6, 1e-5),
        )
        before, now = made, now + 100 * MS


@pytest.mark.parametrize("latency_ms", [0, 30])
@pytest.mark.parametrize(("size", "duration_s"), [(0.3, 1.0), (1.0, 1.0), (0.4, 0.5)])
def test_smooth_waypoints_within_the_limits_are_met_to_a_few_milliradians(
    size, duration_s, latency_ms
):
    start, before, worst = at_rest(PANDA.home), None, 0.0
    for turn in range(15):
        now = STAMP + turn * 100 * MS
        t = turn * 0.1
        started = now + latency_ms * MS
        if before is not None:
            start = reference_at(before, started)
        due = t + DT * np.arange(1, 5)
        made = schedule(PANDA, now, reach(due, size, duration_s), DT, start, started)
        assert made is not None
        for ms in range(latency_ms, 100 + latency_ms, 5):
            wanted = reach(np.array([t + ms * 1e-3]), size, duration_s)[0]
            worst = max(worst, np.abs(made.sample(now + ms * MS)[0] - wanted).max())
        before = made
    assert worst < 6e-3


def test_jitter_from_plan_to_plan_is_smoothed():
    rng = np.random.default_rng(0)
    start, before, worst = at_rest(PANDA.home), None, 0.0
    for turn in range(15):
        now = STAMP + turn * 100 * MS
        if before is not None:
            start = reference_at(before, now)
        noisy = np.tile(PANDA.home + rng.normal(0, 0.005, 7), (4, 1))
        made = schedule(PANDA, now, noisy, DT, start, now)
        assert made is not None
        for ms in range(0, 100, 5):
            worst = max(worst, np.abs(made.sample(now + ms * MS)[0] - PANDA.home).max())
        before = made
    assert worst < 0.02


def test_the_last_waypoint_is_where_the_arm_comes_to_rest_when_it_can_be_reached():
    waypoints = PANDA.home + 0.005 * np.arange(1, 5)[:, None]
    made = schedule(PANDA, STAMP, waypoints, DT, at_rest(PANDA.home), STAMP)
    assert made is not None
    np.testing.assert_allclose(ends_at_rest_where(made), waypoints[-1], atol=1e-9)
    assert made.times[-1] == pytest.approx(5 * DT)


def test_waypoints_that_are_due_are_dropped():
    far = np.vstack([PANDA.home + 1.0, PANDA.home + 1.0, PANDA.home + 0.002, PANDA.home + 0.003])
    made = schedule(PANDA, STAMP, far, DT, at_rest(PANDA.home), STAMP + 100 * MS)
    assert made is not None
    assert made.times[0] == pytest.approx(0.1)
    assert (made.positions[:, 0] <= PANDA.home[0] + 0.01).all()
    np.testing.assert_allclose(ends_at_rest_where(made), PANDA.home + 0.003, atol=1e-9)


@pytest.mark.parametrize("count", [0, 4])
def test_without_a_waypoint_left_the_arm_brakes(count):
    moving = Reference(PANDA.home, 0.5 * PANDA.velocity, STILL)
    late = STAMP + 300 * MS
    made = schedule(PANDA, STAMP, np.tile(PANDA.home, (count, 1)), DT, moving, late)
    stop = brake(PANDA, STAMP, moving, late)
    assert made is not None
    np.testing.assert_array_equal(made.positions, stop.positions)
    np.testing.assert_array_equal(made.times, stop.times)


@settings(max_examples=60, deadline=None)
@given(seed=seeds)
def test_the_arm_rests_within_horizon_and_one_step_and_the_time_of_braking(seed):
    rng = np.random.default_rng(seed)
    waypoints = rng.uniform(PANDA.lower, PANDA.upper, (4, 7))
    made = schedule(PANDA, STAMP, waypoints, DT, at_rest(PANDA.home), STAMP)
    longest = (PANDA.velocity / (0.95 * PANDA.acceleration)).max() + 2 * 0.015
    assert made is not None
    assert made.times[-1] <= 5 * DT + longest


def test_waypoints_beyond_the_limits_end_at_the_limits():
    position = PANDA.upper - 0.02
    waypoints = position + 0.02 * np.arange(1, 5)[:, None]
    made = schedule(PANDA, STAMP, waypoints, DT, at_rest(position), STAMP)
    assert made is not None
    assert_valid(made, PANDA, position_tolerance=1e-4)
    np.testing.assert_allclose(ends_at_rest_where(made), PANDA.upper, atol=1e-6)


def test_a_start_outside_the_position_limits_is_brought_back():
    outside = PANDA.upper + 0.03
    made = schedule(PANDA, STAMP, np.tile(outside, (4, 1)), DT, at_rest(outside), STAMP)
    assert made is not None
    assert (made.positions <= outside + 1e-9).all()
    np.testing.assert_allclose(ends_at_rest_where(made), PANDA.upper, atol=1e-6)


def test_a_start_that_is_too_fast_is_slowed_down():
    fast = Reference(PANDA.home, 1.2 * PANDA.velocity, 1.2 * PANDA.acceleration)
    made = schedule(PANDA, STAMP, np.tile(PANDA.home, (4, 1)), DT, fast, STAMP)
    assert made is not None
    speeds = np.abs(made.velocities) / PANDA.velocity
    assert speeds[0].max() == pytest.approx(1.2)
    assert speeds[len(speeds) // 2 :].max() <= 1.0
    ends_at_rest_where(made)


def test_towards_a_near_limit_the_arm_brakes_as_soon_as_it_can():
    rushing = Reference(PANDA.upper - 0.02, 0.9 * PANDA.velocity, STILL)
    waypoints = np.tile(PANDA.upper + 1.0, (4, 1))
    made = schedule(PANDA, STAMP, waypoints, DT, rushing, STAMP)
    stop = brake(PANDA, STAMP, rushing, STAMP)
    assert made is not None
    assert (made.positions.max(axis=0) <= stop.positions.max(axis=0) + 1e-3).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("field", ["position", "velocity", "acceleration", "waypoints"])
def test_numbers_that_are_not_finite_give_no_trajectory(bad, field):
    parts = {
        "position": PANDA.home.copy(),
        "velocity": STILL.copy(),
        "acceleration": STILL.copy(),
        "waypoints": np.tile(PANDA.home, (4, 1)),
    }
    parts[field].reshape(-1)[3] = bad
    waypoints = parts.pop("waypoints")
    assert schedule(PANDA, STAMP, waypoints, DT, Reference(**parts), STAMP) is None


@pytest.mark.parametrize("huge", [1e6, 1e12, 1e300])
@pytest.mark.parametrize("field", ["position", "velocity", "acceleration"])
def test_absurd_starts_raise_nothing(huge, field):
    parts = {"position": PANDA.home, "velocity": STILL, "acceleration": STILL}
    parts[field] = parts[field] + huge
    made = schedule(PANDA, STAMP, np.tile(PANDA.home, (4, 1)), DT, Reference(**parts), STAMP)
    assert made is None or (made.velocities[-1] == 0).all()


@settings(max_examples=100, deadline=None)
@given(seed=seeds, robot=st.sampled_from(sorted(PROFILES)))
def test_braking_ends_at_rest_within_the_limits_and_soon(seed, robot):
    profile, rng = PROFILES[robot], np.random.default_rng(seed)
    start = Reference(
        profile.home,
        rng.uniform(-1, 1, 7) * profile.velocity,
        rng.uniform(-0.5, 0.5, 7) * profile.acceleration,
    )
    made = brake(profile, STAMP, start, STAMP)
    loose = {"position_tolerance": 10.0, "velocity_factor": 1.2, "acceleration_factor": 1.15}
    assert_valid(made, profile, **loose)
    assert (made.positions[0] == start.position).all()
    assert made.times[-1] <= (profile.velocity / profile.acceleration).max() * 1.2 + 0.05


def test_braking_at_rest_holds():
    made = brake(PANDA, STAMP, at_rest(PANDA.home), STAMP + 10 * MS)
    np.testing.assert_array_equal(made.positions, np.tile(PANDA.home, (2, 1)))
    assert made.times[0] == pytest.approx(0.01)


@pytest.mark.parametrize("speed", [0.0, 1e-12, 1e-9, 2e-9, 1e-6])
@pytest.mark.parametrize("effort", [0.0, 1e-12, 2e-9, 1e-6, 1e-3])
def test_braking_from_almost_rest_gives_times_that_increase(speed, effort):
    start = Reference(PANDA.home, STILL + speed, STILL + effort)
    assert_valid(brake(PANDA, STAMP, start, STAMP), PANDA)


@pytest.mark.parametrize("bad", [np.nan, 1e300])
def test_braking_from_a_state_that_cannot_be_is_an_error(bad):
    with pytest.raises(MotionError, match="brake from"):
        brake(PANDA, STAMP, Reference(PANDA.home, STILL + bad, STILL), STAMP)


def test_hold_stays():
    made = hold(("a", "b"), STAMP, np.array([1.0, 2.0]), STAMP + 5 * MS, 0.5)
    np.testing.assert_allclose(made.times, [0.005, 0.505])
    np.testing.assert_array_equal(made.positions, [[1, 2], [1, 2]])
    assert not made.velocities.any()


def test_the_reference_is_the_state_of_the_cubic_and_rest_outside():
    moving = Reference(PANDA.home, 0.3 * PANDA.velocity, STILL)
    made = schedule(PANDA, STAMP, reach(DT * np.arange(1, 5), 0.5, 1.0), DT, moving, STAMP)
    assert made is not None
    step = 1e-4
    for t_ns in range(STAMP + 13 * MS, made.end_ns - 10 * MS, 17 * MS):
        here = reference_at(made, t_ns)
        ns = round(step * 1e9)
        (p0, v0), (p1, v1) = made.sample(t_ns - ns), made.sample(t_ns + ns)
        np.testing.assert_allclose(here.velocity, (p1 - p0) / (2 * step), atol=1e-4)
        np.testing.assert_allclose(here.acceleration, (v1 - v0) / (2 * step), atol=0.1)
    for t_ns in (STAMP - 1, made.end_ns, made.end_ns + MS):
        there = reference_at(made, t_ns)
        assert not there.velocity.any()
        assert not there.acceleration.any()


def test_the_accelerations_at_the_ends_of_segments_are_those_of_the_cubic():
    rng = np.random.default_rng(3)
    made = Trajectory(0, ("a",), np.array([0, 0.1, 0.3]), *rng.normal(size=(2, 3, 1)))
    first, last = segment_accelerations(made)
    dense = everywhere(made)[2].reshape(2, -1)
    np.testing.assert_allclose(first[:, 0], dense[:, 0])
    np.testing.assert_allclose(last[:, 0], dense[:, -1])


@settings(max_examples=100, deadline=None)
@given(seed=seeds, step=st.sampled_from([0.02, 0.1, 1.0]), count=st.integers(1, 6))
def test_what_need_not_be_computed_changes_nothing(seed, step, count):
    rng = np.random.default_rng(seed)
    start = Reference(
        rng.uniform(PANDA.lower, PANDA.upper),
        rng.uniform(-0.5, 0.5, 7) * PANDA.velocity,
        rng.uniform(-0.5, 0.5, 7) * PANDA.acceleration,
    )
    waypoints = start.position + np.cumsum(rng.normal(0, step, (count, 7)), axis=0)
    made = schedule(PANDA, STAMP, waypoints, DT, start, STAMP)
    with pytest.MonkeyPatch.context() as patch:
        # no choice is ruled out by one joint alone, and every way to stop is computed
        patch.setattr(RuckigPath, "_alone", lambda *_: 0.0)
        patch.setattr(RuckigPath, "_far", lambda *_: False)
        every = schedule(PANDA, STAMP, waypoints, DT, start, STAMP)
    assert made is not None
    assert every is not None
    np.testing.assert_array_equal(made.times, every.times)
    np.testing.assert_array_equal(made.positions, every.positions)
    np.testing.assert_array_equal(made.velocities, every.velocities)
