# SPDX-License-Identifier: MIT
"""The pipeline's trajectories start where the arm is, join the one under way, and keep P1."""

from dataclasses import replace

import numpy as np
import pytest

from difftori_models.contract.specs import ActionSpec, Observation, PlanStatus
from difftori_ros.motion.trajectory import reference_at, split
from difftori_ros.policy.pipeline import PlanPipeline
from difftori_ros.robot.profile import ProfileError, load_profile
from difftori_ros.types import Reason
from tests.support.promises import assert_valid, state_at
from tests.support.scripted_pipeline import (
    ARM,
    HOME,
    KINDS,
    MS,
    PANDA,
    PERIOD_NS,
    STAMP,
    ScriptedPlanner,
    moves,
    on_the_way,
    planned,
    seen,
)


@pytest.fixture(params=KINDS)
def planner(request) -> ScriptedPlanner:
    return ScriptedPlanner(request.param)


@pytest.fixture
def pipeline(planner) -> PlanPipeline:
    return PlanPipeline(planner, PANDA, ARM)


def test_first_trajectory_starts_at_the_measured_joints(planner, pipeline):
    velocity = np.array([0.1, -0.1, 0.05, 0.0, 0.1, 0.0, -0.1, 0.0])
    observation = seen(velocity=velocity)
    trajectory = planned(pipeline, planner, observation)
    assert trajectory.stamp_ns == STAMP
    assert trajectory.joint_names == PANDA.joint_names
    assert trajectory.times[0] == 0.0
    np.testing.assert_array_equal(trajectory.positions[0], HOME)
    np.testing.assert_allclose(trajectory.velocities[0], velocity, atol=1e-9)
    assert_valid(trajectory, PANDA, measured=PANDA.home)


def test_trajectory_gets_to_the_last_waypoint_and_closes_the_gripper(planner, pipeline):
    planner.actions = moves(planner.card.action.kind, speed=0.3)
    motion = pipeline.plan(seen(), planner.clock)
    assert motion.trajectory is not None
    assert motion.waypoints is not None
    np.testing.assert_allclose(
        motion.trajectory.positions[-1, :7], motion.waypoints.arm[-1], atol=1e-2
    )
    assert motion.trajectory.positions[-1, 7] == pytest.approx(PANDA.gripper.closed)


def test_next_trajectory_joins_the_one_under_way_in_position_and_velocity(planner, pipeline):
    first = planned(pipeline, planner, seen())
    planner.actions = moves(planner.card.action.kind)
    next_ns = STAMP + PERIOD_NS
    second = planned(pipeline, planner, on_the_way(first, next_ns))
    assert_valid(second, PANDA, after=first, at_ns=next_ns)
    position, velocity = state_at(first, next_ns)
    assert np.abs(velocity[:7]).max() > 0.1, "the arm is in mid-motion"
    np.testing.assert_allclose(second.positions[0], position, atol=1e-6)
    np.testing.assert_allclose(second.velocities[0, :7], velocity[:7], atol=1e-6)


def test_tracking_error_does_not_make_the_command_jump(planner, pipeline):
    first = planned(pipeline, planner, seen())
    next_ns = STAMP + PERIOD_NS
    expected, _ = first.sample(next_ns)
    lagging = expected - np.append(np.full(7, 0.09), 0.0)
    second = planned(pipeline, planner, seen(next_ns, lagging))
    np.testing.assert_allclose(second.positions[0], expected, atol=1e-6)


def test_once_the_plan_has_ended_the_next_starts_where_the_arm_is_measured(planner, pipeline):
    first = planned(pipeline, planner, seen())
    next_ns = first.end_ns + MS
    away = first.sample(next_ns)[0].copy()
    away[3] += 0.11
    second = planned(pipeline, planner, seen(next_ns, away))
    np.testing.assert_array_equal(second.positions[0, :7], away[:7])
    np.testing.assert_array_equal(second.velocities[0, :7], 0.0)
    assert_valid(second, PANDA, measured=away[:7])


def test_with_a_lead_the_plan_first_goes_on_as_the_one_before_it(planner, pipeline):
    first = planned(pipeline, planner, seen())
    next_ns, lead_ns = STAMP + PERIOD_NS, 20 * MS
    planner.actions = moves(planner.card.action.kind, speed=-0.5)
    motion = pipeline.plan(on_the_way(first, next_ns), lambda: next_ns, None, lead_ns)
    second = motion.trajectory
    assert second is not None
    for t_ns in (next_ns, next_ns + 10 * MS, next_ns + lead_ns):
        np.testing.assert_allclose(
            second.sample(t_ns)[0][:7], first.sample(t_ns)[0][:7], atol=1e-6
        )
    # whenever it arrives within the lead, nothing jumps
    for t_ns in range(next_ns, next_ns + lead_ns, 4 * MS):
        np.testing.assert_allclose(
            second.sample(t_ns)[1][:7], first.sample(t_ns)[1][:7], atol=0.05
        )
    later_ns = next_ns + lead_ns + 60 * MS
    assert np.abs(second.sample(later_ns)[0] - first.sample(later_ns)[0]).max() > 1e-3


@pytest.mark.parametrize("how", ["forget", "reset"])
def test_nothing_is_joined_after_the_running_trajectory_is_dropped(planner, pipeline, how):
    first = planned(pipeline, planner, seen())
    getattr(pipeline, how)(*([7] if how == "reset" else []))
    next_ns = STAMP + PERIOD_NS
    beside = first.sample(next_ns)[0] + 0.05
    second = planned(pipeline, planner, seen(next_ns, np.append(beside[:7], 0.03)))
    np.testing.assert_array_equal(second.positions[0], [*beside[:7], 0.03])
    assert planner.seeds == ([7] if how == "reset" else [])


def test_trajectory_after_a_refused_one_joins_the_one_before_it(planner, pipeline):
    first = planned(pipeline, planner, seen())
    next_ns, third_ns = STAMP + PERIOD_NS // 2, STAMP + PERIOD_NS
    planner.actions = moves(planner.card.action.kind, speed=-0.5)
    refused = planned(pipeline, planner, on_the_way(first, next_ns))
    pipeline.refused(refused.stamp_ns)
    third = planned(pipeline, planner, on_the_way(first, third_ns))
    assert_valid(third, PANDA, after=first, at_ns=third_ns)
    np.testing.assert_allclose(third.positions[0], first.sample(third_ns)[0], atol=1e-6)
    assert np.abs(refused.sample(third_ns)[0] - first.sample(third_ns)[0]).max() > 1e-3


def test_refusal_of_a_trajectory_that_is_not_remembered_changes_nothing(planner, pipeline):
    first = planned(pipeline, planner, seen())
    next_ns, third_ns = STAMP + PERIOD_NS // 2, STAMP + PERIOD_NS
    second = planned(pipeline, planner, on_the_way(first, next_ns))
    pipeline.refused(12345)
    pipeline.refused(second.stamp_ns + 1)
    beside = second.sample(third_ns)[0] + 0.01
    third = planned(pipeline, planner, seen(third_ns, beside))
    np.testing.assert_allclose(third.positions[0], second.sample(third_ns)[0], atol=1e-6)


def test_next_trajectory_joins_what_the_guard_has_sent_in_place_of_the_last(planner, pipeline):
    first = planned(pipeline, planner, seen())
    slower = replace(first, times=first.times * 2.0, velocities=first.velocities / 2.0)
    pipeline.replaced(replace(slower, stamp_ns=12345))  # of another plan: it changes nothing
    pipeline.replaced(slower)
    next_ns = STAMP + PERIOD_NS
    second = planned(pipeline, planner, on_the_way(slower, next_ns))
    there, speed = slower.sample(next_ns)
    assert np.abs(there - first.sample(next_ns)[0]).max() > 1e-3
    np.testing.assert_allclose(second.positions[0], there, atol=1e-6)
    np.testing.assert_allclose(second.velocities[0, :7], speed[:7], atol=1e-6)


def test_pipeline_with_another_planner_joins_what_the_first_has_sent(planner, pipeline):
    first = planned(pipeline, planner, seen())
    other = ScriptedPlanner(planner.card.action.kind)
    following = pipeline.with_planner(other)
    next_ns = STAMP + PERIOD_NS
    second = planned(following, other, on_the_way(first, next_ns))
    np.testing.assert_allclose(second.positions[0], first.sample(next_ns)[0], atol=1e-6)
    # what the new one sends is unknown to the old one
    third_ns = next_ns + PERIOD_NS // 2
    third = planned(pipeline, planner, on_the_way(first, third_ns))
    np.testing.assert_allclose(third.positions[0], first.sample(third_ns)[0], atol=1e-6)


def test_network_without_a_plan_sends_nothing_and_says_so(planner, pipeline):
    first = planned(pipeline, planner, seen())
    planner.status = PlanStatus.FAILED
    next_ns = STAMP + PERIOD_NS
    motion = pipeline.plan(on_the_way(first, next_ns), planner.clock)
    assert motion.trajectory is None
    assert motion.waypoints is None
    assert motion.reason is Reason.NO_PLAN
    # the arm still follows the first trajectory: the next good plan joins that one
    planner.status = PlanStatus.BASE
    third_ns = next_ns + 50 * MS
    third = planned(pipeline, planner, on_the_way(first, third_ns))
    np.testing.assert_allclose(third.positions[0], state_at(first, third_ns)[0], atol=1e-6)


def test_actions_that_are_not_finite_move_nothing(planner, pipeline):
    planner.actions = np.full_like(planner.actions, np.nan)
    motion = pipeline.plan(seen(), planner.clock)
    assert motion.reason in (Reason.NO_PLAN, Reason.IK_FAILED)
    if motion.trajectory is not None:
        assert_valid(motion.trajectory, PANDA, measured=PANDA.home)
        assert np.ptp(motion.trajectory.positions, axis=0).max() < 1e-9


def test_late_plan_starts_when_it_is_there_and_still_joins(planner, pipeline):
    first = planned(pipeline, planner, seen())
    planner.late_ns = 60 * MS
    next_ns = STAMP + PERIOD_NS
    late = planned(pipeline, planner, on_the_way(first, next_ns))
    assert late.stamp_ns == next_ns
    assert late.times[0] == pytest.approx(0.06)
    assert_valid(late, PANDA, after=first, at_ns=next_ns + planner.late_ns)
    position, velocity = state_at(first, next_ns + planner.late_ns)
    np.testing.assert_allclose(late.positions[0], position, atol=1e-6)
    np.testing.assert_allclose(late.velocities[0, :7], velocity[:7], atol=1e-6)


def test_what_was_due_before_a_late_plan_is_dropped():
    # three waypoints lead one way, the last the other way: when it alone is left, only it is met
    planner = ScriptedPlanner("joint_position")
    pipeline = PlanPipeline(planner, PANDA, ARM)
    planner.actions[:, 0] = PANDA.home[0] + np.array([-0.05, -0.05, -0.05, 0.05])
    in_time = planned(pipeline, planner, seen())
    assert in_time.positions[:, 0].min() < PANDA.home[0] - 1e-3
    planner.late_ns = 160 * MS
    pipeline.forget()
    late = planned(pipeline, planner, seen())
    assert late.positions[:, 0].min() >= PANDA.home[0] - 1e-9
    assert late.positions[:, 0].max() > PANDA.home[0] + 1e-3


def test_plan_that_comes_after_all_its_actions_lets_the_arm_brake():
    planner = ScriptedPlanner("joint_delta", late_ns=400 * MS)
    pipeline = PlanPipeline(planner, PANDA, ARM)
    trajectory = planned(pipeline, planner, seen())
    np.testing.assert_allclose(
        trajectory.positions[:, :7], np.tile(PANDA.home, (len(trajectory.times), 1))
    )
    assert trajectory.times[0] == pytest.approx(0.4)


def test_plan_joins_a_trajectory_that_has_ended_at_rest(planner, pipeline):
    first = planned(pipeline, planner, seen())
    later_ns = first.end_ns + 200 * MS
    second = planned(pipeline, planner, on_the_way(first, later_ns))
    np.testing.assert_allclose(second.positions[0], first.positions[-1], atol=1e-9)
    np.testing.assert_allclose(second.velocities[0, :7], 0.0, atol=1e-9)
    assert_valid(second, PANDA)


def test_every_trajectory_of_a_long_run_keeps_the_promises(planner, pipeline):
    rng = np.random.default_rng(0)
    kind = planner.card.action.kind
    running = planned(pipeline, planner, seen())
    for turn in range(1, 15):
        stamp_ns = STAMP + turn * PERIOD_NS
        planner.late_ns = int(rng.integers(0, 60)) * MS
        observation = on_the_way(running, stamp_ns)
        if kind == "joint_position":
            spread = rng.uniform(-0.05, 0.05, (4, 7))
            planner.actions = np.hstack([observation.position[:7] + spread, np.ones((4, 1))])
        else:
            planner.actions = moves(kind) * rng.choice([-1.0, 1.0], size=(4, 1))
        following = planned(pipeline, planner, observation)
        at_ns = stamp_ns + planner.late_ns
        assert_valid(following, PANDA, after=running, at_ns=at_ns)
        before = reference_at(split(running, PANDA.arm_joints), at_ns)
        np.testing.assert_allclose(following.positions[0, :7], before.position, atol=1e-6)
        running = following


def test_unreachable_rest_of_a_plan_is_reported_and_the_rest_is_driven():
    planner = ScriptedPlanner("ee_delta_pos")
    planner.actions = np.tile([0.2, 0.0, 0.0, 1.0], (4, 1))
    motion = PlanPipeline(planner, PANDA, ARM).plan(seen(), planner.clock)
    assert motion.reason is Reason.IK_FAILED
    assert motion.trajectory is not None
    assert_valid(motion.trajectory, PANDA, measured=PANDA.home)


def test_plan_without_one_reachable_waypoint_lets_the_arm_stay():
    planner = ScriptedPlanner("ee_delta_pos")
    planner.actions = np.tile([5.0, 0.0, 0.0, 1.0], (4, 1))
    motion = PlanPipeline(planner, PANDA, ARM).plan(seen(), planner.clock)
    assert motion.reason is Reason.IK_FAILED
    assert motion.trajectory is not None
    np.testing.assert_allclose(motion.trajectory.positions[-1, :7], PANDA.home, atol=1e-9)


def test_robot_without_a_gripper_gets_arm_joints_alone():
    planner = ScriptedPlanner("joint_delta")
    spec = replace(planner.card.action, names=PANDA.arm_joints, **_seven(planner.card.action))
    observed = replace(planner.card.observation, joint_names=PANDA.arm_joints)
    planner.card = replace(planner.card, action=spec, observation=observed)
    planner.actions = planner.actions[:, :7]
    profile = replace(PANDA, gripper=None)
    observation = Observation(
        STAMP, PANDA.arm_joints, PANDA.home, np.zeros(7), {"tip": ARM.tip_pose(PANDA.home)}
    )
    trajectory = planned(PlanPipeline(planner, profile, ARM), planner, observation)
    assert trajectory.joint_names == PANDA.arm_joints
    assert_valid(trajectory, profile)


def _seven(spec: ActionSpec) -> dict:
    return {name: getattr(spec, name)[:7] for name in ("scale", "low", "high")}


def test_deadline_is_handed_to_the_planner(planner, pipeline):
    pipeline.plan(seen(), planner.clock, 0.05)
    pipeline.plan(seen(STAMP + PERIOD_NS), planner.clock)
    assert planner.deadlines == [0.05, None]


def test_actions_are_points_at_the_times_they_end(planner, pipeline):
    motion = pipeline.plan(seen(), planner.clock)
    points = motion.actions(planner.card.action)
    assert points.joint_names == planner.card.action.names
    assert points.stamp_ns == STAMP
    np.testing.assert_allclose(points.times, [0.05, 0.1, 0.15, 0.2])
    np.testing.assert_array_equal(points.positions, planner.actions)


def test_checkpoint_for_another_robot_is_refused():
    with pytest.raises(ProfileError, match="trained for another robot than 'xarm7'"):
        PlanPipeline(ScriptedPlanner(), load_profile("xarm7"), ARM)


def test_what_was_built_upon_a_refused_plan_is_forgotten_with_it(planner, pipeline):
    times = [STAMP + k * PERIOD_NS // 4 for k in range(4)]
    first = planned(pipeline, planner, seen())
    second = planned(pipeline, planner, on_the_way(first, times[1]))
    planned(pipeline, planner, on_the_way(second, times[2]))
    pipeline.refused(second.stamp_ns)
    trajectory = planned(pipeline, planner, seen(times[3], first.sample(times[3])[0] + 0.01))
    np.testing.assert_allclose(trajectory.positions[0], first.sample(times[3])[0], atol=1e-6)


def test_an_arm_that_is_elsewhere_is_not_taken_to_follow(planner, pipeline):
    first = planned(pipeline, planner, seen())
    next_ns = STAMP + PERIOD_NS
    moved = first.sample(next_ns)[0].copy()
    moved[2] += 0.3
    trajectory = planned(pipeline, planner, seen(next_ns, moved))
    np.testing.assert_allclose(trajectory.positions[0, :7], moved[:7], atol=1e-9)
