# SPDX-License-Identifier: MIT
"""Demonstrations of a scripted expert that drives the simulated arm."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

import numpy as np
from tqdm import tqdm

from difftori_models.contract.network_settings import Network, Solver
from difftori_models.contract.specs import Card, Observation, Plan, PlanStatus
from difftori_models.data import DemoEpisode, Demos, Meta, write_demos
from difftori_ros.robot.profile import load_profile
from difftori_sim.arm.direct_loop import DirectLoop
from difftori_sim.arm.experts import expert
from difftori_sim.arm.tasks import TRAIN_SEEDS, Task
from difftori_sim.arm.world import World

_TRAINING = f"{TRAIN_SEEDS.start} to {TRAIN_SEEDS.stop - 1}"


class NoisyExpert:
    """A planner that executes the expert's actions plus noise and remembers the clean ones.

    Noise on what is executed, none on the label: the demonstrations show recovery (Laskey et al.,
    "DART", CoRL 2017).
    """

    def __init__(self, task: Task, card: Card, noise: float):
        self.card, self._noise = card, noise
        self._expert = expert(task.name)
        self._rng = np.random.default_rng(0)
        self.clean: list[np.ndarray] = []

    def reset(self, seed: int) -> None:
        """Start a new episode."""
        self._rng = np.random.default_rng(seed)
        self.clean = []

    def plan(self, observation: Observation, deadline_s: float | None = None) -> Plan:
        """The expert's chunk in physical units, with noise on every displacement."""
        spec = self.card.action
        chunk = self._expert(observation, spec)
        self.clean.append(chunk[0].astype(np.float32))
        noisy = chunk.copy()
        noisy[:, :-1] += self._noise * self._rng.standard_normal(noisy[:, :-1].shape)
        actions = np.clip(noisy, spec.low, spec.high) * np.array(spec.scale)
        return Plan(observation.stamp_ns, actions, 0.0, 0.0, 0, 0.0, PlanStatus.BASE)


def expert_card(task: Task, variant: str, robot: str) -> Card:
    """The card of demonstrations of `task`: every pose, and what else the variant shows."""
    spec = task.observation(variant)
    observation = dataclasses.replace(task.state, points=spec.points, images=spec.images)
    return Card(
        name=f"{task.name} expert",
        task=task.name,
        robot=robot,
        method="expert",
        observation=observation,
        action=task.action,
        network=Network(state=0),
        normaliser={},
        solver=Solver(),
        training={},
    )


def record(
    task: Task,
    variant: str,
    out: Path,
    *,
    episodes: int,
    noise: float = 0.15,
    first_seed: int = TRAIN_SEEDS.start,
    robot: str = "panda",
) -> tuple[int, int]:
    """Write `episodes` successful episodes to `out` and return (written, tried).

    Args:
        task: What is demonstrated.
        variant: `state`, `points` or `rgb`.
        out: The `.npz` file.
        episodes: Successful episodes to write; unsuccessful ones are left out.
        noise: Standard deviation of the noise on executed actions [network units].
        first_seed: First seed tried; they go up from here.
        robot: Robot profile.

    Raises:
        ValueError: A seed is not for training, there is no such variant, or nothing to record.
        RuntimeError: Too few episodes succeeded.
    """
    if episodes < 1:
        raise ValueError(f"wanted at least one episode, got {episodes}")
    if first_seed not in TRAIN_SEEDS:
        raise ValueError(f"seed {first_seed} is not a training seed ({_TRAINING})")
    profile = load_profile(robot)
    card = expert_card(task, variant, robot)
    expert = NoisyExpert(task, card, noise)
    kept: list[DemoEpisode] = []
    seed = first_seed
    with (
        contextlib.closing(World(task, profile)) as world,
        tqdm(total=episodes, desc=f"record {task.name} {variant}", unit="episode") as bar,
    ):
        loop = DirectLoop(world, profile, card.observation, expert, execute=1)
        while len(kept) < episodes and seed < first_seed + 5 * episodes:
            if seed not in TRAIN_SEEDS:
                raise ValueError(f"seed {seed} is not a training seed ({_TRAINING})")
            episode = loop.run(seed, task.max_steps)
            if episode.success:
                observations = [step.observation for step in episode.steps]
                kept.append(DemoEpisode(seed, observations, expert.clean[: len(observations)]))
                bar.update()
            seed += 1
            bar.set_postfix(tried=seed - first_seed, steps=len(episode.steps))
    if len(kept) < episodes:
        raise RuntimeError(
            f"only {len(kept)} of {episodes} episodes succeeded in {seed - first_seed} tries"
        )
    meta = Meta(
        task=task.name,
        robot=robot,
        noise=noise,
        observation=task.observation(variant),
        action=task.action,
        command=f"difftori demos record --task {task.name} --obs {variant} "
        f"--episodes {episodes} --noise {noise} --first-seed {first_seed}",
    )
    write_demos(out, Demos.from_episodes(meta, kept))
    return len(kept), seed - first_seed
