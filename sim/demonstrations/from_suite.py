# SPDX-License-Identifier: MIT
"""Episodes of an expert become a file of demonstrations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from difftori_models.data.demonstrations import Meta, write_demos
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
    kept: list[SuiteEpisode] = []
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
                kept.append(episode)
                bar.update()
            seed += 1
            bar.set_postfix(tried=seed - first_seed, steps=len(episode.actions))
    if len(kept) < episodes:
        raise SuiteError(
            f"only {len(kept)} of {episodes} episodes succeeded in {seed - first_seed} tries"
        )
    write(out, env, kept, noise=noise, command=command)
    return SuiteDemos(
        tried=seed - first_seed,
        written=len(kept),
        steps=sum(len(episode.actions) for episode in kept),
        reward=float(np.mean([episode.reward for episode in kept])),
    )


def write(
    out: Path, env: SuiteEnv, episodes: Sequence[SuiteEpisode], *, noise: float, command: str
) -> None:
    """The episodes lie in `out`, in the format of `difftori_models.data.demonstrations`."""
    lengths = [len(episode.actions) for episode in episodes]
    observations = [observation for episode in episodes for observation in episode.observations]
    info, spec = env.info, env.info.observation
    poses = (*spec.tips, *spec.poses)
    write_demos(
        out,
        episode=np.repeat(np.arange(len(episodes)), lengths),
        seed=np.repeat([episode.seed for episode in episodes], lengths),
        position=np.array([o.position for o in observations]),
        velocity=np.array([o.velocity for o in observations]),
        actions=np.array([a for episode in episodes for a in episode.actions], np.float32),
        poses={name: np.array([o.poses[name] for o in observations]) for name in poses},
        points=np.array([o.points for o in observations]) if spec.points else None,
        images={name: np.array([o.images[name] for o in observations]) for name in spec.images},
        vectors={name: np.array([o.vectors[name] for o in observations]) for name in spec.vectors},
        meta=Meta(info.task, info.robot, noise, spec, info.action, command),
    )
