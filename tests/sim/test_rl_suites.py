# SPDX-License-Identifier: MIT
"""Environments to learn in by reward: the same for the same seed, and every task is learned in."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest

from difftori_models.data import load_demos
from difftori_models.training.errors import ConfigError
from difftori_models.training.rl.config import PAPER, RLConfig
from difftori_models.training.rl.environment import require_fit
from difftori_models.training.rl.trainer import RLTrainer
from difftori_sim.cli.main import main, parse
from difftori_sim.cli.train_commands import train_rl
from difftori_sim.suites import dmc, make_gym, open_suite

pytest.importorskip("dm_control")


def config(suite: str, task: str, method: str, obs: str, out: Path) -> RLConfig:
    return RLConfig(
        suite, task, out, method=method, obs=obs, steps=20, seed_steps=20, update_every=5,
        hidden=32, latent=8, encoder=16, batch=8, horizon=2, horizon_steps=1, iterations=2,
        pg_batch=2, capacity=2000, eval_every=10**6, eval_episodes=1, save_every=10**6,
    )  # fmt: skip


class Short:
    """An environment that ends after a few actions: a whole episode would take minutes."""

    def __init__(self, env, steps: int) -> None:
        self._env, self._steps = env, steps
        self.observation_space, self.action_space = env.observation_space, env.action_space
        self.action_repeat = env.action_repeat

    def reset(self, *, seed=None):
        self._done = 0
        return self._env.reset(seed=seed)

    def step(self, action):
        self._done += 1
        seen, reward, terminated, truncated, info = self._env.step(action)
        return seen, reward, terminated, truncated or self._done >= self._steps, info


def learn_a_little(suite: str, task: str, method: str, obs: str, out: Path) -> None:
    with contextlib.closing(make_gym(suite, task, obs)) as env:
        require_fit(env)
        trainer = RLTrainer.open(config(suite, task, method, obs, out), Short(env, 10))
        trainer.run()
    assert trainer.learner.updates == 4
    for row in trainer.log.rows:
        assert all(np.isfinite(v) for v in row.values() if isinstance(v, float))


def twice(env) -> list[tuple]:
    found = []
    for seed in (5, 6, 5):
        rng, rewards = np.random.default_rng(0), []
        seen, _ = env.reset(seed=seed)
        for _ in range(12):
            action = rng.uniform(-1, 1, env.action_space.shape).astype(np.float32)
            seen, reward, *_ = env.step(action)
            rewards.append(reward)
        found.append((seen.tobytes(), tuple(rewards)))
    return found


@pytest.mark.parametrize(
    ("suite", "task"),
    [("dmc", "reacher-easy"), ("dmc", "cup-catch"), ("gymnasium", "Pendulum-v1")],
)
def test_the_seed_decides_the_episode_whatever_ran_before(suite, task):
    with contextlib.closing(make_gym(suite, task)) as env:
        first, other, again = twice(env)
    assert first == again
    assert first != other


@pytest.mark.vulkan
def test_so_it_does_on_the_simulated_arm():
    with contextlib.closing(make_gym("robot", "push_cube")) as env:
        require_fit(env)
        first, other, again = twice(env)
    assert first == again
    assert first != other


def test_every_task_of_the_paper_is_there():
    assert set(dmc.tasks()) == set(PAPER) | {"cartpole-swingup"}
    assert len(PAPER) == 15


def test_an_episode_of_the_suite_is_a_thousand_steps_and_ends_in_no_terminal_state():
    with contextlib.closing(make_gym("dmc", "cartpole-swingup")) as env:
        env.reset(seed=0)
        ends = [env.step(np.zeros(1, np.float32))[2:4] for _ in range(250)]
    assert ends[-1] == (False, True)
    assert not any(terminated or truncated for terminated, truncated in ends[:-1])


@pytest.mark.parametrize(
    ("suite", "task", "obs", "words"),
    [
        ("atari", "pong", "state", "unknown suite 'atari'; known: maniskill"),
        ("dmc", "humanoid-fly", "state", "unknown task 'humanoid-fly'"),
        ("dmc", "reacher-easy", "smell", "unknown observation 'smell'; known: state, rgb"),
        ("gymnasium", "CartPole-v1", "state", "actions must be a finite box"),
        ("gymnasium", "Nowhere-v9", "state", "no environment of Gymnasium"),
    ],
)
def test_what_does_not_exist_is_named(suite, task, obs, words):
    with pytest.raises(ValueError, match=words):
        make_gym(suite, task, obs)


def test_the_arm_is_demonstrated_and_evaluated_as_a_real_one_is():
    with pytest.raises(ValueError, match="take `difftori demos record` and `difftori evaluate"):
        open_suite("robot", "push_cube", "state")


def settings(words: list[str]) -> RLConfig:
    return parse(["train", "rl", *words]).config()


def test_the_paper_preset_changes_defaults_and_what_is_said_counts(capsys):
    words = ["--suite", "dmc", "--task", "walker-run", "--out", "o", "--preset", "paper"]
    config = settings(words)
    assert (config.planner, config.iterations, config.step_size) == ("lm_rank1", 200, 3e-5)
    assert (config.terminal, config.in_graph, config.suite) == ("min", 5, "dmc")
    assert settings([*words, "--iterations", "3"]).iterations == 3, "the default of `ours` too"
    assert settings([*words[:-1], "ours"]).planner == "normalised_gradient"
    with pytest.raises(SystemExit) as caught:
        settings([*words[:-1], "x"])
    assert caught.value.code == 2
    assert "invalid choice 'x' for argument '--preset'" in capsys.readouterr().err


def test_methods_that_do_not_learn_by_reward_are_refused_by_those_that_do():
    words = ["--suite", "dmc", "--task", "walker-run", "--out", "o", "--method", "difftori"]
    with pytest.raises(ConfigError, match="unknown method 'difftori'; known: difftori_rl, tdmpc"):
        settings(words)


def test_a_gymnasium_environment_is_learned_in(tmp_path):
    learn_a_little("gymnasium", "Pendulum-v1", "difftori_rl", "state", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["difftori_rl", "tdmpc"])
@pytest.mark.parametrize("task", dmc.tasks())
def test_every_task_is_learned_in_from_state(task, method, tmp_path):
    learn_a_little("dmc", task, method, "state", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["difftori_rl", "tdmpc"])
@pytest.mark.parametrize("task", ["cup-catch", "reacher-easy", "walker-walk"])
def test_some_are_learned_in_from_pixels(task, method, tmp_path):
    learn_a_little("dmc", task, method, "rgb", tmp_path)


def test_what_was_learned_by_reward_acts_in_its_suite_as_it_did_in_training(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    settings = RLConfig(
        "gymnasium", "Pendulum-v1", tmp_path / "run", steps=200, seed_steps=50, update_every=5,
        batch=16, hidden=32, latent=8, encoder=16, horizon=3, horizon_steps=1, iterations=2,
        capacity=500, eval_every=200, eval_episodes=1,
    )  # fmt: skip
    trainer = train_rl(settings)
    (told,) = (row for row in trainer.log.rows if row["phase"] == "eval")
    words = ["--suite", "gymnasium", "--task", "Pendulum-v1"]
    trained = str(settings.out / "checkpoint")
    seeds = ["--episodes", "1", "--first-seed", "100000", "--json", "result.json"]
    assert main(["evaluate", *words, "--checkpoint", trained, *seeds]) == 0
    found = json.loads((tmp_path / "result.json").read_text())
    assert found["return_mean"] == pytest.approx(told["return"], abs=0.5)
    again = ["--episodes", "1", "--expert", trained, "--out", "demos.npz"]
    assert main(["demos", "record", *words, *again]) == 0
    assert load_demos(tmp_path / "demos.npz").meta.task == "gymnasium.Pendulum-v1"
    other = ["--suite", "dmc", "--task", "reacher-easy", "--checkpoint", trained]
    assert main(["evaluate", *other, "--episodes", "1"]) == 1
    assert "task: trained for gymnasium.Pendulum-v1, here dmc.reacher-easy" in " ".join(
        capsys.readouterr().err.split()
    )
