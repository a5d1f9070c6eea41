# SPDX-License-Identifier: MIT
"""The tip stays in its box, and the arm out of itself."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from difftori_ros.guard.config import OFF_M
from difftori_ros.guard.guard import Guard, GuardConfig
from difftori_ros.guard.plan_checks import RefusedError
from difftori_ros.guard.workspace import Workspace
from difftori_ros.robot.kinematics import Kinematics
from difftori_ros.robot.profile import ProfileError
from difftori_ros.types import Reason, Trajectory
from tests.support.guard_plans import NAMES, NOW, PANDA, XARM, joint_state, ready
from tests.support.promises import assert_valid

TIP = Kinematics(PANDA).tip_pose(PANDA.home)[:3]
FOLDED = np.array([0.0, -1.5, 0.0, -3.0, 0.0, 0.3, 0.0])


def sweep(joint, reach, duration_s=1.0) -> Trajectory:
    u = np.linspace(0.0, 1.0, 41)
    path, speed = 3 * u**2 - 2 * u**3, 6 * u - 6 * u**2
    positions = np.tile(np.append(PANDA.home, 0.04), (41, 1))
    velocities = np.zeros_like(positions)
    positions[:, joint] += reach * path
    velocities[:, joint] = reach * speed / duration_s
    return Trajectory(NOW, NAMES, u * duration_s, positions, velocities)


def test_inside_the_box_a_plan_passes_as_it_is():
    box = {"workspace_lower": tuple(TIP - 0.3), "workspace_upper": tuple(TIP + 0.3)}
    verdict = ready(**box).check(sweep(0, 0.1), NOW)
    assert verdict.reason is Reason.OK


def test_a_plan_that_leaves_the_box_is_stopped_inside_it():
    high = TIP + 0.3
    high[1] = TIP[1] + 0.1
    guard = ready(workspace_lower=tuple(TIP - 0.5), workspace_upper=tuple(high))
    verdict = guard.check(sweep(0, 0.5), NOW)
    assert verdict.accepted
    assert verdict.reason is Reason.GUARD_ACTIVE
    assert "the tip comes to y =" in verdict.detail
    arm = verdict.channels[0]
    assert_valid(arm, PANDA)
    tips = [Kinematics(PANDA).tip_pose(q)[1] for q in arm.positions]
    assert 0.05 < max(tips) - TIP[1] <= 0.1 + 1e-6


def test_a_plan_that_starts_outside_the_box_is_refused():
    guard = ready(workspace_lower=tuple(TIP + 0.1), workspace_upper=(OFF_M, OFF_M, OFF_M))
    verdict = guard.check(sweep(0, 0.1), NOW)
    assert (verdict.accepted, verdict.reason) == (False, Reason.WORKSPACE)
    assert "the tip comes to x =" in verdict.detail


def test_an_arm_folded_into_itself_is_named_with_both_links():
    workspace = Workspace(PANDA, GuardConfig())
    reason, detail = workspace.complaint(FOLDED) or (None, "")
    assert reason is Reason.SELF_COLLISION
    assert "overlap by" in detail
    assert workspace.complaint(PANDA.home) is None


def test_poses_over_the_table_are_free():
    workspace, kinematics = Workspace(PANDA, GuardConfig()), Kinematics(PANDA)
    rng = np.random.default_rng(0)
    free = 0
    for _ in range(50):
        xyz = rng.uniform([0.35, -0.35, 0.02], [0.65, 0.35, 0.4])
        found = kinematics.solve(np.concatenate([xyz, [1.0, 0.0, 0.0, 0.0]]), PANDA.home)
        if found.converged:
            assert workspace.complaint(found.position) is None
            free += 1
    assert free > 30


def test_a_plan_into_the_arm_itself_is_stopped_before():
    begin = FOLDED.copy()
    begin[3] = -2.2
    guard = ready()
    guard.joints(joint_state(position=begin), 100.0)
    u = np.linspace(0.0, 1.0, 41)
    positions = np.tile(np.append(begin, 0.04), (41, 1))
    positions[:, 3] -= 0.8 * (3 * u**2 - 2 * u**3)
    velocities = np.zeros_like(positions)
    velocities[:, 3] = -0.8 * (6 * u - 6 * u**2) / 2
    verdict = guard.check(Trajectory(NOW, NAMES, 2 * u, positions, velocities), NOW)
    assert verdict.accepted
    assert "overlap by" in verdict.detail
    workspace = Workspace(PANDA, GuardConfig())
    assert all(workspace.complaint(q) is None for q in verdict.channels[0].positions)


def test_without_box_and_spheres_nothing_is_loaded_and_nothing_refused():
    assert XARM.spheres == {}
    workspace = Workspace(XARM, GuardConfig())
    assert not workspace.active
    workspace.check(sweep(0, 0.1))
    assert not Workspace(PANDA, GuardConfig(self_collision=False)).active


def test_without_pinocchio_the_guard_says_what_needs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "difftori_ros.robot.kinematics", None)
    with pytest.raises(ProfileError, match="need Pinocchio: pip install pin, or set self_coll"):
        Workspace(PANDA, GuardConfig())
    assert not Workspace(PANDA, GuardConfig(self_collision=False)).active


def test_a_box_alone_needs_no_spheres():
    workspace = Workspace(
        PANDA, GuardConfig(self_collision=False, workspace_upper=(1.0, 1.0, float(TIP[2]) - 0.01))
    )
    with pytest.raises(RefusedError, match="the tip comes to z ="):
        workspace.check(sweep(0, 0.01))
    wide = GuardConfig(self_collision=False, workspace_upper=(1.0, 1.0, 2.0))
    Workspace(PANDA, wide).check(sweep(0, 0.01))


def test_spheres_on_an_unknown_frame_are_refused_with_the_frames_that_exist():
    odd = replace(PANDA, spheres={"elbow": np.ones((1, 4))})
    with pytest.raises(ProfileError, match=r"no frame 'elbow'; it has .*panda_link0"):
        Guard(odd, GuardConfig())


@pytest.mark.parametrize(
    "corners",
    [
        {"workspace_lower": (0.0, 0.0)},
        {"workspace_lower": (1.0, 0.0, 0.0), "workspace_upper": (0.0, 1.0, 1.0)},
        {"workspace_upper": (float("nan"), 1.0, 1.0)},
    ],
)
def test_a_box_that_makes_no_sense_is_refused(corners):
    with pytest.raises(ValueError, match="workspace_lower must lie below workspace_upper"):
        GuardConfig(**corners)
