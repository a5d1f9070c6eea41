# SPDX-License-Identifier: MIT
"""Policies without a network hold a pose or play a recording once, within the limits."""

import json
from dataclasses import replace

import numpy as np
import pytest

from difftori_models.contract.specs import Observation
from difftori_ros.policy.pipeline import PlanPipeline
from difftori_ros.policy.scripted import ScriptError, is_scripted, load_recording, open_script
from difftori_ros.robot.kinematics import Kinematics
from difftori_ros.robot.profile import load_profile
from tests.support.promises import assert_valid

PANDA = load_profile("panda")
ARM = Kinematics(PANDA)
START = 5_000_000_000
HOME = np.append(PANDA.home, 0.03)
TIMES = np.linspace(0.0, 2.0, 41)
SWAY = 0.2 * np.sin(np.pi * TIMES / 2.0)[:, None] ** 2
MOTION = HOME + SWAY * np.array([1.0, -1.0, 0.5, 0.0, 0.5, 0.0, 1.0, 0.0])


def recording(**changes):
    return {
        "joint_names": list(PANDA.joint_names),
        "times": (TIMES + 7.0).tolist(),
        "positions": MOTION.tolist(),
    } | changes


def write(folder, data, name="trajectory.json"):
    path = folder / name
    if path.suffix == ".json":
        path.write_text(json.dumps(data))
    else:
        np.savez(path, **{key: np.array(value) for key, value in data.items()})
    return path


def seen(stamp_ns, position=HOME, velocity=None):
    position = np.array(position)
    velocity = np.zeros(8) if velocity is None else velocity
    poses = {"tip": ARM.tip_pose(position[:7])}
    return Observation(stamp_ns, PANDA.joint_names, position, velocity, poses)


def drive(planner, turns, start=HOME, profile=PANDA):
    """Poses (turns, 8) of an arm that follows every plan perfectly, from one plan to the next."""
    pipeline, running, found = PlanPipeline(planner, profile, ARM), None, []
    for turn in range(turns):
        stamp_ns = START + turn * 100_000_000
        state = (start, None) if running is None else running.sample(stamp_ns)
        found.append(state[0])
        observation = seen(stamp_ns, *state)
        motion = pipeline.plan(observation, lambda stamp_ns=stamp_ns: stamp_ns)
        assert motion.trajectory is not None
        assert_valid(motion.trajectory, profile, after=running, at_ns=stamp_ns)
        running = motion.trajectory
    return np.array(found)


def test_names_of_scripts_are_told_from_those_of_checkpoints():
    assert is_scripted("hold")
    assert is_scripted("replay:somewhere")
    assert not is_scripted("pick_cube_state")
    assert not is_scripted("holder")


def test_hold_stays_at_the_pose_that_it_was_started_in():
    planner, _ = open_script("hold", PANDA)
    start = HOME + np.append(np.full(7, 0.1), 0.005)
    poses = drive(planner, 10, start)
    np.testing.assert_allclose(poses, np.tile(start, (10, 1)), atol=1e-6)


def test_hold_takes_the_pose_measured_after_a_reset():
    planner, _ = open_script("hold", PANDA)
    planner.plan(seen(START))
    planner.reset(0)
    away = HOME + np.append(np.full(7, 0.2), 0.0)
    plan = planner.plan(seen(START + 1, away))
    np.testing.assert_allclose(plan.actions[:, :7], np.tile(away[:7], (6, 1)))


@pytest.mark.parametrize("name", ["trajectory.json", "trajectory.npz", "mine.npz"])
def test_replay_follows_the_recording_once_and_then_holds_its_end(tmp_path, name):
    path = write(tmp_path, recording(), name)
    given = path if name == "mine.npz" else tmp_path
    planner, found = open_script(f"replay:{given}", PANDA)
    assert found == path
    assert planner.start_position is not None
    np.testing.assert_array_equal(planner.start_position, HOME[:7])
    poses = drive(planner, 35)
    for turn in range(3, 20):
        wanted = [np.interp(turn * 0.1, TIMES, MOTION[:, k]) for k in range(7)]
        np.testing.assert_allclose(poses[turn, :7], wanted, atol=0.02)
    np.testing.assert_allclose(poses[25:, :7], np.tile(MOTION[-1, :7], (10, 1)), atol=1e-3)
    assert np.ptp(poses[:, 0]) > 0.18


def test_joints_are_bound_by_name_and_others_left_out(tmp_path):
    order = [7, 3, 1, 0, 2, 6, 5, 4]
    names = [PANDA.joint_names[k] for k in order]
    positions = np.hstack([MOTION[:, order], np.ones((len(TIMES), 1))])
    data = recording(joint_names=[*names, "wheel"], positions=positions.tolist())
    found = load_recording(write(tmp_path, data), PANDA)
    assert found.joint_names == PANDA.joint_names
    np.testing.assert_allclose(found.positions, MOTION)
    assert found.times[0] == 0.0


def test_without_a_recorded_gripper_the_gripper_stays(tmp_path):
    data = recording(joint_names=list(PANDA.arm_joints), positions=MOTION[:, :7].tolist())
    planner, _ = open_script(f"replay:{write(tmp_path, data)}", PANDA)
    poses = drive(planner, 12)
    np.testing.assert_allclose(poses[:, 7], 0.03, atol=1e-6)


def test_robot_without_a_gripper_is_held_too():
    profile = replace(PANDA, gripper=None)
    planner, _ = open_script("hold", profile)
    observation = Observation(
        START, PANDA.arm_joints, PANDA.home, np.zeros(7), {"tip": ARM.tip_pose(PANDA.home)}
    )
    motion = PlanPipeline(planner, profile, ARM).plan(observation, lambda: START)
    assert motion.trajectory is not None
    assert motion.trajectory.joint_names == PANDA.arm_joints


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"joint_names": ["a"] * 8}, "wanted each of the joints"),
        ({"times": TIMES[:5].tolist()}, "as many rows"),
        ({"times": TIMES[::-1].tolist()}, "times that increase"),
        ({"positions": (MOTION + 9.0).tolist()}, "panda_joint1 goes from"),
        ({"times": (TIMES * 0.01).tolist()}, "rad/s, allowed are"),
        ({"positions": "far"}, "wanted joint_names, times, positions"),
        ({"times": [[0.0], [1.0, 2.0]]}, "wanted joint_names, times, positions"),
    ],
)
def test_recording_that_does_not_fit_is_refused_with_what_is_wrong(tmp_path, changes, words):
    with pytest.raises(ScriptError, match=words):
        open_script(f"replay:{write(tmp_path, recording(**changes))}", PANDA)


@pytest.mark.parametrize("key", ["joint_names", "times", "positions"])
@pytest.mark.parametrize("name", ["trajectory.json", "trajectory.npz"])
def test_missing_entry_is_named(tmp_path, key, name):
    data = recording()
    del data[key]
    with pytest.raises(ScriptError, match=key):
        load_recording(write(tmp_path, data, name), PANDA)


def test_pickled_objects_in_a_recording_are_refused(tmp_path):
    path = tmp_path / "trajectory.npz"
    np.savez(path, joint_names=np.array(PANDA.joint_names), times=TIMES, positions=MOTION * 1.0)
    np.savez(
        path,
        joint_names=np.array([*PANDA.joint_names, None], dtype=object),
        times=TIMES,
        positions=MOTION,
    )
    with pytest.raises(ScriptError, match="allow_pickle"):
        load_recording(path, PANDA)


@pytest.mark.parametrize("content", [b"", b"{", b"PK\x03\x04rubbish", b"\x80\x05."])
@pytest.mark.parametrize("name", ["trajectory.json", "trajectory.npz"])
def test_rubbish_is_refused(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ScriptError):
        load_recording(path, PANDA)


@pytest.mark.parametrize("name", ["", "nowhere", "."])
def test_missing_recording_is_refused_with_what_is_looked_for(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ScriptError, match=r"wanted a \.json or \.npz file"):
        open_script(f"replay:{name}", PANDA)
