# SPDX-License-Identifier: MIT
"""Several clouds become one, without the arm, which is looked for where it was at their stamps."""

from dataclasses import replace

import numpy as np

from difftori_models.contract.specs import Observation
from difftori_ros.observation import Refusal
from difftori_ros.observation.point_cloud import process_cloud
from difftori_ros.observation.self_filter import SelfFilter
from difftori_ros.types import Cloud, Reason
from tests.support.observers import (
    BASE,
    BOX,
    CAMERA,
    KINEMATICS,
    MS,
    NOW,
    POSITION,
    PROFILE,
    cloud,
    fill,
    joints,
    observer,
    spec,
)

TWO = replace(BOX, clouds=("points", "points_wrist"))
ARM = PROFILE.arm_joints
MARGIN = 0.01


def merged(*clouds: Cloud) -> Cloud:
    xyz, rgb = np.vstack([c.xyz for c in clouds]), np.vstack([c.rgb for c in clouds])
    return Cloud(NOW, BASE, xyz, rgb)


def beside_the_tip(position) -> np.ndarray:
    """A finger's middle (3,), when the gripper is open."""
    rotations, origins = KINEMATICS.placements(np.array([position]), ["panda_hand"])
    return rotations[0, 0] @ np.array([0.0, 0.053, 0.085]) + origins[0, 0]


def test_clouds_of_two_cameras_are_merged_each_from_its_own_frame():
    one, other = cloud(seed=1), cloud(frame=CAMERA, seed=2)
    seen = fill(observer(spec(TWO)), points=one, points_wrist=other).observe(NOW)
    assert isinstance(seen, Observation)
    # the camera looks back at the base: half a turn, one metre ahead
    there = Cloud(NOW, BASE, np.array([1.0, 0.2, 0.3]) + other.xyz * [-1, -1, 1], other.rgb)
    there = replace(there, xyz=there.xyz.astype(np.float32))
    expected = process_cloud(merged(one, there), np.eye(4), BOX)
    np.testing.assert_allclose(np.sort(seen.points, axis=0), np.sort(expected, axis=0), atol=1e-5)
    assert set(seen.stamps_ns) >= {"points", "points_wrist"}


def test_cloud_that_is_missing_or_old_is_named():
    missing = fill(observer(spec(TWO)), without=("points_wrist",)).observe(NOW)
    assert isinstance(missing, Refusal)
    assert "'points_wrist' has not delivered" in missing.detail
    old = fill(observer(spec(TWO)), points_wrist=cloud(NOW - 300 * MS)).observe(NOW)
    assert isinstance(old, Refusal)
    assert old.reason is Reason.STALE
    assert "'points_wrist' is 0.300 s old, limit 0.200 s" in old.detail


def test_points_on_the_arm_are_dropped():
    wanted = replace(BOX, self_filter_m=MARGIN, count=64)
    around = beside_the_tip(PROFILE.home) + np.random.default_rng(0).normal(0, 0.003, (40, 3))
    free = cloud(count=64)
    both = merged(free, Cloud(NOW, BASE, around.astype(np.float32), np.ones((40, 3), np.float32)))
    home = joints(position=[*PROFILE.home, 0.04])
    seen = fill(observer(spec(wanted)), joint_states=home, points=both).observe(NOW)
    assert isinstance(seen, Observation)
    own = SelfFilter(PROFILE, MARGIN)
    told = dict(zip(home.names, home.position, strict=True))
    assert not own.outside(around.astype(np.float32), told).any()
    kept = own.outside(free.xyz, told)
    assert set(map(tuple, seen.points[:, :3])) == set(map(tuple, free.xyz[kept]))


def test_arm_is_looked_for_where_it_was_when_the_cloud_was_taken():
    wanted = replace(BOX, self_filter_m=MARGIN, count=64)
    begin, end = np.array(PROFILE.home), np.array(PROFILE.home)
    begin[0], end[0] = -0.4, 0.4
    middle = (begin + end) / 2
    around = beside_the_tip(middle) + np.random.default_rng(0).normal(0, 0.002, (40, 3))
    free = cloud(count=64)
    both = merged(free, Cloud(NOW, BASE, around.astype(np.float32), np.ones((40, 3), np.float32)))
    both = replace(both, stamp_ns=NOW - 20 * MS)
    seen = observer(spec(wanted))
    seen.streams.push("joint_states", joints(NOW - 40 * MS, position=[*begin, 0.04]), NOW)
    found = fill(seen, joint_states=joints(NOW, position=[*end, 0.04]), points=both).observe(NOW)
    assert isinstance(found, Observation)
    assert not set(map(tuple, found.points[:, :3])) & set(map(tuple, around.astype(np.float32)))
    np.testing.assert_array_equal(found.position[:7], end)


def test_tip_is_known_where_it_was_when_the_cloud_was_taken():
    begin, end = np.array(PROFILE.home), np.array(PROFILE.home)
    begin[0], end[0] = -0.4, 0.4
    seen = observer(spec(BOX))
    for k in range(200):  # at 1 kHz
        share = k / 199
        moved = [*(begin + share * (end - begin)), 0.04]
        seen.streams.push("joint_states", joints(NOW - (199 - k) * MS, position=moved), NOW)
    late = cloud(NOW - 150 * MS - MS // 2)
    found = fill(seen, without=("joint_states",), points=late).observe(NOW)
    assert isinstance(found, Observation)
    then = KINEMATICS.tip_pose(begin + (199 - 150.5) / 199 * (end - begin))
    np.testing.assert_allclose(found.poses["tip@points"], then, atol=1e-9)
    np.testing.assert_array_equal(found.poses["tip"], KINEMATICS.tip_pose(end))


def test_tip_is_the_same_bits_now_and_then_when_the_cloud_is_of_now():
    found = fill(observer(spec(BOX)), joint_states=joints(), points=cloud()).observe(NOW)
    assert isinstance(found, Observation)
    np.testing.assert_array_equal(found.poses["tip@points"], found.poses["tip"])


def test_joint_states_without_the_whole_arm_at_the_stamp_of_the_cloud_are_named():
    seen = observer(spec(BOX))
    whole = joints(NOW - 40 * MS)
    half = replace(whole, names=whole.names[:3], position=whole.position[:3])
    seen.streams.push("joint_states", half, NOW)
    found = fill(seen, joint_states=joints(), points=cloud(NOW - 20 * MS)).observe(NOW)
    assert isinstance(found, Refusal)
    assert found.reason is Reason.BAD_JOINT_STATE
    assert "at the stamp of 'points'" in found.detail


def test_cloud_prepared_ahead_gives_the_same_bits():
    wanted = replace(TWO, self_filter_m=MARGIN, count=16)
    clouds = {"points": cloud(seed=3), "points_wrist": cloud(frame=CAMERA, seed=4)}
    late = fill(observer(spec(wanted)), **clouds).observe(NOW)
    seen = observer(spec(wanted))
    fill(seen, without=("joint_states",), **clouds)
    seen.streams.push("joint_states", joints(NOW - 10 * MS), NOW)
    seen.prepare(NOW)  # too early: the arm may have moved until the stamp of the clouds
    seen.streams.push("joint_states", joints(NOW, position=POSITION), NOW)
    seen.prepare(NOW)
    early = seen.observe(NOW)
    assert isinstance(late, Observation)
    assert isinstance(early, Observation)
    np.testing.assert_array_equal(early.points, late.points)


def test_cameras_tell_their_period_and_delay():
    seen = observer(spec(BOX))
    for k in range(8):
        stamp_ns = NOW + k * 100 * MS
        seen.streams.push("points", cloud(stamp_ns, seed=k), stamp_ns + 30 * MS)
        seen.streams.push("joint_states", joints(stamp_ns), stamp_ns)
    told = seen.streams.report(NOW + 800 * MS)
    assert (told["period_points"], told["delay_points"]) == ("0.100", "0.030")
    assert "period_joint_states" not in told


def test_only_the_cloud_that_will_be_planned_from_is_prepared():
    seen, step_ms = observer(spec(BOX)), 33
    due_ns, prepared = NOW + 10 * step_ms * MS, []
    for k in range(11):
        stamp_ns = NOW + k * step_ms * MS
        seen.streams.push("points", cloud(stamp_ns, seed=k), stamp_ns)
        seen.streams.push("joint_states", joints(stamp_ns), stamp_ns)
        if k >= 5:  # the rhythm is known
            seen.prepare(stamp_ns, due_ns)
            newest = seen._clouds.newest
            prepared.append(newest.stamp_ns if newest else None)
    last = [NOW + k * step_ms * MS for k in (9, 10)]
    assert prepared == [None] * 4 + last
