# SPDX-License-Identifier: MIT
"""Suites: names and refusals, seeds that decide an episode, clean labels, files of others."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from difftori_models.data import DemosError, camera_images, load_demos, state_vectors
from difftori_sim.arm.tasks import TEST_SEEDS
from difftori_sim.cli.main import main, parse
from difftori_sim.cli.options import UsageError
from difftori_sim.demonstrations.from_hdf5 import import_hdf5
from difftori_sim.suites import make_gym, metaworld, open_suite, robomimic
from difftori_sim.suites.env import SuiteError, roll_out
from difftori_sim.suites.maniskill import own_task
from difftori_sim.suites.single_input import single_input_info


@pytest.fixture(scope="module")
def push():
    env = open_suite("metaworld", "push-v3", "state")
    yield env
    env.close()


def said(capsys, *words) -> tuple[int, str]:
    status = main([str(word) for word in words])
    return status, " ".join(capsys.readouterr().err.split())


def test_papers_22_tasks_are_among_those_of_metaworld():
    assert len(metaworld.PAPER_TASKS) == len(set(metaworld.PAPER_TASKS)) == 22
    assert metaworld.tasks()[:22] == list(metaworld.PAPER_TASKS)
    assert len(metaworld.tasks()) == len(set(metaworld.tasks())) == 50


def test_unknown_task_is_refused_beside_the_known_ones(capsys, tmp_path):
    words = (
        "demos",
        "record",
        "--suite",
        "metaworld",
        "--task",
        "fold",
        "--out",
        tmp_path / "demos.npz",
    )
    status, sentence = said(capsys, *words)
    assert status == 1
    assert "MetaWorld has no task 'fold'; it has basketball, bin-picking" in sentence
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("task", "complaint"),
    [
        (
            "OpenCabinetDrawer",
            "python -m mani_skill.utils.download_asset partnet_mobility_cabinet",
        ),
        ("OpenCabinetDoor-v1", "download_asset partnet_mobility_cabinet"),
        ("TurnFaucet", "download_asset partnet_mobility_faucet"),
        ("PushChair", "PushChair is a task of ManiSkill 1 and 2 alone"),
        ("Fold", "without any download there are PushCube-v1, PickCube-v1"),
    ],
)
def test_what_maniskill_lacks_is_said_with_the_command_that_fetches_it(
    capsys, tmp_path, monkeypatch, task, complaint
):
    from mani_skill.utils.assets import data

    monkeypatch.setattr(data, "is_data_source_downloaded", lambda _: False)
    words = (
        "demos",
        "record",
        "--suite",
        "maniskill",
        "--task",
        task,
        "--out",
        tmp_path / "demos.npz",
    )
    status, sentence = said(capsys, *words)
    assert status == 1
    assert complaint in sentence


@pytest.mark.parametrize(
    ("suite", "task", "obs", "complaint"),
    [
        ("dmc", "fold-easy", "state", "unknown task 'fold-easy' of dmc; known: "),
        ("gymnasium", "Fold-v1", "state", "'Fold-v1' is no environment of Gymnasium"),
        ("gymnasium", "CartPole-v1", "state", "actions must be a finite box"),
        ("dmc", "reacher-easy", "points", "the suite dmc has no clouds"),
    ],
)
def test_environment_that_cannot_be_had_is_refused(capsys, tmp_path, suite, task, obs, complaint):
    words = ("demos", "record", "--suite", suite, "--task", task, "--obs", obs)
    status, sentence = said(capsys, *words, "--out", tmp_path / "demos.npz")
    assert status == 1
    assert complaint in sentence


def test_robomimics_tasks_without_an_expert_ask_for_a_file():
    env = object.__new__(robomimic.RobomimicEnv)
    env._task = robomimic.TASKS["Square"]
    env.info = single_input_info("robomimic", "Square", 7, 23, "state")
    with pytest.raises(SuiteError, match=r"no scripted expert.*demos import hdf5"):
        env.demonstrate(0, 0.0)
    with pytest.raises(SuiteError, match="no task 'Fold'; it has Lift, Can, Square"):
        robomimic.find("Fold")


def test_task_without_an_expert_says_who_could_demonstrate_it(capsys, tmp_path):
    words = ("demos", "record", "--suite", "dmc", "--task", "reacher-easy", "--episodes", 1)
    status, sentence = said(capsys, *words, "--out", tmp_path / "demos.npz")
    assert status == 1
    assert "'dmc.reacher-easy' has no expert" in sentence
    assert "--expert" in sentence


def test_seed_that_is_not_for_training_is_refused(capsys, tmp_path):
    words = (
        "demos",
        "record",
        "--suite",
        "metaworld",
        "--task",
        "push",
        "--out",
        tmp_path / "demos.npz",
    )
    status, sentence = said(capsys, *words, "--first-seed", TEST_SEEDS.start)
    assert status == 1
    assert f"seed {TEST_SEEDS.start} is not a training seed" in sentence


def test_evaluating_over_seeds_of_two_uses_is_refused_before_anything_starts(capsys):
    words = ("evaluate", "--suite", "metaworld", "--task", "push", "--first-seed", 99_999)
    status, sentence = said(capsys, *words, "--episodes", 2)
    assert status == 1
    assert "not in one range" in sentence


def test_our_own_tasks_are_found_by_the_names_of_maniskill_too():
    for name in ("PushCube", "PushCube-v1", "push_cube"):
        task = own_task(name)
        assert task is not None
        assert task.name == "push_cube"
    assert own_task("PegInsertionSide") is None


def trained_by(*words: str):
    return parse(["train", "imitation", *words]).config()


def test_training_takes_the_files_of_the_task_unless_others_are_given():
    config = trained_by("--suite", "metaworld", "--task", "push", "--method", "bc")
    folder = Path("out/metaworld.push.state")
    assert (config.demos, config.out) == (folder / "demos.npz", folder / "train")
    assert (config.name, config.method) == ("metaworld.push.state", "bc")
    config = trained_by("--suite=dmc", "--task=walker-walk", "--obs=rgb", "--demos", "x.npz")
    assert (config.demos, config.name) == (Path("x.npz"), "dmc.walker-walk.rgb")
    assert trained_by("--task", "push_cube").name == "robot.push_cube.state"
    with pytest.raises(UsageError, match="wanted --out and --name, or --task, got neither"):
        trained_by("--demos", "x.npz")


def test_an_episode_is_decided_by_its_seed_alone(push):
    first = push.reset(7).vectors["state"]
    push.demonstrate(3, 0.1)
    again = push.reset(7).vectors["state"]
    other = push.reset(8).vectors["state"]
    assert first.tobytes() == again.tobytes()
    assert np.abs(first - other).max() > 0.01


def test_goal_is_told_at_every_step(push):
    begun = push.reset(5).vectors["state"]
    later = push.step(np.zeros(4)).observation.vectors["state"]
    assert np.abs(begun[-3:]).max() > 0.05
    np.testing.assert_allclose(later[-3:], begun[-3:])


DRAW_TWICE = """
from difftori_sim.suites import make_gym
envs = [make_gym("gymnasium", "InvertedPendulum-v5", "rgb") for _ in range(2)]
for first, env in zip((3, 7), envs):
    env.reset(seed=first)
one, other = (env.reset(seed=5)[0] for env in envs)
print(one.shape, one.max() > 100, (one == other).all())
"""


def test_pictures_are_of_the_episode_alone_whichever_was_drawn_first():
    """In a process of its own: MuJoCo draws black once a window of Gymnasium's was closed."""
    done = subprocess.run([sys.executable, "-c", DRAW_TWICE], capture_output=True, text=True)
    assert done.stdout.strip() == "(9, 84, 84) True True", done.stderr


def test_reinforcement_learning_sees_the_same_environment():
    env = make_gym("metaworld", "push")
    actions = np.random.default_rng(0).uniform(-1, 1, (4, 4)).astype(np.float32)
    runs = []
    for _ in range(2):
        runs.append([env.reset(seed=11)[0], *(env.step(action)[0] for action in actions)])
    _, reward, terminated, truncated, info = env.step(actions[0])
    env.close()
    assert np.array(runs[0]).tobytes() == np.array(runs[1]).tobytes()
    assert env.observation_space.contains(runs[0][0])
    assert reward > 0.0
    assert (terminated, truncated, info) == (False, False, {"success": False})


def test_labels_are_clean_and_what_is_executed_is_not(push):
    quiet, noisy = push.demonstrate(2, 0.0), push.demonstrate(2, 0.3)
    assert quiet.success
    np.testing.assert_array_equal(quiet.actions[0], noisy.actions[0])
    ours = [o.poses["tip"][:3] for o in (quiet.observations[1], noisy.observations[1])]
    assert np.abs(ours[0] - ours[1]).max() > 1e-4


def test_episode_ends_when_its_time_is_over_or_it_has_succeeded(push, monkeypatch):
    monkeypatch.setattr(push, "info", replace(push.info, max_steps=12))
    episode = roll_out(push, 1, lambda _: np.zeros(4))
    assert len(episode.actions) == len(episode.observations) == 12
    assert episode.success is False
    monkeypatch.undo()
    assert len(push.demonstrate(1, 0.0).actions) < push.info.max_steps


def write_hdf5(path, env_name="NutAssemblySquare", demos=(5, 3), pictures=False, leave_out=""):
    import h5py

    rng = np.random.default_rng(0)
    sizes = {
        "robot0_eef_pos": 3,
        "robot0_eef_quat": 4,
        "robot0_gripper_qpos": 2,
        "object": 14,
    }
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps({"env_name": env_name, "type": 1, "env_kwargs": {}})
        data.attrs["total"] = sum(demos)
        for k, steps in enumerate(demos):
            demo = data.create_group(f"demo_{k}")
            demo.attrs["num_samples"] = steps
            actions = rng.uniform(-1.0, 1.0, (steps, 7))
            actions[0, 0] = -1.2 if k == 0 else -1.0
            demo["actions"] = actions
            demo["dones"] = np.zeros(steps)
            for name, size in sizes.items():
                if name != leave_out:
                    demo[f"obs/{name}"] = rng.normal(size=(steps, size))
            for camera in ("agentview", "robot0_eye_in_hand") if pictures else ():
                shape = (steps, 84, 84, 3)
                demo[f"obs/{camera}_image"] = rng.integers(0, 255, shape, dtype=np.uint8)
    return path


def test_file_of_robomimic_becomes_demonstrations(tmp_path, capsys):
    import h5py

    path, out = write_hdf5(tmp_path / "low_dim.hdf5", demos=(5, 3) + (1,) * 9), tmp_path / "d.npz"
    words = ["demos", "import", "hdf5", str(path), "--task", "Square"]
    assert main([*words, "--out", str(out)]) == 0
    assert "11 episodes, 17 steps" in capsys.readouterr().out
    demos = load_demos(out)
    assert demos.meta.task == "robomimic.Square"
    assert np.bincount(demos.episode).tolist() == [5, 3] + [1] * 9
    with h5py.File(path) as file:
        for name in ("object", "robot0_eef_quat"):
            there = np.concatenate([file[f"data/demo_{k}/obs/{name}"][:] for k in range(11)])
            np.testing.assert_array_equal(demos.vectors[name], there)
        there = np.concatenate([file[f"data/demo_{k}/actions"][:] for k in range(11)])
    np.testing.assert_allclose(demos.actions, there.clip(-1, 1), rtol=1e-6)
    assert state_vectors(demos).shape == (17, 23)


def test_pictures_of_a_file_of_robomimic_come_along_and_objects_do_not(tmp_path):
    path = write_hdf5(tmp_path / "image.hdf5", pictures=True)
    import_hdf5(path, "Square", "rgb", tmp_path / "d.npz")
    demos = load_demos(tmp_path / "d.npz")
    assert [rows.shape for rows in camera_images(demos)] == [(8, 84, 84, 3)] * 2
    assert "object" not in demos.vectors


@pytest.mark.parametrize(
    ("change", "task", "obs", "complaint"),
    [
        ({}, "Can", "state", "demonstrations of 'NutAssemblySquare', wanted 'PickPlaceCan'"),
        ({"leave_out": "object"}, "Square", "state", "no 'object'; there are robot0_eef_pos"),
        ({}, "Square", "rgb", "no 'agentview_image'"),
        ({"demos": ()}, "Square", "state", "no demo_0"),
        ({}, "Square", "points", "hold no clouds"),
    ],
)
def test_file_of_robomimic_that_does_not_fit_is_refused(tmp_path, change, task, obs, complaint):
    path = write_hdf5(tmp_path / "demos.hdf5", **change)
    with pytest.raises((DemosError, SuiteError), match=complaint):
        import_hdf5(path, task, obs, tmp_path / "d.npz")
    assert not (tmp_path / "d.npz").exists()


def spoiled(path, edit):
    """A good file, edited."""
    import h5py

    write_hdf5(path)
    with h5py.File(path, "a") as file:
        edit(file["data"])
    return path


def absolute(data):
    kwargs = {"controller_configs": {"body_parts": {"right": {"input_type": "absolute"}}}}
    data.attrs["env_args"] = json.dumps({"env_name": "NutAssemblySquare", "env_kwargs": kwargs})


def replaced(name, value):
    def edit(data):
        del data[name]
        data[name] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        (absolute, r'takes absolute poses \(input_type is "absolute"\)'),
        (
            replaced("demo_0/actions", np.full((5, 7), 3.0)),
            r"of the action entries lie outside -1 to 1, up to 3",
        ),
        (
            replaced("demo_1/obs", np.zeros(3)),
            r"demo_1/obs: wanted a group with '.*', got a data set",
        ),
        (
            replaced("demo_1/obs/object", np.zeros((3, 9))),
            r"demo_1/obs/object: wanted shape \(3, 14\), got \(3, 9\)",
        ),
        (
            replaced("demo_1/obs/object", np.zeros((2, 14))),
            r"demo_1/obs/object: wanted shape \(3, 14\), got \(2, 14\)",
        ),
        (
            replaced("demo_1/actions", np.zeros((0, 7))),
            r"demo_1/actions: wanted at least one row of 7, got \(0, 7\)",
        ),
    ],
)
def test_odd_file_of_robomimic_is_refused_by_episode_and_what_is_odd(edit, complaint, tmp_path):
    path = spoiled(tmp_path / "demos.hdf5", edit)
    with pytest.raises(DemosError, match=complaint):
        import_hdf5(path, "Square", "state", tmp_path / "d.npz")
    assert not (tmp_path / "d.npz").exists()


def test_of_a_file_of_robomimic_the_first_episodes_can_be_taken(tmp_path, capsys):
    path = spoiled(tmp_path / "demos.hdf5", lambda data: data.create_group("demo_x"))
    words = ["demos", "import", "hdf5", path, "--task", "Square", "--out", tmp_path / "d.npz"]
    assert said(capsys, *words, "--episodes", 1)[0] == 0
    assert len(load_demos(tmp_path / "d.npz").actions) == 5
    assert "wanted 3 episodes, it has 2" in said(capsys, *words, "--episodes", 3)[1]


def test_checkpoint_of_another_task_or_view_is_refused_before_anything_runs(capsys):
    words = ("evaluate", "--suite", "maniskill", "--task", "PushCube", "--episodes", 50)
    status, sentence = said(capsys, *words, "--checkpoint", "pick_cube_state")
    assert status == 1
    assert "is of pick_cube seen as state, wanted was push_cube seen as state" in sentence
    _, sentence = said(capsys, *words, "--obs", "rgb", "--checkpoint", "push_cube_state")
    assert "is of push_cube seen as state, wanted was push_cube seen as rgb" in sentence
    words = ("demos", "record", "--suite", "maniskill", "--task", "PushCube", "--expert")
    assert "is driven through its own stages" in said(capsys, *words, "push_cube_state")[1]


def test_file_that_is_no_hdf5_is_refused(tmp_path):
    (tmp_path / "demos.hdf5").write_text("no")
    with pytest.raises(DemosError, match="not an HDF5 file"):
        import_hdf5(tmp_path / "demos.hdf5", "Lift", "state", tmp_path / "d.npz")
    with pytest.raises(DemosError, match="no file"):
        import_hdf5(tmp_path / "absent.hdf5", "Lift", "state", tmp_path / "d.npz")


def test_pendulum_is_brought_up_and_held():
    env = open_suite("gymnasium", "Pendulum-v1", "state")
    rewards = [env.demonstrate(seed, 0.0).reward for seed in range(5)]
    env.close()
    assert np.mean(rewards) > -400, "at rest below it would be about -1500"
