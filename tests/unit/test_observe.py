# SPDX-License-Identifier: MIT
"""Streams become an observation bound by name, or a reason that says why there is none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from difftori_models.contract.specs import Observation
from difftori_ros.observation import Observer, Refusal
from difftori_ros.observation.stream_buffer import Unread
from difftori_ros.observation.stream_set import MAX_AGE_S
from difftori_ros.rigid import pose_to_matrix
from difftori_ros.types import Cloud, JointState, Reason
from tests.support.observers import (
    BASE,
    BOX,
    CAMERA,
    CAMERA_POSE,
    GOAL,
    KINEMATICS,
    MS,
    NAMES,
    NOW,
    POSITION,
    VELOCITY,
    cloud,
    fill,
    joints,
    observer,
    pose,
    refused,
    seen_by,
    spec,
)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), extra=st.integers(0, 4))
def test_joints_in_any_order_and_among_others_give_the_same_bits(seed, extra):
    rng = np.random.default_rng(seed)
    names = [*NAMES, *(f"wheel_{k}" for k in range(extra))]
    position = np.append(POSITION, rng.normal(size=extra))
    velocity = np.append(VELOCITY, rng.normal(size=extra))
    order = rng.permutation(len(names))
    shuffled = seen_by(
        joint_states=joints(
            names=[names[k] for k in order], position=position[order], velocity=velocity[order]
        )
    )
    plain = seen_by()
    assert shuffled.joint_names == plain.joint_names == NAMES
    np.testing.assert_array_equal(plain.position, POSITION)
    np.testing.assert_array_equal(plain.velocity, VELOCITY)
    for ours, theirs in (
        (shuffled.position, plain.position),
        (shuffled.velocity, plain.velocity),
        *((shuffled.poses[name], plain.poses[name]) for name in ("tip", "goal", "object")),
    ):
        assert ours.tobytes() == theirs.tobytes()


def test_tip_pose_is_forward_kinematics_of_the_measured_arm():
    np.testing.assert_array_equal(seen_by().poses["tip"], KINEMATICS.tip_pose(POSITION[:7]))


@pytest.mark.parametrize("name", ["joint_states", "goal", "object", "points"])
def test_stream_that_never_delivered_is_named(name):
    refusal = refused(fill(observer(spec(BOX)), without=(name,)))
    assert refusal.reason is Reason.MISSING
    assert f"'{name}'" in refusal.detail


@pytest.mark.parametrize("name", ["joint_states", "goal", "object", "points"])
def test_stream_past_its_age_limit_is_named_with_age_and_limit(name):
    kind = name if name in MAX_AGE_S else "pose"
    late_ns = NOW - round(MAX_AGE_S[kind] * 1e9) - 7 * MS
    make = {"joint_states": joints, "points": cloud}.get(name, pose)
    refusal = refused(fill(observer(spec(BOX)), **{name: make(late_ns)}))
    assert refusal.reason is Reason.STALE
    age_s = MAX_AGE_S[kind] + 0.007
    assert refusal.detail == f"'{name}' is {age_s:.3f} s old, limit {MAX_AGE_S[kind]:.3f} s"


def test_stream_exactly_as_old_as_its_limit_is_still_used():
    seen = fill(observer(max_age_s={"goal": 0.25}), goal=pose(NOW - 250 * MS))
    assert isinstance(seen.observe(NOW), Observation)
    assert refused(seen, NOW + MS).reason is Reason.STALE


def test_age_limit_is_the_one_given_for_the_stream():
    seen = observer(max_age_s={"goal": 0.1})
    assert seen.streams.limit_s("goal") == 0.1
    assert seen.streams.limit_s("object") == MAX_AGE_S["pose"]
    assert refused(fill(seen, goal=pose(NOW - 101 * MS))).reason is Reason.STALE


def test_joint_that_is_not_measured_is_named_beside_those_that_are():
    refusal = refused(
        fill(
            observer(),
            joint_states=joints(names=NAMES[1:], position=POSITION[1:], velocity=VELOCITY[1:]),
        )
    )
    assert refusal.reason is Reason.BAD_JOINT_STATE
    assert f"no joint {NAMES[0]} in joint_states" in refusal.detail
    assert NAMES[-1] in refusal.detail


@pytest.mark.parametrize("name", ["goal", "points"])
def test_unknown_frame_is_named_beside_the_known_ones(name):
    sample = cloud(frame="somewhere") if name == "points" else pose(frame="somewhere")
    refusal = refused(fill(observer(spec(BOX)), **{name: sample}))
    assert refusal.reason is Reason.UNKNOWN_FRAME
    for frame in ("somewhere", BASE, CAMERA):
        assert frame in refusal.detail


def test_pose_in_another_known_frame_is_taken_to_the_base():
    found = seen_by(goal=pose(frame=CAMERA, xyz=(0.1, 0.3, -0.1)))
    # half a turn about z turns x and y round
    np.testing.assert_allclose(found.poses["goal"][:3], [0.9, -0.1, 0.2], atol=1e-12)
    np.testing.assert_allclose(found.poses["goal"][3:], [0.0, 0.0, 1.0, 0.0], atol=1e-12)


def test_pose_in_the_base_frame_keeps_every_bit_of_its_position():
    assert seen_by().poses["goal"][:3].tobytes() == GOAL[:3].tobytes()


def test_cloud_in_a_known_frame_is_the_same_cloud_in_the_base_frame():
    plain = fill(observer(spec(BOX))).observe(NOW)
    there = cloud()
    to_camera = np.linalg.inv(pose_to_matrix(CAMERA_POSE))
    xyz = there.xyz @ to_camera[:3, :3].T.astype(np.float32) + to_camera[:3, 3].astype(np.float32)
    moved = fill(
        observer(spec(BOX)), points=Cloud(NOW, CAMERA, xyz.astype(np.float32), there.rgb)
    ).observe(NOW)
    assert isinstance(plain, Observation)
    assert isinstance(moved, Observation)
    assert plain.points is not None
    assert moved.points is not None
    assert plain.points.shape == moved.points.shape == (16, 6)
    np.testing.assert_allclose(
        plain.points[np.lexsort(plain.points.T)],
        moved.points[np.lexsort(moved.points.T)],
        atol=1e-5,
    )


def test_cloud_with_too_few_points_in_the_box_is_a_refusal():
    refusal = refused(fill(observer(spec(BOX)), points=cloud(count=7)))
    assert refusal.reason is Reason.TOO_FEW_POINTS
    assert "got 7 of 7" in refusal.detail


def test_what_comes_after_the_asked_time_is_not_seen():
    seen = fill(observer())
    seen.streams.push("goal", pose(NOW + 10 * MS, xyz=(0.0, 0.0, 0.9)), NOW + 10 * MS)
    before, after = seen.observe(NOW), seen.observe(NOW + 10 * MS)
    assert isinstance(before, Observation)
    assert isinstance(after, Observation)
    assert before.poses["goal"][2] == GOAL[2]
    assert after.poses["goal"][2] == 0.9
    assert after.stamps_ns == {"joint_states": NOW, "goal": NOW + 10 * MS, "object": NOW}
    assert after.stamp_ns == NOW


def test_newest_common_stamp_is_there_only_when_all_streams_agree():
    seen = observer()
    assert seen.streams.newest_common_ns() is None
    fill(seen, without=("object",))
    assert seen.streams.newest_common_ns() is None
    seen.streams.push("object", pose(), NOW)
    assert seen.streams.newest_common_ns() == NOW
    seen.streams.push("joint_states", joints(NOW + MS), NOW + MS)
    assert seen.streams.newest_common_ns() is None
    for name in ("goal", "object"):
        seen.streams.push(name, pose(NOW + MS), NOW + MS)
    assert seen.streams.newest_common_ns() == NOW + MS


def test_ages_are_those_of_the_streams_that_have_delivered():
    seen = fill(observer(), without=("object",), goal=pose(NOW - 20 * MS))
    assert seen.streams.ages_s(NOW + 10 * MS) == pytest.approx(
        {"joint_states": 0.01, "goal": 0.03}
    )


def test_nothing_is_remembered_after_clear():
    seen = fill(observer())
    seen.streams.clear()
    assert refused(seen).reason is Reason.MISSING
    assert seen.streams.ages_s(NOW) == {}


def test_observation_does_not_change_with_the_message_it_came_from():
    state = joints()
    observation = seen_by(joint_states=state)
    state.position[:] = 0.0
    np.testing.assert_array_equal(observation.position, POSITION)


def test_stream_that_only_sends_rubbish_is_named_with_what_was_wrong():
    seen = fill(observer(), without=("goal",))
    seen.streams.dropped("goal", "quaternion norm is 0.0")
    assert "the last message was dropped: quaternion norm is 0.0" in refused(seen).detail
    seen.streams.push("goal", pose(), NOW)
    assert isinstance(seen.observe(NOW), Observation)


def test_stamps_ahead_of_the_clock_are_named_as_such():
    seen = fill(observer(), without=("goal",))
    seen.streams.push("goal", pose(NOW + 1000 * MS), NOW)
    assert "its stamp is 1.000 s ahead of the clock" in refused(seen).detail


def test_what_is_lacking_is_known_without_assembling():
    seen = fill(observer())
    assert seen.streams.missing(NOW) is None
    lacking = seen.streams.missing(NOW + 2000 * MS)
    assert lacking is not None
    assert lacking.reason is Reason.STALE


def arrive(seen: Observer, name: str, offset_s: float, count=10, period_s=0.1) -> int:
    """Samples with stamps `offset_s` behind the clock; returns the clock after the last."""
    now_ns = NOW
    make = {"joint_states": joints, "points": cloud}.get(name, pose)
    for _ in range(count):
        now_ns += round(period_s * 1e9)
        seen.streams.push(name, make(now_ns - round(offset_s * 1e9)), now_ns)
    return now_ns


@pytest.mark.parametrize(
    ("offset_s", "words"),
    [(4.0, "its stamps are 4.0 s behind this clock"), (-3.0, "3.0 s ahead of this clock")],
)
def test_stream_whose_stamps_are_all_far_off_is_named_with_rate_and_offset(offset_s, words):
    seen = observer(spec(BOX))
    now_ns = NOW + 1000 * MS
    for name in ("joint_states", "goal", "object"):
        make = joints if name == "joint_states" else pose
        seen.streams.push(name, make(now_ns), now_ns)
    now_ns = arrive(seen, "points", offset_s)
    detail = refused(seen, now_ns).detail
    assert "'points' arrives at 10 Hz but its stamps are" in detail
    assert words in detail
    assert words in seen.streams.report(now_ns)["offset_points"]


def test_stream_that_is_late_once_in_a_while_has_no_constant_offset():
    seen = fill(observer())
    for k in range(10):
        now_ns = NOW + (k + 1) * 100 * MS
        seen.streams.push("goal", pose(now_ns - (900 * MS if k % 2 else 0)), now_ns)
    assert "offset_goal" not in seen.streams.report(now_ns)


def test_same_cloud_with_new_stamps_makes_a_frozen_camera_after_as_many_as_allowed():
    seen = fill(observer(spec(BOX), frozen_frames=3))
    for k in (1, 2):
        assert seen.streams.frozen() is None
        seen.streams.push("points", cloud(NOW + k * MS), NOW + k * MS)
    frozen = seen.streams.frozen()
    assert frozen is not None
    assert frozen.reason is Reason.FROZEN
    assert frozen.detail == "'points' has sent 3 identical frames"
    assert seen.streams.report(NOW)["frozen_points"] == "3"
    assert isinstance(seen.observe(NOW + 2 * MS), Observation)
    seen.streams.push("points", cloud(NOW + 3 * MS, seed=1), NOW + 3 * MS)
    assert seen.streams.frozen() is None


def test_frozen_camera_gives_no_observation_when_that_is_a_fault():
    seen = fill(observer(spec(BOX), frozen_frames=2, frozen_is_fault=True))
    assert isinstance(seen.observe(NOW), Observation)
    seen.streams.push("points", cloud(NOW + MS), NOW + MS)
    assert refused(seen, NOW + MS).reason is Reason.FROZEN


def test_cloud_sent_again_with_its_stamp_is_a_duplicate_and_no_frozen_camera():
    seen = fill(observer(spec(BOX), frozen_frames=2))
    for _ in range(5):
        seen.streams.push("points", cloud(), NOW)
    assert seen.streams.frozen() is None
    assert seen.streams.report(NOW)["dropped_points_duplicate"] == "5"


def test_joints_at_rest_are_no_frozen_stream():
    seen = fill(observer(frozen_frames=2))
    for k in range(1, 50):
        seen.streams.push("joint_states", joints(NOW + k * MS), NOW + k * MS)
    assert seen.streams.frozen() is None


def test_drops_are_counted_by_cause_and_skew_is_the_spread_of_the_newest_stamps():
    seen = fill(observer(), goal=pose(NOW - 20 * MS))
    seen.streams.push("goal", pose(0), NOW)
    seen.streams.push("goal", pose(NOW + 1000 * MS), NOW)
    seen.streams.push("goal", pose(NOW - 20 * MS), NOW)
    seen.streams.dropped("goal", "quaternion norm is 0.0")
    for k in range(1, 5):
        seen.streams.push("object", pose(NOW + k * MS), NOW + k * MS)
    seen.streams.push("object", pose(NOW - 5 * MS), NOW + 5 * MS)
    report = seen.streams.report(NOW + 5 * MS)
    for cause in ("unstamped", "future", "duplicate", "unreadable"):
        assert report[f"dropped_goal_{cause}"] == "1"
    assert report["dropped_object_late"] == "1"
    assert report["skew_s"] == "0.024"
    assert report["age_goal"] == "0.025"


def test_age_limit_can_be_changed_between_two_observations():
    seen = fill(observer(), goal=pose(NOW - 100 * MS))
    assert isinstance(seen.observe(NOW), Observation)
    seen.streams.set_limit("goal", 0.05)
    assert refused(seen).reason is Reason.STALE


def unread(stamp_ns, sample=None) -> Unread:
    """Joint states that are decoded when they are needed; without a sample they cannot be."""

    def decode(raw: bytes) -> JointState:
        if sample is None:
            raise ValueError(f"rubbish at {stamp_ns - NOW}")
        return sample

    return Unread(stamp_ns, b"", decode)


def test_joints_that_are_decoded_late_give_the_same_observation():
    early, late = fill(observer()), fill(observer(), joint_states=unread(NOW, joints()))
    first, second = early.observe(NOW), late.observe(NOW)
    assert isinstance(first, Observation)
    assert isinstance(second, Observation)
    np.testing.assert_array_equal(first.position, second.position)
    assert early.streams.report(NOW) == late.streams.report(NOW)


def test_joints_that_cannot_be_decoded_are_named_once_they_are_needed_and_older_ones_used():
    seen = fill(observer(), joint_states=joints(NOW - 10 * MS))
    seen.streams.push("joint_states", unread(NOW), NOW)
    found = seen.observe(NOW)
    assert isinstance(found, Observation)
    assert seen.streams.report(NOW)["dropped_joint_states_unreadable"] == "1"
    late = NOW + 60 * MS
    assert refused(seen, late).detail.endswith("the last message was dropped: rubbish at 0")
    seen.streams.push("joint_states", unread(late, joints(late)), late)
    assert isinstance(seen.observe(late), Observation)
    assert "dropped" not in refused(seen, late + 60 * MS).detail


def test_stream_of_which_nothing_can_be_decoded_has_not_delivered():
    seen = fill(observer(), joint_states=unread(NOW))
    assert refused(seen) == Refusal(
        Reason.MISSING,
        "'joint_states' has not delivered yet; the last message was dropped: rubbish at 0",
    )
    assert seen.streams.silent() == ["joint_states"]


def test_the_first_stream_to_become_too_old_says_when():
    seen = fill(observer(), joint_states=joints(NOW - 10 * MS))
    assert seen.streams.stale_ns() == NOW - 10 * MS + round(MAX_AGE_S["joint_states"] * 1e9)
    seen.streams.push("joint_states", joints(NOW + 1000 * MS), NOW + 1000 * MS)
    assert seen.streams.stale_ns() == NOW + round(MAX_AGE_S["pose"] * 1e9)
    assert observer().streams.stale_ns() > NOW


@pytest.mark.parametrize(("wanted_ms", "expected_ms"), [(0, 3), (1, 13), (10, 13), (11, 23)])
def test_a_sample_is_expected_by_the_rhythm_of_its_stream(wanted_ms, expected_ms):
    seen = observer()
    for k in range(-9, 1):  # every 10 ms, and 3 ms late
        stamp_ns = NOW + 10 * k * MS
        seen.streams.push("joint_states", joints(stamp_ns), stamp_ns + 3 * MS)
    expected_ns = seen.streams.expected_ns("joint_states", NOW + wanted_ms * MS)
    assert expected_ns == pytest.approx(NOW + expected_ms * MS, abs=1000)


def test_without_a_rhythm_a_sample_is_expected_at_its_stamp():
    assert fill(observer()).streams.expected_ns("joint_states", NOW + MS) == NOW + MS
