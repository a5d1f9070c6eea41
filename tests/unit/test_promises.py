# SPDX-License-Identifier: MIT
"""What the tests call a jump is one, and a jump is found."""

import numpy as np
import pytest

from difftori_ros.robot.profile import load_profile
from difftori_ros.types import JointState, Trajectory
from tests.support.promises import (
    Followed,
    assert_joins,
    assert_promises,
    assert_valid,
    longest_step,
    state_at,
)

PANDA = load_profile("panda")
GRIPPER = (PANDA.gripper.joint,)
MS = 1_000_000
NOW = 100_000 * MS
HOME = np.append(PANDA.home, PANDA.gripper.open)
FULL_SPEED = PANDA.velocity[0]


def moved(by, joint=0):
    """Home but for one joint of the arm, (7,) [rad]."""
    position = PANDA.home.copy()
    position[joint] += by
    return position


def glide(start_ns, begin, end, duration_s=0.3, names=PANDA.arm_joints, speed=0.0):
    """A cubic to rest at `end`, its first joint at `speed` at `start_ns`, which is its stamp."""
    velocities = np.zeros((2, len(names)))
    velocities[0, 0] = speed
    coarse = Trajectory(
        start_ns, names, np.array([0.0, duration_s]), np.array([begin, end]), velocities
    )
    times_ns = start_ns + np.round(np.linspace(0.0, duration_s, 21) * 1e9).astype(np.int64)
    positions, finer = coarse.samples(times_ns)
    finer[0] = velocities[0]
    return Trajectory(start_ns, names, (times_ns - start_ns) / 1e9, positions, finer)


def hold(start_ns, position, names=PANDA.arm_joints):
    return glide(start_ns, position, position, 0.01, names)


def sent(*commands):
    """What a controller follows that got commands, each at a time."""
    followed = Followed()
    for at_ns, command in commands:
        followed.add(command, at_ns)
    return followed


def at_rest(position, stamp_ns=NOW, velocity=0.0, gripper=PANDA.gripper.open):
    speeds = np.zeros(8)
    speeds[0] = velocity
    return JointState(stamp_ns, PANDA.joint_names, np.append(position, gripper), speeds)


def assert_jumps(*given, **named):
    with pytest.raises(AssertionError, match="jumps by"):
        assert_joins(*given, **named)


# a time that is not on the trajectory ------------------------------------------------------------


@pytest.mark.parametrize(("at_s", "end"), [(-20.0, 0), (-1e-9, 0), (0.3, -1), (3600.0, -1)])
def test_a_trajectory_is_held_before_its_first_and_after_its_last_point(at_s, end):
    plan = glide(NOW, moved(0.0), moved(0.1), speed=0.4)
    position, velocity = state_at(plan, NOW + round(at_s * 1e9))
    np.testing.assert_array_equal(position, plan.positions[end])
    np.testing.assert_array_equal(velocity, 0.0)


def test_on_a_trajectory_and_at_its_first_point_the_cubic_counts():
    plan = glide(NOW, moved(0.0), moved(0.1), speed=0.4)
    assert state_at(plan, NOW)[1][0] == pytest.approx(0.4)
    for late_ns in (0, 7 * MS, 151 * MS, 299 * MS):
        for mine, theirs in zip(
            state_at(plan, NOW + late_ns), plan.sample(NOW + late_ns), strict=True
        ):
            np.testing.assert_allclose(mine, theirs, atol=1e-12)


def test_a_plan_from_before_the_clock_jumped_back_is_not_compared_with_one_from_after_it():
    ahead = glide(NOW + 20_000 * MS, moved(0.5), moved(0.6), speed=0.4)
    plan = glide(NOW, moved(0.0), moved(0.1))
    times_ns = [ahead.stamp_ns + 5 * MS, NOW + 5 * MS]
    assert_promises([ahead, plan], times_ns, [], PANDA)
    away = [None, at_rest(moved(0.1))]
    with pytest.raises(AssertionError, match="jumps by"):
        assert_promises([ahead, plan], times_ns, [], PANDA, measured=away)


# a motion under way ------------------------------------------------------------------------------


def test_a_plan_that_goes_on_with_the_motion_under_way_joins_it():
    running = glide(NOW, moved(0.0), moved(0.2))
    position, velocity = state_at(running, NOW + 100 * MS)
    plan = glide(NOW + 100 * MS, position, moved(0.2), 0.2, speed=velocity[0])
    assert_joins(plan, NOW + 103 * MS, sent((NOW, running)), PANDA)


@pytest.mark.parametrize(("by", "speed"), [(0.03, 0.0), (0.0, 0.4)])
def test_a_jump_from_the_motion_under_way_is_found(by, speed):
    running = glide(NOW, moved(0.0), moved(0.2))
    position, velocity = state_at(running, NOW + 100 * MS)
    position[0] += by
    plan = glide(NOW + 100 * MS, position, moved(0.2), 0.2, speed=velocity[0] + speed)
    assert_jumps(plan, NOW + 100 * MS, sent((NOW, running)), PANDA)


def test_a_plan_is_judged_by_when_it_was_published_not_by_its_start():
    running = glide(NOW, moved(0.0), moved(0.2))
    position, velocity = state_at(running, NOW + 100 * MS)
    elsewhere = glide(NOW + 100 * MS, position, moved(-0.2), 0.3, speed=velocity[0])
    followed = sent((NOW, running))
    assert_joins(elsewhere, NOW + 105 * MS, followed, PANDA)
    assert_jumps(elsewhere, NOW + 250 * MS, followed, PANDA)


def test_the_guard_may_have_looked_at_the_clock_ten_milliseconds_before_but_not_thirty():
    running = glide(NOW, moved(0.0), moved(0.3))
    position, velocity = state_at(running, NOW + 100 * MS)
    brake = glide(NOW + 100 * MS, position, position, 0.05, speed=velocity[0])
    assert_joins(brake, NOW + 110 * MS, sent((NOW, running)), PANDA)
    assert_jumps(brake, NOW + 130 * MS, sent((NOW, running)), PANDA)


def test_a_plan_that_begins_later_is_judged_at_its_beginning():
    running = glide(NOW, moved(0.0), moved(0.2))
    position, velocity = state_at(running, NOW + 150 * MS)
    plan = glide(NOW + 150 * MS, position, moved(0.2), 0.2, speed=velocity[0])
    assert_joins(plan, NOW + 100 * MS, sent((NOW, running)), PANDA)


def test_a_command_that_has_not_begun_is_not_yet_followed():
    running = glide(NOW, moved(0.0), moved(0.2))
    later = glide(NOW + 150 * MS, moved(0.2), moved(0.2))
    position, velocity = state_at(running, NOW + 100 * MS)
    plan = glide(NOW + 100 * MS, position, moved(0.2), 0.2, speed=velocity[0])
    assert_joins(plan, NOW + 101 * MS, sent((NOW, running), (NOW + 50 * MS, later)), PANDA)


# from rest ---------------------------------------------------------------------------------------


def test_a_hold_that_had_ended_before_the_plan_went_out_is_no_motion_under_way():
    still = hold(NOW, moved(0.03))
    plan = glide(NOW + 5 * MS, moved(0.0), moved(0.1))
    followed = sent((NOW, still))
    assert_joins(plan, NOW + 25 * MS, followed, PANDA, at_rest(moved(0.0), NOW + 20 * MS))
    assert_jumps(plan, NOW + 25 * MS, followed, PANDA, at_rest(moved(0.03), NOW + 20 * MS))


@pytest.mark.parametrize("known", [True, False], ids=["measured", "not measured"])
def test_a_plan_from_rest_that_is_late_is_a_jump_of_an_arm_that_has_stayed(known):
    followed = sent((NOW - 500 * MS, hold(NOW - 500 * MS, moved(0.0))))
    plan = glide(NOW, moved(0.0), moved(0.3))
    for late_ns, jumps in ((5 * MS, False), (100 * MS, True)):
        measured = at_rest(moved(0.0), NOW + late_ns - 10 * MS) if known else None
        judge = assert_jumps if jumps else assert_joins
        judge(plan, NOW + late_ns, followed, PANDA, measured)


def test_a_plan_from_rest_may_begin_where_the_motion_before_has_ended_or_the_arm_was_measured():
    followed = sent((NOW - 500 * MS, glide(NOW - 500 * MS, moved(0.0), moved(0.1))))
    for begin, jumps in ((0.1, False), (0.15, False), (0.125, True), (0.2, True)):
        plan = glide(NOW, moved(begin), moved(begin + 0.1))
        judge = assert_jumps if jumps else assert_joins
        judge(plan, NOW, followed, PANDA, at_rest(moved(0.15)))


def test_what_was_sent_before_is_not_needed_where_the_arm_was_measured():
    plan = glide(NOW, moved(0.0), moved(0.1))
    assert_joins(plan, NOW, Followed(), PANDA, at_rest(moved(0.0)))
    assert_jumps(plan, NOW, Followed(), PANDA, at_rest(moved(0.05)))
    fast = glide(NOW, moved(0.0), moved(0.3), speed=1.0)
    assert_jumps(fast, NOW, Followed(), PANDA, at_rest(moved(0.0)))
    ten_ms_ago = at_rest(moved(-0.01), NOW - 10 * MS, velocity=1.0)
    assert_joins(fast, NOW, Followed(), PANDA, ten_ms_ago)


# the gripper -------------------------------------------------------------------------------------


def test_the_gripper_may_step_by_its_lag_and_a_tenth_of_its_stroke_and_not_by_all_of_it():
    closed, opened = [PANDA.gripper.closed], [PANDA.gripper.open]
    followed = sent((NOW - 500 * MS, hold(NOW - 500 * MS, opened, GRIPPER)))
    arm = PANDA.home
    assert_joins(hold(NOW, [0.022], GRIPPER), NOW, followed, PANDA, at_rest(arm))
    assert_jumps(hold(NOW, [0.020], GRIPPER), NOW, followed, PANDA, at_rest(arm))
    assert_jumps(hold(NOW, closed, GRIPPER), NOW, followed, PANDA, at_rest(arm))
    blocked = at_rest(arm, gripper=0.015)  # it has closed upon something
    assert_joins(hold(NOW, closed, GRIPPER), NOW, followed, PANDA, blocked)


def test_the_gripper_is_judged_against_what_is_under_way_where_it_was_not_measured():
    closing = glide(NOW, [0.04], [0.0], 0.4, GRIPPER)
    assert_joins(
        hold(NOW + 200 * MS, [0.02], GRIPPER), NOW + 200 * MS, sent((NOW, closing)), PANDA
    )
    assert_jumps(hold(NOW + 20 * MS, [0.01], GRIPPER), NOW + 20 * MS, sent((NOW, closing)), PANDA)


def test_a_step_of_the_gripper_breaks_the_promises():
    commands = [hold(NOW + k * 100 * MS, [at], GRIPPER) for k, at in enumerate((0.04, 0.0))]
    times_ns = [command.stamp_ns for command in commands]
    measured = [at_rest(PANDA.home, t_ns) for t_ns in times_ns]
    with pytest.raises(AssertionError, match="the gripper jumps"):
        assert_promises(commands, times_ns, [], PANDA, measured=measured)


# the rest of the judge ---------------------------------------------------------------------------


def test_a_command_far_from_the_measured_arm_breaks_the_promises():
    running = glide(NOW, moved(0.0), moved(0.1))
    away = [at_rest(moved(0.0)), at_rest(moved(0.4), NOW + 90 * MS)]
    position, velocity = state_at(running, NOW + 100 * MS)
    plan = glide(NOW + 100 * MS, position, moved(0.1), 0.3, speed=velocity[0])
    times_ns = [NOW, NOW + 100 * MS]
    assert_promises([running, plan], times_ns, [], PANDA)
    with pytest.raises(AssertionError, match="from where the arm is"):
        assert_promises([running, plan], times_ns, [], PANDA, measured=away)


def test_a_single_command_is_compared_with_the_one_that_it_replaces():
    running = glide(NOW, moved(0.0), moved(0.2))
    at_ns = NOW + 100 * MS
    position, velocity = state_at(running, at_ns)
    plan = glide(at_ns, position, moved(0.2), 0.2, speed=velocity[0])
    assert_valid(plan, PANDA, after=running, at_ns=at_ns)
    with pytest.raises(AssertionError, match="jumps by"):
        assert_valid(hold(at_ns, PANDA.home), PANDA, after=running, at_ns=at_ns)


# where the arm was -------------------------------------------------------------------------------


def walk(*steps, period_ns=10 * MS):
    """Samples of an arm whose first joint takes those steps, one a period."""
    ways = np.cumsum([0.0, *steps])
    return [at_rest(moved(way), NOW + k * period_ns) for k, way in enumerate(ways)]


def test_a_joint_that_gets_further_than_its_speed_allows_has_jumped():
    full = FULL_SPEED * 0.01
    assert longest_step(walk(full, full, -full), PANDA)[0] == 0.0
    step, when_ns = longest_step(walk(full, full + 0.06, full), PANDA)
    assert step == pytest.approx(0.06 - 0.05 * full)
    assert when_ns == NOW + 10 * MS


def test_a_step_while_a_command_was_long_on_its_way_is_not_the_guards():
    states = walk(0.0, 0.0, 0.08, 0.0, 0.08)
    on_its_way = (NOW + 2 * MS, NOW + 25 * MS)
    step, when_ns = longest_step(states, PANDA, [on_its_way])
    assert when_ns == NOW + 40 * MS, "the later one is still found"
    assert step == pytest.approx(0.08 - 1.05 * FULL_SPEED * 0.01)
    later = (NOW + 31 * MS, NOW + 44 * MS)
    assert longest_step(states, PANDA, [on_its_way, later])[0] == 0.0


def test_a_step_after_a_command_that_came_at_once_is_the_guards():
    step, when_ns = longest_step(walk(0.0, 0.0, 0.08), PANDA, [(NOW + 21 * MS, NOW + 26 * MS)])
    assert step > 0.05
    assert when_ns == NOW + 20 * MS
