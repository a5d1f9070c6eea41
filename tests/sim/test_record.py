# SPDX-License-Identifier: MIT
"""Recorded demonstrations are what a policy sees live, bit for bit, with clean expert actions."""

import contextlib
from pathlib import Path

import numpy as np
import pytest

from difftori_models.contract.features import policy_images, policy_points, state_vector
from difftori_models.data import camera_images, load_demos
from difftori_ros.robot.profile import load_profile
from difftori_sim.arm.direct_loop import DirectLoop
from difftori_sim.arm.experts import expert
from difftori_sim.arm.tasks import TEST_SEEDS, TRAIN_SEEDS, VALIDATION_SEEDS, find_task
from difftori_sim.arm.world import World
from difftori_sim.demonstrations.record import NoisyExpert, expert_card, record
from tests.support.promises import assert_valid

pytestmark = [pytest.mark.vulkan, pytest.mark.timeout(300)]

PANDA = load_profile("panda")
NOISE = 0.15


def make(folder: Path, name: str, task="pick_cube", variant="state", episodes=2, **options):
    path = folder / f"{name}.npz"
    written, tried = record(find_task(task), variant, path, episodes=episodes, **options)
    return path, written, tried


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("demos")


@pytest.fixture(scope="module")
def recorded(folder) -> Path:
    return make(folder, "first")[0]


def live(seed: int, task="pick_cube"):
    """The steps of the same episode, as they happen, and the commands to the controllers."""
    task, commands = find_task(task), []
    card = expert_card(task, "state", "panda")
    planner = NoisyExpert(task, card, NOISE)
    with contextlib.closing(World(task, PANDA)) as world:
        loop = DirectLoop(world, PANDA, card.observation, planner, execute=1)
        episode = loop.run(seed, task.max_steps, on_command=commands.append)
    return episode, commands


def test_recording_twice_gives_the_same_arrays(recorded, folder):
    again = make(folder, "second")[0]
    with np.load(recorded) as first, np.load(again) as second:
        assert first.files == second.files
        for name in first.files:
            assert first[name].tobytes() == second[name].tobytes(), name
    assert load_demos(recorded).sha256 == load_demos(again).sha256


def test_labels_are_the_clean_actions_of_the_expert(recorded):
    demos = load_demos(recorded)
    rule, action = expert("pick_cube"), demos.meta.action
    for step in range(len(demos)):
        wanted = rule(demos.observation(step), action)[0]
        np.testing.assert_array_equal(demos.actions[step], wanted.astype(np.float32))


def test_noise_is_on_what_is_executed(recorded):
    # the tip does not go where the label says: the difference is the noise and the tracking error
    demos = load_demos(recorded)
    first = demos.episode == 0
    moved = np.diff(demos.poses["tip"][first, :3], axis=0)
    said = demos.actions[first][:-1, :3] * np.array(demos.meta.action.scale[:3])
    assert np.abs(moved - said).max() > 0.003
    assert demos.meta.noise == NOISE


def test_episodes_are_consecutive_and_named_by_their_seeds(recorded):
    demos = load_demos(recorded)
    assert demos.episode.tolist() == sorted(demos.episode)
    assert np.unique(demos.episode).tolist() == [0, 1]
    for number in (0, 1):
        assert len(np.unique(demos.seed[demos.episode == number])) == 1
    assert set(demos.seed.tolist()) <= set(range(TRAIN_SEEDS.start, TRAIN_SEEDS.start + 10))
    assert demos.meta.command.startswith("difftori demos record --task pick_cube --obs state")


def test_live_observation_and_its_record_give_the_same_state_vector(recorded):
    demos = load_demos(recorded)
    episode, commands = live(int(demos.seed[0]))
    spec = demos.meta.observation
    length = int((demos.episode == 0).sum())
    assert len(episode.steps) == length
    for k, step in enumerate(episode.steps):
        ours = state_vector(demos.observation(k), spec)
        assert ours.tobytes() == state_vector(step.observation, spec).tobytes(), k
    for command in commands:
        assert_valid(command, PANDA)
    assert all(step.accepted for step in episode.steps)


def test_live_cloud_and_its_record_give_the_same_points(folder, monkeypatch):
    heard, run = [], DirectLoop.run

    def listen(loop, *arguments, **options):
        heard.append(run(loop, *arguments, **options))
        return heard[-1]

    monkeypatch.setattr(DirectLoop, "run", listen)
    path, _, tried = make(folder, "points", variant="points", episodes=1)
    demos = load_demos(path)
    spec, steps = demos.meta.observation, heard[-1].steps
    assert tried == len(heard)
    assert len(steps) == len(demos)
    for k, step in enumerate(steps):
        replayed = demos.observation(k)
        ours = policy_points(replayed, spec)
        assert ours.tobytes() == policy_points(step.observation, spec).tobytes(), k
        ours = state_vector(replayed, spec)
        assert ours.tobytes() == state_vector(step.observation, spec).tobytes(), k


@pytest.mark.slow
def test_camera_in_the_hand_is_recorded_beside_the_other_and_comes_along(folder):
    path = make(folder, "wrist", "stack_cube_wrist", variant="rgb", episodes=1)[0]
    demos = load_demos(path)
    assert list(demos.meta.observation.images) == ["camera", "wrist_camera"]
    table, hand = camera_images(demos)
    assert table.shape[1:] == (80, 80, 3)
    assert hand.shape[1:] == (64, 64, 3)
    changed = [np.abs(np.diff(p.astype(int), axis=0)).mean() for p in (table, hand)]
    assert changed[1] > 2 * changed[0] > 0


@pytest.mark.parametrize("task", ["pick_cube", pytest.param("push_cube", marks=pytest.mark.slow)])
def test_live_image_and_its_record_are_the_same_bytes_and_show_the_cube(folder, monkeypatch, task):
    heard, run = [], DirectLoop.run

    def listen(loop, *arguments, **options):
        heard.append(run(loop, *arguments, **options))
        return heard[-1]

    monkeypatch.setattr(DirectLoop, "run", listen)
    path = make(folder, f"{task}_rgb", task, variant="rgb", episodes=1)[0]
    demos = load_demos(path)
    spec, steps = demos.meta.observation, heard[-1].steps
    assert len(steps) == len(demos)
    (recorded,) = camera_images(demos)
    for k, step in enumerate(steps):
        (seen,) = policy_images(step.observation, spec)
        assert recorded[k].tobytes() == seen.tobytes(), k
    r, g, b = np.moveaxis(recorded[0].astype(int), -1, 0)
    cube = r - g > 150 if task == "pick_cube" else b - r > 60
    assert 3 < cube.sum() < 200, "a cube of 4 cm has about 5 x 5 pixels"


@pytest.mark.parametrize(
    ("task", "noise"),
    [
        *(("pick_cube", NOISE), ("push_cube", NOISE), ("stack_cube", NOISE)),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                *(("pull_cube", NOISE), ("place_sphere", NOISE), ("poke_cube", NOISE)),
                # noise while it grasps the ball makes it miss
                ("roll_ball", 0.0),
            )
        ),
    ],
)
def test_noisy_expert_succeeds_on_four_of_five_training_seeds(folder, task, noise):
    first = TRAIN_SEEDS.start + 40
    _, written, tried = make(folder, task, task, episodes=4, noise=noise, first_seed=first)
    assert written == 4
    assert tried <= 5


@pytest.mark.parametrize("seed", [TEST_SEEDS.start, VALIDATION_SEEDS.start, -1])
def test_seed_that_is_not_for_training_is_refused_before_anything_starts(tmp_path, seed):
    with pytest.raises(ValueError, match=f"{seed} is not a training seed"):
        make(tmp_path, "none", first_seed=seed)
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_record_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one episode, got 0"):
        make(tmp_path, "none", episodes=0)
    assert list(tmp_path.iterdir()) == []
