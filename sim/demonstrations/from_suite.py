# SPDX-License-Identifier: MIT
"""Episodes of an expert become a file of demonstrations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from difftori_models.data import DemoEpisode, Demos, Meta, write_demos
from difftori_sim.arm.tasks import TRAIN_SEEDS
from difftori_sim.suites.env import SuiteEnv, SuiteEpisode, SuiteError

TRIES = 5
"""Episodes tried at most, as a multiple of those wanted."""


@dataclass(frozen=True)
class SuiteDemos:
    """How many episodes were tried, and what was written.

    Attributes:
        tried: Episodes begun.
        written: Episodes in the file.
        steps: Steps in the file.
        reward: Mean reward sum of the episodes in the file.
    """

    tried: int
    written: int
    steps: int
    reward: float


def record_suite(
    env: SuiteEnv,
    demonstrate: Callable[[int], SuiteEpisode],
    out: Path,
    *,
    episodes: int,
    first_seed: int,
    noise: float,
    command: str,
) -> SuiteDemos:
    """Write `episodes` episodes to `out`; where there is success, successful ones.

    Args:
        env: The environment that is demonstrated in.
        demonstrate: From a seed to an episode.
        out: The `.npz` file.
        episodes: How many.
        first_seed: First seed tried; they go up from here.
        noise: What stands in the file as the noise on executed actions.
        command: What stands in the file as the command that made it.

    Raises:
        ValueError: A seed is not for training, or nothing is to be recorded.
        SuiteError: Too few episodes succeeded; the message says how many.
    """
    if episodes < 1:
        raise ValueError(f"wanted at least one episode, got {episodes}")
    kept: list[DemoEpisode] = []
    rewards: list[float] = []
    seed = first_seed
    with tqdm(
        total=episodes, desc=f"collect {env.info.task}", unit="episode", disable=None
    ) as bar:
        while len(kept) < episodes and seed < first_seed + TRIES * episodes:
            if seed not in TRAIN_SEEDS:
                raise ValueError(
                    f"seed {seed} is not a training seed "
                    f"({TRAIN_SEEDS.start} to {TRAIN_SEEDS.stop - 1})"
                )
            episode = demonstrate(seed)
            if episode.success is not False and episode.actions:
                kept.append(DemoEpisode(seed, episode.observations, episode.actions))
                rewards.append(episode.reward)
                bar.update()
            seed += 1
            bar.set_postfix(tried=seed - first_seed, steps=len(episode.actions))
    if len(kept) < episodes:
        raise SuiteError(
            f"only {len(kept)} of {episodes} episodes succeeded in {seed - first_seed} tries"
        )
    info = env.info
    meta = Meta(info.task, info.robot, noise, info.observation, info.action, command)
    demos = Demos.from_episodes(meta, kept)
    write_demos(out, demos)
    return SuiteDemos(
        tried=seed - first_seed,
        written=len(kept),
        steps=len(demos),
        reward=float(np.mean(rewards)),
    )
