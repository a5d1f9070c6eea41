# SPDX-License-Identifier: MIT
"""A run: episodes, then as many updates as there were steps, as in TD-MPC.

The state is saved between two episodes. Every random draw is a function of the run's seed and of
what is drawn for, so a run that was killed goes on from its last state with the same numbers.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from difftori_models.contract.strict_json import decode, encode
from difftori_models.training.errors import DivergedError, ResumeError
from difftori_models.training.run_log import Row, RunLog
from difftori_models.training.run_state import (
    Progress,
    RunState,
    draw_seed,
    load_state,
    of_prefix,
    seed_draws,
)

from .config import RLConfig
from .environment import Environment, require_fit
from .learner import Learner
from .replay import EpisodeRecord, Replay
from .tensorboard import TensorBoard

TRAIN_SEEDS = 100_000
"""Episodes of training have seeds below this."""
FIRST_EVALUATION = 100_000
"""Seed of the first episode of an evaluation: they belong to validation."""


FREE = ("out", "name", "steps", "checkpoint")
"""Settings that a run may be given others of: a directory, a name, more steps, another end."""


@dataclass(frozen=True)
class Counts:
    """How far a run is.

    Attributes:
        step: Steps done.
        episode: Episodes done.
        updates: Updates done.
        written: Rows of the replay that were ever written.
        best: Highest success or return of an evaluation; None before the first.
    """

    step: int = 0
    episode: int = 0
    updates: int = 0
    written: int = 0
    best: tuple[float, float] | None = None


class RLTrainer:
    """One run in an environment.

    Attributes:
        config: The settings.
        learner: The networks.
        replay: What was played.
        counts: How far the run is.
        state: The saved state.
        log: Its lines, once the run goes.
    """

    log: RunLog

    def __init__(
        self,
        config: RLConfig,
        env: Environment,
        learner: Learner,
        replay: Replay,
        state: RunState,
    ) -> None:
        """Stand where `state` stands; see `open`."""
        self.config, self._env = config, env
        self.learner, self.replay, self.state = learner, replay, state
        self.counts: Counts = decode(Counts, encode(state.progress.counts))
        self._saved = self.counts.written
        if state.tensors:
            self._restore(state.tensors)

    @classmethod
    def open(cls, config: RLConfig, env: Environment) -> RLTrainer:
        """Begin, or go on with what is in `config.out`.

        Raises:
            ValueError: The environment does not fit.
            ResumeError: The directory holds a run with other settings, or a broken one.
        """
        require_fit(env)
        torch.set_num_threads(config.threads)
        fixed = {k: v for k, v in asdict(config).items() if k not in FREE}
        state = RunState.open(config.out, fixed, "rl", encode(Counts()))
        observation, action = env.observation_space.shape, env.action_space.shape[0]
        seed_draws(config.seed, "weights", 0)
        learner = Learner(config, observation, action)
        return cls(config, env, learner, Replay(config.capacity, observation, action), state)

    def run(self) -> None:
        """Learn until all steps are done.

        Raises:
            ResumeError: Another process is learning there.
            DivergedError: A loss is not finite.
        """
        with self.state.writing() as self.log:
            self._run()

    def _run(self) -> None:
        config = self.config
        board = TensorBoard(config.out, self.counts.step)
        bar = tqdm(
            total=config.steps,
            initial=self.counts.step,
            desc=config.label,
            unit="step",
            disable=None,
        )
        while self.counts.step < config.steps:
            before = self.counts.step
            row = self._episode()
            self._tell(row, board)
            after = self.counts.step
            bar.update(after - before)
            shown = {k: f"{row[k]:.3g}" for k in ("return", "reward", "value", "pg") if k in row}
            bar.set_postfix(shown, refresh=False)
            last = after >= config.steps
            if last or after // config.eval_every > before // config.eval_every:
                self._tell(self._evaluate(), board)
            if last or after // config.save_every > before // config.save_every:
                self._save()
        bar.close()
        board.close()

    def _tell(self, row: Row, board: TensorBoard) -> None:
        self.log.add(row)
        board.add(row)

    def _episode(self) -> Row:
        """One episode and its updates; returns its line of the log."""
        config, learner, counts = self.config, self.learner, self.counts
        began = time.monotonic()
        seed = draw_seed(config.seed, "episode", counts.episode) % TRAIN_SEEDS
        episode, success = self._play(seed, counts.step)
        self.replay.add(episode)
        steps = len(episode.actions)
        after = counts.step + steps
        row: Row = {
            "phase": "train",
            "step": after,
            "env_step": after * self._env.action_repeat,
            "episode": counts.episode,
            "return": float(episode.rewards.sum()),
            "length": steps,
        }
        if success is not None:
            row["success"] = float(success)
        played = time.monotonic()
        updates: list[dict[str, float]] = []
        due = after // config.update_every if after >= config.seed_steps else 0
        if due:
            updates = [self._update(k, after) for k in range(learner.updates, due)]
            seed_draws(config.seed, "on policy", counts.episode)
            row |= learner.update_on_episode(episode.observations[:-1], after)
        for name in sorted({name for metrics in updates for name in metrics}):
            row[name] = float(np.mean([one[name] for one in updates if name in one]))
        row["steps_per_s"] = round(steps / (time.monotonic() - began), 2)
        row["play_s"] = round(played - began, 3)
        row["seconds"] = self.state.seconds
        self.counts = replace(
            counts,
            step=after,
            episode=counts.episode + 1,
            updates=learner.updates,
            written=self.replay.written,
        )
        return row

    def _update(self, k: int, step: int) -> dict[str, float]:
        config = self.config
        rng = np.random.default_rng(seed_draws(config.seed, "update", k))
        batch = self.replay.sample(config.batch, config.horizon, rng)
        priorities, metrics = self.learner.update(batch, step)
        wrong = [name for name, value in metrics.items() if not math.isfinite(value)]
        if wrong:
            raise DivergedError(
                f"{', '.join(wrong)} of update {k + 1} is no finite number: the run has diverged; "
                f"a smaller lr than {config.lr:g} may help"
            )
        self.replay.update(batch.rows, priorities)
        return metrics

    def _play(
        self, seed: int, step: int, explore: bool = True
    ) -> tuple[EpisodeRecord, bool | None]:
        """The episode of `seed`, and whether it ever succeeded where the environment says so."""
        env, config = self._env, self.config
        observation, info = env.reset(seed=seed)
        self.learner.begin_episode()
        observations: list[NDArray] = [observation]
        actions: list[NDArray[np.float32]] = []
        rewards: list[float] = []
        ended = terminated = False
        success: bool | None = None
        purpose = "act" if explore else "evaluate"
        while not ended:
            # Where the draws of an evaluation come from does not depend on when it is.
            now = step + len(actions)
            draw = seed_draws(config.seed, purpose, now if explore else len(actions))
            if explore and now < config.seed_steps:
                a = np.random.default_rng(draw).uniform(-1.0, 1.0, env.action_space.shape)
                a = a.astype(np.float32)
            else:
                a = self.learner.act(observation, now, explore)
            observation, reward, terminated, truncated, info = env.step(a)
            observations.append(observation)
            actions.append(a)
            rewards.append(reward)
            ended = terminated or truncated
            if "success" in info:
                success = bool(success) or bool(info["success"])
        record = EpisodeRecord(
            np.stack(observations), np.stack(actions), np.array(rewards, np.float32), terminated
        )
        return record, success

    def _evaluate(self) -> Row:
        """Episodes without noise; the weights of the best evaluation are kept."""
        config, counts = self.config, self.counts
        returns, successes = [], []
        for k in range(config.eval_episodes):
            episode, success = self._play(FIRST_EVALUATION + k, counts.step, explore=False)
            returns.append(float(episode.rewards.sum()))
            successes += [] if success is None else [float(success)]
        row: Row = {
            "phase": "eval",
            "step": counts.step,
            "env_step": counts.step * self._env.action_repeat,
            "return": float(np.mean(returns)),
            "return_std": float(np.std(returns)),
            "episodes": len(returns),
            "seconds": self.state.seconds,
        }
        if successes:
            row["success"] = float(np.mean(successes))
        score = (row.get("success", 0.0), row["return"])
        if counts.best is None or score >= tuple(counts.best):
            self.counts = replace(counts, best=score)
            best = {k: v.clone() for k, v in self.learner.model.state_dict().items()}
            self._save_as("best", best)
        return row

    def _save(self) -> None:
        counts, folder = self.counts, self.config.out / "replay"
        self.replay.save(folder, self._saved)
        rows = min(counts.written, self.replay.capacity)
        tensors = self.learner.state()
        tensors["priority"] = torch.from_numpy(self.replay.priority[:rows].copy())
        self._save_as("state", tensors)
        self._saved = counts.written
        self.replay.tidy(folder)

    def _save_as(self, name: str, tensors: dict[str, Tensor]) -> None:
        self.state.save(tensors, name, step=self.counts.step, counts=encode(self.counts))

    def _restore(self, tensors: dict[str, Tensor]) -> None:
        on_device = {k: v.to(self.config.device) for k, v in tensors.items()}
        self.learner.restore(on_device, self.counts.updates)
        try:
            folder, priority = self.config.out / "replay", tensors["priority"]
            self.replay.load(folder, self.counts.written, priority.numpy())
        except FileNotFoundError as error:
            raise ResumeError(str(error)) from error


def best_tensors(folder: Path) -> tuple[Progress, dict[str, Tensor]]:
    """The networks of a run's best evaluation, and when that was.

    Raises:
        ResumeError: There is none, or it is broken.
    """
    return _kept(folder / "best")


def averaged_tensors(folder: Path) -> tuple[Progress, dict[str, Tensor]]:
    """The running average of a run's networks in its last saved state, and when that was.

    Raises:
        ResumeError: There is none, or it is broken.
    """
    progress, tensors = _kept(folder / "state")
    return progress, of_prefix("target.", tensors)


def _kept(folder: Path) -> tuple[Progress, dict[str, Tensor]]:
    kept = load_state(folder)
    if kept is None:
        raise ResumeError(f"{folder}: nothing was saved there yet")
    return kept
