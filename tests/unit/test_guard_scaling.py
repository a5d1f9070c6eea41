# SPDX-License-Identifier: MIT
"""A plan that asks for too much is slowed down along its path, and the guard says by how much."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.interpolate import CubicHermiteSpline

from difftori_ros.guard.guard import GuardConfig
from difftori_ros.guard.plan_checks import PlanCheck, RefusedError
from difftori_ros.guard.retiming import retime_to_limits
from difftori_ros.motion.trajectory import split
from difftori_ros.types import GuardState, Level, Reason, Trajectory
from tests.support.guard_plans import (
    MS,
    NAMES,
    NOW,
    PANDA,
    accepted,
    joint_state,
    plan,
    ready,
    refused,
    two_points,
)
from tests.support.promises import assert_valid


def reaching(joint, reach, duration_s, stamp_ns=NOW) -> Trajectory:
    """One joint moves by `reach` from rest to rest, the others by fixed shares of it."""
    t = np.linspace(0.0, duration_s, 41)
    u = t / duration_s
    shares = np.full(8, 0.3)
    shares[joint], shares[7] = 1.0, 0.0
    path, speed = 10 * u**3 - 15 * u**4 + 6 * u**5, 30 * u**2 - 60 * u**3 + 30 * u**4
    home = np.append(PANDA.home, 0.04)
    velocities = speed[:, None] * shares * reach / duration_s
    velocities[-1] = 0.0
    return Trajectory(stamp_ns, NAMES, t, home + path[:, None] * shares * reach, velocities)


def on_the_path(command: Trajectory, joint: int) -> None:
    """All joints keep their ratio: wherever one is, the others are where the plan has them."""
    moved = command.positions - np.append(PANDA.home, 0.04)[: command.positions.shape[1]]
    for k in range(7):
        share = 1.0 if k == joint else 0.3
        np.testing.assert_allclose(moved[:, k], share * moved[:, joint], atol=1e-9)


def slowed(guard, made, now_ns=NOW, after=None):
    verdict = guard.check(made, now_ns)
    assert verdict.accepted
    assert verdict.reason is Reason.GUARD_ACTIVE
    assert verdict.changed is not None
    for k, channel in enumerate(verdict.channels):
        assert_valid(channel, PANDA, after=None if k else after, at_ns=now_ns)
    return verdict


def test_a_plan_that_is_too_fast_is_slowed_along_its_path_and_the_amount_is_told():
    guard = ready()
    made = reaching(6, 0.7, 0.4)
    verdict = slowed(guard, made)
    arm = verdict.channels[0]
    on_the_path(arm, 6)
    np.testing.assert_allclose(arm.positions[-1], made.positions[-1, :7], atol=1e-9)
    status = guard.status
    assert (status.state, status.reason) == (GuardState.TRACKING, Reason.GUARD_ACTIVE)
    assert (status.level, status.changed, status.accepted) == (Level.WARN, 1, 1)
    assert 0.0 < status.slowdown < 1.0
    assert "slowed to" in status.detail
    assert "panda_joint7 comes to" in status.detail


@pytest.mark.parametrize(("joint", "reach", "word"), [(1, 0.2, "joint2"), (2, 0.25, "joint3")])
def test_a_plan_that_accelerates_too_hard_is_slowed(joint, reach, word):
    verdict = slowed(ready(), reaching(joint, reach, 0.3))
    assert word in verdict.detail


def test_a_plan_that_jerks_is_slowed():
    config = GuardConfig(jerk_factor=1.0)
    profile = replace(PANDA, jerk=PANDA.jerk / 50)
    made = reaching(0, 0.05, 0.3)
    with pytest.raises(RefusedError, match="comes to") as caught:
        PlanCheck(profile, config).limits(made)
    assert caught.value.reason is Reason.JERK_LIMIT
    slowed(ready(profile), made)


def test_a_step_of_acceleration_between_two_segments_is_a_jerk():
    made = two_points(
        times=np.array([0.0, 0.1, 0.2]),
        positions=np.tile(np.append(PANDA.home, 0.04), (3, 1)),
        velocities=np.zeros((3, 8)),
    )
    made.velocities[1, 0] = 0.02
    profile = replace(PANDA, jerk=np.full(7, 10.0))
    with pytest.raises(RefusedError) as caught:
        PlanCheck(profile, GuardConfig()).limits(made)
    assert caught.value.reason is Reason.JERK_LIMIT


def test_a_gripper_that_is_too_fast_slows_the_arm_with_it():
    made = reaching(0, 0.1, 0.25)
    made.positions[:, 7] -= 0.4 * (made.positions[:, 0] - PANDA.home[0])
    made.velocities[:, 7] = -0.4 * made.velocities[:, 0]
    arm, gripper = slowed(ready(), made).channels
    share = (gripper.positions[:, 0] - 0.04) / (arm.positions[:, 0] - PANDA.home[0] + 1e-12)
    np.testing.assert_allclose(share[1:], -0.4, atol=1e-6)


def test_a_plan_that_would_be_too_fast_at_a_tenth_of_its_speed_is_refused():
    refused(ready(), reaching(6, 1.5, 0.03), Reason.VELOCITY_LIMIT, "panda_joint7 comes to")


def test_in_motion_the_plan_is_slowed_from_the_join_on():
    guard, before = ready(), split(reaching(6, 0.6, 0.6), PANDA.arm_joints)
    accepted(guard, before)
    begin = 0.15
    at = NOW + round(begin * 1e9)
    guard.joints(joint_state(at, *before.sample(at)), 100.15)
    # the rest of the same path, faster and faster
    t = np.linspace(0.0, 0.3, 31)
    s = t + (0.45 - 0.3) / 0.3**2 * t**2
    path = CubicHermiteSpline(before.times, before.positions, before.velocities)
    rates = 1 + 2 * (0.45 - 0.3) / 0.3**2 * t
    speeds = path(begin + s, 1) * rates[:, None]
    speeds[-1] = 0.0
    made = Trajectory(at, PANDA.arm_joints, t, path(begin + s), speeds)
    verdict = slowed(guard, made, at, after=before)
    on_the_path(verdict.channels[0], 6)


def test_what_lies_before_the_join_stays_as_it_was():
    made = reaching(6, 0.7, 0.4)
    limits = PlanCheck(PANDA, GuardConfig()).limits
    late = retime_to_limits(made, NOW + 20 * MS, limits).plan
    kept = made.times < 0.02 - 1e-6
    np.testing.assert_array_equal(late.positions[: kept.sum()], made.positions[kept])


def test_a_plan_that_leaves_the_position_limits_is_stopped_before_them_on_its_path():
    guard = ready()
    near = PANDA.home.copy()
    near[1] = PANDA.upper[1] - 0.1
    guard.joints(joint_state(position=near), 100.0)
    made = reaching(1, 0.2, 1.0)
    shift = np.append(near - PANDA.home, 0.0)
    made = replace(made, positions=made.positions + shift)
    verdict = slowed(guard, made)
    assert "stopped after" in verdict.detail
    assert "panda_joint2 comes to" in verdict.detail
    assert verdict.channels[0].positions[:, 1].max() <= PANDA.upper[1] + 0.01


def test_a_plan_that_starts_outside_the_limits_is_refused():
    positions = two_points().positions.copy()
    positions[:, 1] = PANDA.upper[1] + 0.05
    guard = ready()
    guard.joints(joint_state(position=positions[0, :7]), 100.0)
    refused(guard, two_points(positions=positions), Reason.POSITION_LIMIT, "panda_joint2 comes")


def test_plans_that_are_slowed_by_much_for_long_are_a_fault():
    guard = ready(max_slowdown=0.3, slowdown_timeout_s=0.25)
    made = reaching(6, 0.9, 0.25)
    first = slowed(guard, made).channels[0]
    guard.heartbeat(100.2)
    slowed(guard, made, after=first)  # again: the time counts from the first
    at = NOW + 20 * MS
    assert guard.tick(at, 100.24) is None
    guard.heartbeat(100.3)
    guard.joints(joint_state(at), 100.3)
    assert guard.tick(at, 100.3) is not None
    assert (guard.status.state, guard.status.reason) == (GuardState.BRAKE, Reason.GUARD_ACTIVE)
    assert "by more than 30% for 0.30 s" in guard.status.detail


def test_a_plan_within_the_limits_ends_the_count_of_slow_ones():
    guard = ready(max_slowdown=0.0, slowdown_timeout_s=0.1)
    slowed(guard, reaching(6, 0.7, 0.4))
    accepted(guard, two_points())
    guard.heartbeat(100.3)
    guard.joints(joint_state(), 100.3)
    assert guard.tick(NOW, 100.3) is None


def test_a_soft_start_slows_the_first_plans_and_then_no_more():
    guard = ready(soft_start_s=1.0)
    made = plan(step=0.03)
    first = slowed(guard, made)
    assert "started softly, at 20% of the speed" in first.detail
    assert first.changed.times[-1] > 2 * made.times[-1]
    guard.reset(NOW)
    guard.joints(joint_state(), 100.0)
    guard.heartbeat(100.0)
    guard.check(made, NOW)
    guard.heartbeat(100.9)
    guard.joints(joint_state(first.changed.end_ns, PANDA.home), 101.1)
    guard.heartbeat(101.1)
    late = plan(first.changed.end_ns)
    accepted(guard, late, first.changed.end_ns)


def test_slow_first_plans_are_no_fault():
    guard = ready(soft_start_s=5.0, max_slowdown=0.1, slowdown_timeout_s=0.1, coast_after_s=5.0)
    slowed(guard, plan(step=0.03))
    guard.heartbeat(100.3)
    guard.joints(joint_state(NOW + 10 * MS), 100.3)
    assert guard.tick(NOW + 10 * MS, 100.3) is None


def test_a_plan_too_short_to_change_is_refused():
    made = two_points(times=np.array([0.0, 0.01]))
    made.positions[1, 0] += 0.2
    refused(ready(), made, Reason.VELOCITY_LIMIT, "panda_joint1 comes to")


def test_a_soft_start_leaves_a_plan_alone_that_cannot_be_slowed():
    guard = ready(soft_start_s=1.0)
    assert guard.check(two_points(times=np.array([0.0, 0.01])), NOW).changed is None
    assert guard.status.reason is Reason.OK


def test_a_soft_start_never_makes_a_plan_worse():
    def only_as_it_came(plan):
        if plan is not made:
            raise RefusedError(Reason.JERK_LIMIT, "")

    made = reaching(6, 0.1, 0.4)
    assert retime_to_limits(made, NOW, only_as_it_came, rate=0.5).plan is made


def test_a_plan_that_cannot_stop_in_time_is_refused():
    def never(plan):
        raise RefusedError(Reason.WORKSPACE, "outside", 0.3)

    with pytest.raises(RefusedError, match="outside"):
        retime_to_limits(reaching(6, 0.1, 0.4), NOW, never)
