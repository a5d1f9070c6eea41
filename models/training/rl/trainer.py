# SPDX-License-Identifier: MIT
"""A run: episodes, then as many updates as there were steps, as in TD-MPC.

The state is saved between two episodes. Every random draw is a function of the run's seed and of
what is drawn for, so a run that was killed goes on from its last state with the same numbers.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from difftori_models.contract.strict_json import decode, dumps, loads
from difftori_models.training.run_state import (
    Progress,
    ResumeError,
    difference,
    draw_seed,
    load_state,
    save_state,
    sole_writer,
)
from difftori_models.training.validation import DivergedError

from .config import RLConfig
from .environment import Environment, require_fit
from .learner import Learner
from .log import Log
from .replay import Recorded, Replay

TRAIN_SEEDS = 100_000
"""Episodes of training have seeds below this."""
FIRST_EVALUATION = 100_000
"""Seed of the first episode of an evaluation: they belong to validation."""


@dataclass(frozen=True)
class Counts:
    """How far a run is.

    Attributes:
        step: Steps done.
        episode: Episodes done.
        updates: Updates done.
        written: Rows of the replay that were ever written.
        seconds: Time the run has taken [s].
        best: Highest success or return of an evaluation; None before the first.
    """

    step: int = 0
    episode: int = 0
    updates: int = 0
    written: int = 0
    seconds: float = 0.0
    best: tuple[float, float] | None = None


class RLTrainer:
    """One run in an environment.

    Attributes:
        learner: The networks.
        log: What was told, once it runs.
        counts: How far the run is.
    """

    def __init__(self, config: RLConfig, env: Environment) -> None:
        """Begin, or go on with what is in `config.out`.

        Raises:
            ValueError: The environment does not fit.
            ResumeError: The directory holds a run with other settings, or a broken one.
        """
        require_fit(env)
        torch.set_num_threads(config.threads)
        self.config, self._env, self._folder = config, env, config.out
        observation, action = env.observation_space.shape, env.action_space.shape[0]
        torch.manual_seed(draw_seed(config.seed, "weights", 0))
        self.learner = Learner(config, observation, action)
        self.replay = Replay(config.capacity, observation, action)
        # A run may be given another name, more steps than it was begun with, another end.
        free = ("out", "name", "steps", "checkpoint")
        given = {k: str(v) for k, v in asdict(config).items() if k not in free}
        self._settings = dumps(given)
        self._resume()
        self._began = time.monotonic() - self.counts.seconds

    def run(self) -> None:
        """Learn until all steps are done.

        Raises:
            ResumeError: Another process is learning there.
        """
        with sole_writer(self._folder):
            self._run()

    def _run(self) -> None:
        config = self.config
        self.log = Log(self._folder, self.counts.step)
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
            self.log.add(row)
            after = self.counts.step
            bar.update(after - before)
            shown = {k: f"{row[k]:.3g}" for k in ("return", "reward", "value", "pg") if k in row}
            bar.set_postfix(shown, refresh=False)
            last = after >= config.steps
            if last or after // config.eval_every > before // config.eval_every:
                self.log.add(self._evaluate())
            if last or after // config.save_every > before // config.save_every:
                self._save()
        bar.close()
        self.log.close()

    def _episode(self) -> dict[str, Any]:
        """One episode and its updates; returns the row that tells of it."""
        config, learner, counts = self.config, self.learner, self.counts
        began = time.monotonic()
        seed = draw_seed(config.seed, "episode", counts.episode) % TRAIN_SEEDS
        episode, success = self._play(seed, counts.step)
        self.replay.add(episode)
        steps = len(episode.actions)
        after = counts.step + steps
        row: dict[str, Any] = {
            "kind": "train",
            "step": after,
            "env_step": after * self._env.action_repeat,
            "episode": counts.episode,
            "return": float(episode.rewards.sum()),
            "length": steps,
        }
        if success is not None:
            row["success"] = float(success)
        played = time.monotonic()
        told: list[dict[str, float]] = []
        due = after // config.update_every if after >= config.seed_steps else 0
        if due:
            told = [self._update(k, after) for k in range(learner.updates, due)]
            torch.manual_seed(draw_seed(config.seed, "on policy", counts.episode))
            row |= learner.update_on_episode(episode.observations[:-1], after)
        for name in sorted({name for one in told for name in one}):
            row[name] = float(np.mean([one[name] for one in told if name in one]))
        row["steps_per_s"] = round(steps / (time.monotonic() - began), 2)
        row["play_s"] = round(played - began, 3)
        row["seconds"] = round(time.monotonic() - self._began, 2)
        self.counts = Counts(
            after,
            counts.episode + 1,
            learner.updates,
            self.replay.written,
            row["seconds"],
            counts.best,
        )
        return row

    def _update(self, k: int, step: int) -> dict[str, float]:
        config = self.config
        seed = draw_seed(config.seed, "update", k)
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        batch = self.replay.sample(config.batch, config.horizon, rng)
        priorities, told = self.learner.update(batch, step)
        wrong = [name for name, value in told.items() if not math.isfinite(value)]
        if wrong:
            raise DivergedError(
                f"{', '.join(wrong)} of update {k + 1} is no finite number: the run has diverged; "
                f"a smaller lr than {config.lr:g} may help"
            )
        self.replay.update(batch.rows, priorities)
        return told

    def _play(self, seed: int, step: int, explore: bool = True) -> tuple[Recorded, bool | None]:
        """The episode of `seed`, and whether it ever succeeded where the environment says so."""
        env, config = self._env, self.config
        seen, info = env.reset(seed=seed)
        self.learner.begin_episode()
        observations: list[NDArray] = [seen]
        actions: list[NDArray[np.float32]] = []
        rewards: list[float] = []
        ended = terminated = False
        success: bool | None = None
        purpose = "act" if explore else "evaluate"
        while not ended:
            # Where the draws of an evaluation come from does not depend on when it is.
            now = step + len(actions)
            draw = draw_seed(config.seed, purpose, now if explore else len(actions))
            torch.manual_seed(draw)
            if explore and now < config.seed_steps:
                a = np.random.default_rng(draw).uniform(-1.0, 1.0, env.action_space.shape)
                a = a.astype(np.float32)
            else:
                a = self.learner.act(seen, now, explore)
            seen, reward, terminated, truncated, info = env.step(a)
            observations.append(seen)
            actions.append(a)
            rewards.append(reward)
            ended = terminated or truncated
            if "success" in info:
                success = bool(success) or bool(info["success"])
        recorded = Recorded(
            np.stack(observations), np.stack(actions), np.array(rewards, np.float32), terminated
        )
        return recorded, success

    def _evaluate(self) -> dict[str, Any]:
        """Episodes without noise; the weights of the best evaluation are kept."""
        config, counts = self.config, self.counts
        returns, successes = [], []
        for k in range(config.eval_episodes):
            episode, success = self._play(FIRST_EVALUATION + k, counts.step, explore=False)
            returns.append(float(episode.rewards.sum()))
            successes += [] if success is None else [float(success)]
        row: dict[str, Any] = {
            "kind": "eval",
            "step": counts.step,
            "env_step": counts.step * self._env.action_repeat,
            "return": float(np.mean(returns)),
            "return_std": float(np.std(returns)),
            "episodes": len(returns),
            "seconds": round(time.monotonic() - self._began, 2),
        }
        if successes:
            row["success"] = float(np.mean(successes))
        score = (row.get("success", 0.0), row["return"])
        if counts.best is None or score >= tuple(counts.best):
            self.counts = Counts(**{**counts.__dict__, "best": score})
            best = {k: v.clone() for k, v in self.learner.model.state_dict().items()}
            save_state(self._folder / "best", self._progress(), best)
        return row

    def _progress(self) -> Progress:
        return Progress("rl", self.counts.step, None, self._settings, "", dumps(self.counts))

    def _save(self) -> None:
        counts = self.counts
        replay = self._folder / "replay"
        self.replay.save(replay, self._saved)
        rows = min(counts.written, self.replay.capacity)
        tensors = self.learner.state()
        tensors["priority"] = torch.from_numpy(self.replay.priority[:rows].copy())
        save_state(self._folder / "state", self._progress(), tensors)
        self._saved = counts.written
        self.replay.tidy(replay)

    def _resume(self) -> None:
        self.counts, self._saved = Counts(), 0
        found = load_state(self._folder / "state")
        if found is None:
            return
        progress, tensors = found
        if progress.config != self._settings:
            raise ResumeError(
                f"{self._folder} holds a run with other settings "
                f"({difference(progress.config, self._settings)}); choose another out"
            )
        self.counts = decode(Counts, loads(progress.counts))
        self._saved = self.counts.written
        on_device = {k: v.to(self.config.device) for k, v in tensors.items()}
        priority: Tensor = tensors["priority"]
        self.learner.restore(on_device, self.counts.updates)
        try:
            self.replay.load(self._folder / "replay", self._saved, priority.numpy())
        except FileNotFoundError as error:
            raise ResumeError(str(error)) from error


def best_tensors(folder: Path) -> tuple[Counts, dict[str, Tensor]]:
    """The networks of a run's best evaluation, and when that was.

    Raises:
        ResumeError: There is none, or it is broken.
    """
    return _kept(folder / "best")


def averaged_tensors(folder: Path) -> tuple[Counts, dict[str, Tensor]]:
    """The running average of a run's networks in its last saved state, and when that was.

    Raises:
        ResumeError: There is none, or it is broken.
    """
    counts, tensors = _kept(folder / "state")
    return counts, {k[len("target.") :]: v for k, v in tensors.items() if k.startswith("target.")}


def _kept(folder: Path) -> tuple[Counts, dict[str, Tensor]]:
    found = load_state(folder)
    if found is None:
        raise ResumeError(f"{folder}: nothing was saved there yet")
    progress, tensors = found
    return decode(Counts, loads(progress.counts)), tensors
