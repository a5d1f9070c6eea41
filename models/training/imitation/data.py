# SPDX-License-Identifier: MIT
"""From demonstrations to what the trainer needs: samples, and the card of the checkpoint to be."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from difftori_models.contract.features import network_for
from difftori_models.contract.input_statistics import summary_statistics
from difftori_models.contract.network_settings import Solver
from difftori_models.contract.specs import Card
from difftori_models.data import (
    Demos,
    action_chunks,
    camera_images,
    earlier_steps,
    point_clouds,
    split_episodes,
    state_vectors,
)
from difftori_models.networks import Inputs
from difftori_models.networks.normaliser import statistics
from difftori_models.policies.agent import Agent

from .config import TrainConfig


@dataclass(frozen=True)
class EpisodeSubset:
    """Some episodes.

    Attributes:
        steps: Their samples, shape (S,).
        sequences: The same samples as a policy with memory meets them: every `execute`-th of an
            episode from its first, its second, ... step on; shape (S, L), -1 where one is over.
    """

    steps: Tensor
    sequences: Tensor

    @classmethod
    def of(cls, demos: Demos, steps: NDArray[np.intp], delay: int, device: str) -> EpisodeSubset:
        """The subset that holds these steps, whole episodes, with 0 to `delay` steps of delay."""
        stride = demos.meta.action.execute
        rows = []
        for episode in np.unique(demos.episode[steps]):
            own = steps[demos.episode[steps] == episode]
            rows += [own[first::stride] for first in range(min(stride, len(own)))]
        padded = np.full((len(rows), max(map(len, rows), default=1)), -1)
        for k, row in enumerate(rows):
            padded[k, : len(row)] = row
        every = np.concatenate([steps + k * len(demos) for k in range(1 + delay)])
        sequences = np.concatenate(
            [np.where(padded < 0, -1, padded + k * len(demos)) for k in range(1 + delay)]
        )
        return cls(torch.from_numpy(every).to(device), torch.from_numpy(sequences).to(device))

    def draw(self, count: int, sequences: bool) -> tuple[Tensor, Tensor]:
        """Random steps, and which are real; both of shape (count, 1), or (sequences, L).

        There are as many sequences as come nearest to `count` steps, but four at least.
        """
        if not sequences:
            chosen = torch.randint(len(self.steps), (count,)).to(self.steps.device)
            steps = self.steps[chosen][:, None]
            return steps, torch.ones_like(steps, dtype=torch.bool)
        rows = len(self.sequences)
        count = max(4, round(count * rows / len(self.steps)))
        steps = self.sequences[torch.randint(rows, (count,)).to(self.steps.device)]
        longest = int((steps >= 0).sum(dim=1).max())
        steps = steps[:, :longest]
        return steps.clamp(min=0), steps >= 0


class Samples:
    """All samples as normalised tensors on the training device.

    Of every step there is one sample for each delay, from 0 to `config.delay` steps: its clouds
    and images are then those of an earlier step. S samples in all, those without delay first.

    Attributes:
        labels: The expert's chunks in unit actions, shape (S, H, A).
        every: All samples.
        training: Samples to train on.
        validation: Samples kept out.
    """

    def __init__(
        self, agent: Agent, demos: Demos, states: NDArray[np.float32], config: TrainConfig
    ) -> None:
        """Samples of the demonstrations, whose `delayed_states` are `states`."""
        training, validation = split_episodes(demos, config.val_fraction, config.seed)

        def subset(steps: NDArray[np.intp]) -> EpisodeSubset:
            return EpisodeSubset.of(demos, steps, config.delay, config.device)

        self.every = subset(np.arange(len(demos)))
        self.training, self.validation = subset(training), subset(validation)
        earlier = np.concatenate([earlier_steps(demos, k) for k in range(1 + config.delay)])
        self._seen_at = torch.from_numpy(earlier).to(config.device)
        clouds = point_clouds(demos)
        with torch.no_grad():
            self._inputs = agent.inputs(
                torch.from_numpy(states).to(config.device),
                None if clouds is None else torch.from_numpy(clouds).to(config.device),
                tuple(torch.from_numpy(rows).to(config.device) for rows in camera_images(demos)),
            )
            chunks = torch.from_numpy(action_chunks(demos)).to(config.device)
            labels = agent.normaliser.to_unit(chunks)
            self.labels = labels.repeat(1 + config.delay, 1, 1)

    def at(self, samples: Tensor) -> Inputs:
        """Inputs of some samples."""
        every, seen_at = self._inputs, self._seen_at[samples]
        points = None if every.points is None else every.points[seen_at]
        images = tuple(image[seen_at] for image in every.images)
        return Inputs(every.state[samples], points, images)


def delayed_states(demos: Demos, delay: int) -> NDArray[np.float32]:
    """State vectors with clouds and images 0 to `delay` steps late, one delay after the other."""
    return np.concatenate([state_vectors(demos, k) for k in range(1 + delay)])


def new_card(config: TrainConfig, demos: Demos, states: NDArray[np.float32]) -> Card:
    """The card of the checkpoint this run will make; results and hash are still to come.

    Args:
        config: Settings of the run.
        demos: The demonstrations.
        states: Their `delayed_states`.
    """
    meta = demos.meta
    training, _ = split_episodes(demos, config.val_fraction, config.seed)
    training_samples = np.concatenate([training + k * len(demos) for k in range(1 + config.delay)])
    settings = {
        k: v for k, v in asdict(config).items() if k not in ("demos", "out", "name", "device")
    }
    return Card(
        name=config.name,
        task=meta.task,
        robot=meta.robot,
        method=config.method,
        observation=meta.observation,
        action=meta.action,
        network=replace(
            network_for(meta.observation),
            dropout=config.dropout,
            latent=config.latent,
            residuals=config.head_residuals,
            objective=config.score,
        ),
        normaliser={
            **statistics(states[training_samples], demos.actions[training]),
            **summary_statistics(
                meta.observation, demos.poses, demos.points, demos.images, training
            ),
        },
        solver=Solver(
            config.solver,
            config.iterations,
            start="zero" if config.start == "zero" else "base",
            latent="sample" if config.draw_latent else "zero",
            sampler=config.sampler,
        ),
        base=config.below,
        training={
            "demos_sha256": demos.sha256,
            "demos_command": meta.command,
            "episodes": len(np.unique(demos.episode)),
            "steps": len(demos),
            "settings": settings,
        },
    )
