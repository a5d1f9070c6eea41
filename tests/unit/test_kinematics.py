# SPDX-License-Identifier: MIT
"""Forward and inverse kinematics agree, keep the joint limits, and name what the URDF lacks."""

from dataclasses import replace

import numpy as np
import pinocchio as pin
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from difftori_ros.rigid import pose_to_matrix
from difftori_ros.robot.kinematics import Kinematics
from difftori_ros.robot.profile import ProfileError, load_profile

PROFILES = {name: load_profile(name) for name in ("panda", "xarm7")}
KINEMATICS = {name: Kinematics(profile) for name, profile in PROFILES.items()}
PANDA, ARM = PROFILES["panda"], KINEMATICS["panda"]

robots = st.sampled_from(sorted(PROFILES))
seeds = st.integers(0, 2**32 - 1)


def pose_error(got, wanted) -> tuple[float, float]:
    """Distance [m] and angle [rad] between two poses (7,)."""
    a, b = pose_to_matrix(got), pose_to_matrix(wanted)
    turn = a[:3, :3].T @ b[:3, :3]
    # the sine from the skew part, the cosine from the trace: exact for small angles
    skew = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
    angle = float(np.arctan2(np.linalg.norm(skew), np.trace(turn) - 1.0))
    return float(np.linalg.norm(a[:3, 3] - b[:3, 3])), angle


def test_tip_of_the_panda_at_zero_is_where_its_data_sheet_says():
    # d1 + d3 + d5 - flange - hand, and the elbow offsets a4, a7, along x and z
    tip = ARM.tip_pose(np.zeros(7))
    np.testing.assert_allclose(
        tip[:3], [0.088, 0.0, 0.333 + 0.316 + 0.384 - 0.107 - 0.1034], atol=1e-6
    )
    assert abs(tip[6]) < 1e-6, "the hand points straight down"


def test_first_joint_turns_the_tip_about_the_vertical_axis():
    position = PANDA.home.copy()
    before = ARM.tip_pose(position)
    position[0] += 0.5
    after = ARM.tip_pose(position)
    c, s = np.cos(0.5), np.sin(0.5)
    x, y, z = before[:3]
    np.testing.assert_allclose(after[:3], [c * x - s * y, s * x + c * y, z], atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(robot=robots, seed=seeds)
def test_pose_reached_from_nearby_joints_is_met(robot, seed):
    profile, arm = PROFILES[robot], KINEMATICS[robot]
    rng = np.random.default_rng(seed)
    middle, half = (profile.lower + profile.upper) / 2, (profile.upper - profile.lower) / 2
    true = middle + 0.9 * half * rng.uniform(-1.0, 1.0, 7)
    wanted = arm.tip_pose(true)
    result = arm.solve(wanted, true + rng.uniform(-0.1, 0.1, 7))
    assert result.converged
    distance, angle = pose_error(arm.tip_pose(result.position), wanted)
    assert distance < 1e-3
    assert angle < 1e-3
    assert (result.position >= profile.lower).all()
    assert (result.position <= profile.upper).all()


@settings(max_examples=40, deadline=None)
@given(robot=robots, seed=seeds)
def test_solution_keeps_the_joint_limits_wherever_the_pose_is(robot, seed):
    profile, arm = PROFILES[robot], KINEMATICS[robot]
    rng = np.random.default_rng(seed)
    quaternion = rng.normal(size=4)
    pose = np.append(rng.uniform(-1.5, 1.5, 3), quaternion / np.linalg.norm(quaternion))
    result = arm.solve(pose, rng.uniform(-4.0, 4.0, 7))
    assert (result.position >= profile.lower).all()
    assert (result.position <= profile.upper).all()
    distance, angle = pose_error(arm.tip_pose(result.position), pose)
    if result.converged:
        assert distance < 2e-3
        assert angle < 1e-3
    else:
        assert max(distance, angle) > 1e-4


def test_pose_out_of_reach_does_not_converge():
    pose = ARM.tip_pose(PANDA.home)
    pose[0] += 2.0
    result = ARM.solve(pose, PANDA.home)
    assert not result.converged
    assert result.error > 1.0


def test_pose_where_the_arm_stands_moves_no_joint():
    result = ARM.solve(ARM.tip_pose(PANDA.home), PANDA.home)
    assert result.error < 1e-9
    np.testing.assert_array_equal(result.position, PANDA.home)


@settings(max_examples=20, deadline=None)
@given(seed=seeds)
def test_same_question_has_the_same_bits_as_answer_whatever_was_asked_before(seed):
    rng = np.random.default_rng(seed)
    wanted = ARM.tip_pose(PANDA.home + rng.uniform(-0.3, 0.3, 7))
    first = ARM.solve(wanted, PANDA.home)
    ARM.solve(ARM.tip_pose(rng.uniform(PANDA.lower, PANDA.upper)), rng.uniform(-1, 1, 7))
    for arm in (ARM, Kinematics(PANDA)):
        again = arm.solve(wanted, PANDA.home)
        assert again.position.tobytes() == first.position.tobytes()
        assert again.error == first.error


def reordered(profile, order):
    """The profile with its joints named in another order."""
    arrays = ("lower", "upper", "velocity", "acceleration", "jerk", "home")
    names = tuple(profile.arm_joints[k] for k in order)
    changed = {name: getattr(profile, name)[list(order)] for name in arrays}
    return replace(profile, arm_joints=names, **changed)


def urdf_with(path, old: str, new: str):
    """The panda with a changed URDF."""
    text = PANDA.urdf.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return replace(PANDA, urdf=path)


def matches_pinocchio(profile, seed: int) -> None:
    """Pass when placements at several positions are those of the whole model, one at a time."""
    arm, rng = Kinematics(profile), np.random.default_rng(seed)
    model = pin.buildModelFromUrdf(str(profile.urdf))
    data, frames = model.createData(), [profile.base_frame, "panda_link4", profile.tip_frame]
    positions = rng.uniform(profile.lower, profile.upper, (6, 7))
    rotations, origins = arm.placements(positions, frames)
    given_points = rng.normal(size=(3, 3))
    traced = arm.trace(positions, arm.attach(frames, given_points))
    tips = arm.tip_positions(positions)
    for t, position in enumerate(positions):
        q = pin.neutral(model)
        for name, value in zip(profile.arm_joints, position, strict=True):
            q[model.joints[model.getJointId(name)].idx_q] = value
        pin.framesForwardKinematics(model, data, q)
        base, *_, tip = (data.oMf[model.getFrameId(name)].copy() for name in frames)
        np.testing.assert_allclose(tips[t], base.actInv(tip).translation, atol=1e-12)
        np.testing.assert_allclose(arm.tip_pose(position)[:3], tips[t], atol=1e-12)
        for f, name in enumerate(frames):
            placed = base.actInv(data.oMf[model.getFrameId(name)])
            np.testing.assert_allclose(rotations[t, f], placed.rotation, atol=1e-12)
            np.testing.assert_allclose(origins[t, f], placed.translation, atol=1e-12)
            np.testing.assert_allclose(traced[f, t], placed.act(given_points[f]), atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_many_positions_at_once_are_placed_as_pinocchio_places_each(seed):
    matches_pinocchio(PANDA, seed)


def test_joints_are_told_in_the_order_of_the_profile():
    order = (3, 0, 6, 2, 5, 1, 4)
    profile = reordered(PANDA, order)
    matches_pinocchio(profile, 0)
    wanted = ARM.tip_pose(PANDA.home + 0.1)
    here, there = ARM.solve(wanted, PANDA.home), Kinematics(profile).solve(wanted, profile.home)
    np.testing.assert_array_equal(there.position, here.position[list(order)])


def test_a_joint_that_slides_is_placed_too(tmp_path):
    profile = urdf_with(
        tmp_path / "slides.urdf",
        '<joint name="panda_joint2" type="revolute">',
        '<joint name="panda_joint2" type="prismatic">',
    )
    matches_pinocchio(profile, 0)


def test_a_joint_that_turns_without_end_is_refused_by_name(tmp_path):
    profile = urdf_with(
        tmp_path / "turns.urdf",
        '<joint name="panda_joint2" type="revolute">',
        '<joint name="panda_joint2" type="continuous">',
    )
    with pytest.raises(ProfileError, match="joint panda_joint2 of 'panda' turns without end"):
        Kinematics(profile)


def test_a_base_that_moves_with_the_arm_is_refused_by_name():
    with pytest.raises(ProfileError, match="'panda_link3' of 'panda' moves with joint panda_j"):
        Kinematics(replace(PANDA, base_frame="panda_link3"))


def test_along_a_path_every_solution_starts_from_the_last():
    pose = ARM.tip_pose(PANDA.home)
    path = pose[:3] + 0.02 * np.arange(1, 5)[:, None] * np.array([1.0, -0.5, 0.3])
    position = PANDA.home
    for xyz, found in zip(path, ARM.follow(path, pose[3:], PANDA.home), strict=True):
        alone = ARM.solve(np.concatenate([xyz, pose[3:]]), position)
        assert found.converged
        np.testing.assert_array_equal(found.position, alone.position)
        position = alone.position


def test_start_is_not_written_to():
    start = PANDA.home.copy()
    ARM.solve(ARM.tip_pose(PANDA.home + 0.1), start)
    np.testing.assert_array_equal(start, PANDA.home)


def test_joint_that_the_urdf_lacks_is_named_beside_those_it_has():
    wrong = replace(PANDA, arm_joints=(*PANDA.arm_joints[:6], "elbow"))
    with pytest.raises(ProfileError, match="no joint elbow; it has panda_joint1, panda_joint2"):
        Kinematics(wrong)


@pytest.mark.parametrize("which", ["base_frame", "tip_frame"])
def test_frame_that_the_urdf_lacks_is_named_beside_those_it_has(which):
    with pytest.raises(ProfileError, match=r"no frame 'flange'; it has .*panda_hand_tcp"):
        Kinematics(replace(PANDA, **{which: "flange"}))
