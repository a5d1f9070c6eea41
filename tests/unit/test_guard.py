# SPDX-License-Identifier: MIT
"""The guard passes on valid plans only, says why not, and brakes when nobody is in control."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from difftori_ros.guard import Guard, GuardConfig, State
from difftori_ros.robot import load_profile
from difftori_ros.timing import Reference, gripper_ramp, hold, join, reference_at, schedule, split
from difftori_ros.types import JointState, Level, Reason, Trajectory
from tests.promises import assert_valid

PANDA, XARM = load_profile("panda"), load_profile("xarm7")
GRIPPER = PANDA.gripper
NOW = 5_000_000_000
MS = 1_000_000
DT = 0.05
STILL = np.zeros(7)
NAMES = PANDA.joint_names


def joint_state(
    stamp_ns=NOW, position=PANDA.home, velocity=STILL, names=PANDA.arm_joints
) -> JointState:
    return JointState(stamp_ns, names, np.array(position), np.array(velocity))


def ready(profile=PANDA, **config) -> Guard:
    """An active guard that knows where the arm is and that the policy lives."""
    guard = Guard(profile, GuardConfig(**config))
    guard.start()
    guard.joints(joint_state(names=profile.arm_joints, position=profile.home), 100.0)
    guard.heartbeat(100.0)
    return guard


def plan(
    stamp_ns=NOW, step=0.01, start=None, start_ns=None, gripper=True, horizon=4
) -> Trajectory:
    """A plan that moves every joint by `step` [rad] per action, and closes the gripper."""
    start = start or Reference(PANDA.home, STILL, STILL)
    start_ns = stamp_ns if start_ns is None else start_ns
    waypoints = start.position + step * np.arange(1, horizon + 1)[:, None]
    arm = schedule(PANDA, stamp_ns, waypoints, DT, start, start_ns)
    assert arm is not None
    if not gripper:
        return arm
    ramp = gripper_ramp(GRIPPER, stamp_ns, 0.04, np.zeros(horizon), DT, start_ns)
    return join(arm, ramp)


def two_points(**changes) -> Trajectory:
    """A plan that stays at home, with some of its arrays replaced."""
    still = hold(NAMES, NOW, np.append(PANDA.home, 0.04), NOW, 0.1)
    return replace(still, **changes)


def accepted(guard: Guard, made: Trajectory, now_ns=NOW, after=None):
    """Have a plan accepted; what comes out keeps P1."""
    verdict = guard.check(made, now_ns)
    assert verdict.accepted, verdict
    assert verdict.reason is Reason.OK
    for k, channel in enumerate(verdict.channels):
        assert_valid(channel, PANDA, after=None if k else after, at_ns=now_ns)
    return verdict


def refused(guard: Guard, made: Trajectory, reason: Reason, sentence: str, now_ns=NOW):
    """Have a plan refused, for this reason, with these words; nothing comes out."""
    before = guard.status
    verdict = guard.check(made, now_ns)
    assert not verdict.accepted
    assert verdict.reason is reason
    assert sentence in verdict.detail
    assert verdict.channels == ()
    assert guard.status.refused == before.refused + 1
    assert guard.status.accepted == before.accepted


# plans that pass


def test_a_valid_plan_is_passed_on_in_one_channel_for_the_arm_and_one_for_the_gripper():
    guard, made = ready(), plan()
    arm, gripper = accepted(guard, made).channels
    assert arm.joint_names == PANDA.arm_joints
    assert gripper.joint_names == ("panda_finger_joint1",)
    np.testing.assert_array_equal(arm.positions, made.positions[:, :7])
    np.testing.assert_array_equal(gripper.positions, made.positions[:, 7:])
    status = guard.status
    assert (status.state, status.reason, status.level) == (State.TRACKING, Reason.OK, Level.OK)
    assert (status.accepted, status.refused) == (1, 0)


def test_a_plan_may_leave_the_gripper_alone():
    (arm,) = accepted(ready(), plan(gripper=False)).channels
    assert arm.joint_names == PANDA.arm_joints


def test_an_arm_without_a_gripper_is_guarded_too():
    guard = ready(XARM)
    verdict = guard.check(hold(XARM.arm_joints, NOW, XARM.home, NOW), NOW)
    assert verdict.accepted
    assert len(verdict.channels) == 1


def test_joints_in_any_order_give_the_same_command():
    made = plan()
    shuffled = split(made, tuple(reversed(NAMES)))
    for one, other in zip(
        accepted(ready(), made).channels, accepted(ready(), shuffled).channels, strict=True
    ):
        assert one.joint_names == other.joint_names
        np.testing.assert_array_equal(one.positions, other.positions)
        np.testing.assert_array_equal(one.velocities, other.velocities)


def test_plan_after_plan_from_the_motion_under_way_is_accepted():
    guard, before, start = ready(), None, None
    for turn in range(10):
        now = NOW + turn * 100 * MS
        here = PANDA.home if before is None else split(before, PANDA.arm_joints).sample(now)[0]
        guard.joints(joint_state(now, here), 100.0 + turn * 0.1)
        guard.heartbeat(100.0 + turn * 0.1)
        if before is not None:
            start = reference_at(split(before, PANDA.arm_joints), now + 20 * MS)
        made = plan(now, start=start, start_ns=now + 20 * MS if before else now)
        accepted(guard, made, now + 22 * MS, after=before)
        assert guard.tick(now + 25 * MS, 100.0 + turn * 0.1) is None
        before = made
    assert guard.status.accepted == 10


def test_once_the_motion_has_ended_the_next_plan_starts_where_the_arm_is():
    guard, made = ready(), plan()
    accepted(guard, made)
    later = made.end_ns + 10 * MS
    sagged = made.positions[-1, :7] + 0.05
    guard.joints(joint_state(later, sagged), 101.0)
    accepted(guard, plan(later, start=Reference(sagged, STILL, STILL)), later)


# plans that do not


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (("a", *NAMES[1:]), "wanted panda_joint1 panda_joint2"),
        ((NAMES[0], NAMES[0], *NAMES[2:]), "got panda_joint1 panda_joint1"),
    ],
)
def test_a_plan_for_other_joints_is_refused(names, sentence):
    refused(ready(), two_points(joint_names=names), Reason.JOINT_MISMATCH, sentence)


def test_a_plan_that_lacks_joints_is_refused():
    few = split(two_points(), NAMES[:3])
    refused(ready(), few, Reason.JOINT_MISMATCH, "got panda_joint1 panda_joint2 panda_joint3")


@pytest.mark.parametrize("field", ["positions", "velocities"])
def test_a_plan_with_arrays_of_another_shape_is_refused(field):
    made = two_points(**{field: np.zeros((2, 3))})
    refused(ready(), made, Reason.JOINT_MISMATCH, "wanted 2 points of 8 joints, got (2, 3)")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("field", "sentence"),
    [("positions", "position of panda_joint3 is"), ("velocities", "velocity of panda_joint3 is")],
)
def test_a_number_that_is_not_finite_is_refused_by_its_joint(field, sentence, bad):
    values = getattr(two_points(), field).copy()
    values[1, 2] = bad
    refused(ready(), two_points(**{field: values}), Reason.NON_FINITE, sentence)


def test_times_that_are_not_finite_are_refused():
    made = two_points(times=np.array([0.0, np.nan]))
    refused(ready(), made, Reason.NON_FINITE, "times are [0.0, nan]")


@pytest.mark.parametrize(
    ("times", "sentence"),
    [
        ([0.0, 0.0], "0.000000 s is followed by 0.000000 s in point 1"),
        ([0.2, 0.1], "0.200000 s is followed by 0.100000 s in point 1"),
        ([-0.1, 0.1], "runs from -0.1 to 0.1 s, allowed are 0 to 10 s"),
        ([0.0, 11.0], "runs from 0 to 11 s, allowed are 0 to 10 s"),
        ([0.2, 0.3], "starts 0.200 s in the future"),
    ],
)
def test_times_that_make_no_sense_are_refused(times, sentence):
    refused(ready(), two_points(times=np.array(times)), Reason.BAD_TIMES, sentence)


def test_a_plan_of_one_point_is_refused():
    one = two_points(times=np.zeros(1), positions=np.zeros((1, 8)), velocities=np.zeros((1, 8)))
    refused(ready(), one, Reason.BAD_TIMES, "wanted at least two points, got 1")


def test_a_plan_that_has_ended_is_refused():
    refused(ready(), two_points(), Reason.BAD_TIMES, "ended 0.100 s ago", NOW + 200 * MS)


def test_a_plan_that_does_not_end_at_rest_is_refused():
    velocities = np.zeros((2, 8))
    velocities[1, 3] = -0.01
    made = two_points(velocities=velocities)
    refused(ready(), made, Reason.NOT_AT_REST, "panda_joint4 ends at -0.01 rad/s")


def test_a_plan_beyond_a_position_limit_is_refused_with_joint_value_and_limit():
    positions = two_points().positions.copy()
    positions[1, 1] = 1.8
    refused(
        ready(),
        two_points(positions=positions),
        Reason.POSITION_LIMIT,
        "panda_joint2 comes to 1.8, allowed are -1.752 to 1.752",
    )


def test_a_plan_that_leaves_the_position_limits_between_its_points_is_refused():
    top = np.append(PANDA.upper, 0.04)
    velocities = np.zeros((3, 8))
    velocities[0, 0], velocities[1, 0] = 1.9, -1.9
    made = Trajectory(NOW, NAMES, np.array([0.0, 0.3, 0.6]), np.tile(top, (3, 1)), velocities)
    refused(ready(), made, Reason.POSITION_LIMIT, "panda_joint1 comes to")


def test_a_plan_that_is_too_fast_at_a_point_is_refused():
    velocities = np.zeros((2, 8))
    velocities[0, 6] = -2.5
    refused(
        ready(),
        two_points(velocities=velocities),
        Reason.VELOCITY_LIMIT,
        "panda_joint7 comes to -2.5, allowed are -2.466 to 2.466",
    )


def test_a_plan_that_is_too_fast_between_its_points_is_refused():
    positions = two_points().positions.copy()
    positions[1, 0] += 0.5
    made = two_points(positions=positions, times=np.array([0.0, 0.3]))
    refused(ready(), made, Reason.VELOCITY_LIMIT, "panda_joint1 comes to 2.5, allowed")


def test_a_plan_that_accelerates_too_hard_is_refused():
    positions = two_points().positions.copy()
    positions[1, 1] += 0.02
    refused(
        ready(),
        two_points(positions=positions),
        Reason.ACCELERATION_LIMIT,
        "panda_joint2 comes to 12, allowed are -7.5 to 7.5",
    )


def test_a_gripper_beyond_its_stroke_is_refused():
    positions = two_points().positions.copy()
    positions[:, 7] = 0.05
    made = two_points(positions=positions)
    refused(ready(), made, Reason.POSITION_LIMIT, "panda_finger_joint1 comes to 0.05")


def test_a_gripper_that_is_too_fast_is_refused_but_may_accelerate_as_it_likes():
    positions = two_points().positions.copy()
    positions[1, 7] = 0.03
    accepted(ready(), two_points(positions=positions))
    positions[1, 7] = 0.0
    made = two_points(positions=positions)
    refused(ready(), made, Reason.VELOCITY_LIMIT, "panda_finger_joint1 comes to -0.6")


@pytest.mark.parametrize(
    ("age_ms", "sentence"),
    [(501, "made from inputs 0.501 s old, allowed are 0.5 s"), (-60, "inputs -0.060 s old")],
)
def test_a_plan_from_old_inputs_or_from_the_future_is_refused(age_ms, sentence):
    made = two_points(stamp_ns=NOW - age_ms * MS, times=np.array([0.0, 1.0]))
    refused(ready(), made, Reason.STALE_PLAN, sentence)


def test_without_joint_states_every_plan_is_refused():
    guard = Guard(PANDA, GuardConfig())
    guard.start()
    refused(guard, plan(), Reason.START_MISMATCH, "there are no joint states")


def test_with_old_joint_states_every_plan_is_refused():
    guard = ready()
    made = two_points(stamp_ns=NOW + 600 * MS)
    refused(guard, made, Reason.START_MISMATCH, "joint states are 0.600 s old", NOW + 600 * MS)


def test_a_plan_that_starts_away_from_the_measured_joints_is_refused():
    guard = ready()
    guard.joints(joint_state(position=PANDA.home + 0.2 * np.eye(7)[4]), 100.0)
    refused(
        guard,
        plan(),
        Reason.START_MISMATCH,
        "panda_joint5 at 0.0000 instead of 0.2000 rad, allowed are 0.15 rad",
    )


def test_a_plan_that_starts_moving_from_rest_is_refused():
    start = Reference(PANDA.home, np.full(7, 0.6), STILL)
    refused(
        ready(),
        plan(start=start),
        Reason.START_MISMATCH,
        "panda_joint1 at 0.6000 instead of 0.0000 rad/s, allowed are 0.5 rad/s",
    )


def test_a_plan_that_jumps_away_from_the_motion_under_way_is_refused():
    guard = ready()
    accepted(guard, plan())
    refused(
        guard,
        plan(start=Reference(PANDA.home + 0.03 * np.eye(7)[0], STILL, STILL)),
        Reason.DISCONTINUOUS,
        "panda_joint1 at 0.0300 instead of 0.0000 rad, allowed are 0.02 rad",
    )


def test_a_plan_that_kinks_away_from_the_motion_under_way_is_refused():
    guard = ready()
    accepted(guard, plan())
    made = plan(start=Reference(PANDA.home, np.full(7, 0.4), STILL))
    refused(
        guard, made, Reason.DISCONTINUOUS, "at 0.4000 instead of 0.0000 rad/s, allowed are 0.3"
    )


def test_a_refused_plan_does_not_stop_the_one_under_way():
    guard, made = ready(), plan()
    accepted(guard, made)
    refused(guard, two_points(times=np.zeros(2)), Reason.BAD_TIMES, "followed by")
    assert guard.tick(NOW + 50 * MS, 100.05) is None
    status = guard.status
    assert (status.state, status.level) == (State.TRACKING, Level.WARN)
    assert status.reason is Reason.BAD_TIMES
    again = reference_at(split(made, PANDA.arm_joints), NOW + 60 * MS)
    guard.joints(joint_state(NOW + 60 * MS, again.position), 100.06)
    accepted(guard, plan(NOW + 60 * MS, start=again), NOW + 60 * MS, after=made)
    assert guard.status.reason is Reason.OK


# the watchdog


def moving_guard(**config) -> tuple[Guard, Trajectory]:
    guard, made = ready(**config), plan(step=0.03)
    accepted(guard, made)
    assert guard.tick(NOW, 100.0) is None
    return guard, made


def assert_brakes(command: Trajectory | None, made: Trajectory, at_ns: int) -> Trajectory:
    """The command stops the arm at once, out of the motion under way."""
    assert command is not None
    assert command.joint_names == PANDA.arm_joints
    tight = (1e-9, 1e-9)
    arm = split(made, PANDA.arm_joints)
    assert_valid(command, PANDA, after=arm, at_ns=at_ns, continuity=tight)
    assert command.stamp_ns == at_ns
    assert command.end_ns - at_ns < 400 * MS
    return command


def test_a_silent_policy_in_motion_makes_the_arm_brake_and_latches_the_fault():
    guard, made = moving_guard()
    at = NOW + 120 * MS
    assert guard.tick(at, 100.5) is None
    command = assert_brakes(guard.tick(at, 100.51), made, at)
    status = guard.status
    assert (status.state, status.reason, status.level) == (
        State.BRAKE,
        Reason.POLICY_LOST,
        Level.ERROR,
    )
    assert "no sign of life for 0.51 s" in status.detail
    assert status.since_steady_s == 100.51
    refused(guard, plan(at), Reason.FAULT_LATCHED, "POLICY_LOST: no sign of life", at)
    assert guard.tick(command.end_ns - MS, 100.6) is None
    assert guard.status.state is State.BRAKE
    assert guard.tick(command.end_ns, 101.0) is None
    assert guard.status.state is State.FAULT
    assert guard.status.reason is Reason.POLICY_LOST
    guard.heartbeat(101.1)
    guard.joints(joint_state(command.end_ns), 101.1)
    assert guard.tick(command.end_ns + MS, 101.1) is None
    assert guard.status.state is State.FAULT
    refused(guard, plan(at), Reason.FAULT_LATCHED, "POLICY_LOST", command.end_ns)


def test_a_policy_that_falls_silent_while_the_arm_rests_is_a_fault_without_a_command():
    guard, made = moving_guard()
    assert guard.tick(made.end_ns + MS, 100.6) is None
    assert guard.status.state is State.FAULT
    assert guard.status.reason is Reason.POLICY_LOST


def test_a_policy_that_has_never_lived_is_no_fault():
    guard = Guard(PANDA, GuardConfig())
    guard.start()
    assert guard.tick(NOW, 1e6) is None
    assert guard.status.state is State.TRACKING
    assert guard.status.reason is Reason.WAITING


def test_a_plan_counts_as_the_first_sign_of_life():
    guard = Guard(PANDA, GuardConfig(joint_timeout_s=60.0))
    guard.start()
    guard.joints(joint_state(), 100.0)
    made = plan(step=0.03)
    accepted(guard, made)
    assert guard.tick(NOW, 100.0) is None
    assert guard.tick(NOW + 50 * MS, 100.4) is None
    assert_brakes(guard.tick(NOW + 100 * MS, 100.6), made, NOW + 100 * MS)


def test_silent_joint_states_in_motion_make_the_arm_brake():
    guard, made = moving_guard()
    guard.heartbeat(100.5)
    command = guard.tick(NOW + 100 * MS, 100.51)
    assert_brakes(command, made, NOW + 100 * MS)
    assert guard.status.reason is Reason.JOINT_STATES_LOST
    assert guard.status.detail == "no usable joint states for 0.51 s"


def test_silent_joint_states_at_rest_are_no_fault():
    guard = ready()
    guard.heartbeat(200.0)
    assert guard.tick(NOW, 200.0) is None
    assert guard.status.state is State.TRACKING


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        (joint_state(names=("x", *PANDA.arm_joints[1:])), "joint panda_joint1 is missing"),
        (joint_state(position=np.full(7, np.nan)), "not finite"),
        (joint_state(velocity=np.full(7, np.inf)), "not finite"),
        (joint_state(velocity=np.zeros(0)), "lack positions or velocities"),
    ],
)
def test_useless_joint_states_count_as_silence_and_are_named(state, sentence):
    guard, made = moving_guard()
    guard.heartbeat(100.5)
    guard.joints(state, 100.5)
    assert_brakes(guard.tick(NOW + 100 * MS, 100.51), made, NOW + 100 * MS)
    assert guard.status.reason is Reason.BAD_JOINT_STATE
    assert sentence in guard.status.detail


def test_one_bad_joint_state_between_good_ones_is_no_fault():
    guard, _ = moving_guard()
    guard.heartbeat(100.5)
    guard.joints(joint_state(position=np.full(7, np.nan)), 100.3)
    guard.joints(joint_state(NOW + 40 * MS), 100.4)
    assert guard.tick(NOW + 50 * MS, 100.6) is None


def test_extra_joints_in_other_order_are_understood():
    guard = Guard(PANDA, GuardConfig())
    guard.start()
    names = ("other", *reversed(PANDA.arm_joints))
    guard.joints(
        joint_state(position=[9.0, *reversed(PANDA.home)], velocity=np.zeros(8), names=names), 0
    )
    accepted(guard, plan())


def test_too_many_refusals_in_a_row_make_the_arm_brake():
    guard, made = moving_guard(max_refusals=3)
    bad = two_points(times=np.zeros(2))
    for _ in range(2):
        guard.check(bad, NOW)
    assert guard.tick(NOW + 40 * MS, 100.1) is None
    guard.check(bad, NOW)
    assert_brakes(guard.tick(NOW + 50 * MS, 100.1), made, NOW + 50 * MS)
    assert guard.status.reason is Reason.BAD_TIMES
    assert "3 plans in a row refused, last: 0.000000 s is followed" in guard.status.detail


def test_an_accepted_plan_ends_the_row_of_refusals():
    guard = ready(max_refusals=2)
    bad = two_points(times=np.zeros(2))
    guard.check(bad, NOW)
    accepted(guard, plan())
    guard.check(bad, NOW)
    assert guard.tick(NOW, 100.0) is None
    assert guard.status.state is State.TRACKING


# starting, stopping, resetting


def test_an_inactive_guard_passes_nothing_on():
    guard = Guard(PANDA, GuardConfig())
    guard.joints(joint_state(), 100.0)
    assert guard.status.state is State.INACTIVE
    refused(guard, plan(), Reason.STOPPED, "not active")
    assert guard.tick(NOW, 1e6) is None
    assert guard.status.reason is Reason.STOPPED


def test_stopping_in_motion_brakes_and_passes_nothing_on():
    guard, made = moving_guard()
    assert_brakes(guard.stop(NOW + 80 * MS), made, NOW + 80 * MS)
    assert guard.status.state is State.INACTIVE
    refused(guard, plan(), Reason.STOPPED, "not active")
    assert guard.stop(NOW + 90 * MS) is None


def test_stopping_at_rest_commands_nothing():
    assert ready().stop(NOW) is None


def test_after_stop_and_start_the_next_plan_starts_where_the_arm_is():
    guard, _ = moving_guard()
    guard.stop(NOW + 80 * MS)
    guard.start()
    far = PANDA.home + 0.1
    guard.joints(joint_state(NOW + 100 * MS, far), 100.1)
    made = plan(NOW + 100 * MS, start=Reference(far, STILL, STILL))
    accepted(guard, made, NOW + 100 * MS)


def test_a_fault_survives_stop_and_start_and_only_reset_clears_it():
    guard, _ = moving_guard()
    assert guard.tick(NOW + 100 * MS, 101.0) is not None
    assert guard.stop(NOW + 110 * MS) is None
    guard.start()
    assert guard.status.reason is Reason.POLICY_LOST
    guard.reset(NOW + 600 * MS)
    assert (guard.status.state, guard.status.reason) == (State.TRACKING, Reason.WAITING)
    assert guard.tick(NOW + 600 * MS, 102.0) is None
    guard.joints(joint_state(NOW + 600 * MS), 102.0)
    accepted(guard, plan(NOW + 600 * MS), NOW + 600 * MS)


def test_reset_does_not_start_an_inactive_guard():
    guard = Guard(PANDA, GuardConfig())
    guard.reset(NOW)
    assert guard.status.state is State.INACTIVE


def test_the_status_says_since_when():
    guard = ready()
    guard.tick(NOW, 103.0)
    guard.heartbeat(103.0)
    guard.check(two_points(times=np.zeros(2)), NOW)
    guard.heartbeat(104.0)
    guard.check(two_points(times=np.zeros(2)), NOW)
    assert guard.status.since_steady_s == 103.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_plan_age_s", 0.0),
        ("heartbeat_timeout_s", float("nan")),
        ("continuity_rad", float("inf")),
        ("velocity_factor", 0.9),
        ("max_refusals", 0),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"{name} must be finite and at least"):
        GuardConfig(**{name: value})


# whatever comes

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
