# SPDX-License-Identifier: MIT
"""From demonstrations to what the trainer needs: samples, and the card of the checkpoint to be."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..contract import Card
from ..dataset import Demos
from ..encoders import Inputs
from ..jsonio import encode
from ..network import Solver, network_for
from ..normaliser import statistics
from ..policies.agent import Agent
from ..summaries import summary_statistics
from .config import TrainConfig


@dataclass(frozen=True)
class Part:
    """Some episodes.

    Attributes:
        steps: Their steps, shape (T,).
        sequences: The same steps as a policy with memory meets them: every `execute`-th of an
            episode from its first, its second, ... step on; shape (S, L), -1 where one is over.
    """

    steps: Tensor
    sequences: Tensor

    @classmethod
    def of(cls, demos: Demos, steps: NDArray[np.intp], device: str) -> Part:
        """The part that holds these steps, whole episodes."""
        stride = demos.meta.action.execute
        rows = []
        for episode in np.unique(demos.episode[steps]):
            own = steps[demos.episode[steps] == episode]
            rows += [own[first::stride] for first in range(min(stride, len(own)))]
        padded = np.full((len(rows), max(map(len, rows), default=1)), -1)
        for k, row in enumerate(rows):
            padded[k, : len(row)] = row
        return cls(torch.from_numpy(steps).to(device), torch.from_numpy(padded).to(device))

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

    Attributes:
        inputs: Inputs of every step.
        labels: The expert's chunks in unit actions, shape (T, H, A).
        every: All steps.
        training: Steps to train on.
        validation: Steps kept out.
        folds: Two halves of the training episodes.
    """

    def __init__(self, agent: Agent, demos: Demos, config: TrainConfig) -> None:
        training, validation = demos.split(config.val_fraction, config.seed)
        rank = np.searchsorted(np.unique(demos.episode[training]), demos.episode[training])

        def part(steps: NDArray[np.intp]) -> Part:
            return Part.of(demos, steps, config.device)

        self.every = part(np.arange(len(demos)))
        self.training, self.validation = part(training), part(validation)
        self.folds = tuple(part(training[rank % 2 == k]) for k in range(2))
        clouds = demos.clouds()
        with torch.no_grad():
            self.inputs = agent.inputs(
                torch.from_numpy(demos.states()).to(config.device),
                None if clouds is None else torch.from_numpy(clouds).to(config.device),
                tuple(torch.from_numpy(rows).to(config.device) for rows in demos.pictures()),
            )
            self.labels = agent.normaliser.to_unit(
                torch.from_numpy(demos.chunks()).to(config.device)
            )

    def at(self, steps: Tensor) -> Inputs:
        """Inputs of some steps."""
        return self.inputs.at(steps)


def new_card(config: TrainConfig, demos: Demos) -> Card:
    """The card of the checkpoint this run will make; results and hash are still to come."""
    meta = demos.meta
    training, _ = demos.split(config.val_fraction, config.seed)
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
        network=encode(
            network_for(
                meta.observation,
                config.dropout,
                config.latent,
                config.head_residuals,
                config.score,
            )
        ),
        normaliser={
            **statistics(demos.states()[training], demos.actions[training]),
            **summary_statistics(
                meta.observation, demos.poses["tip"], demos.points, demos.images, training
            ),
        },
        solver=encode(
            Solver(
                config.solver,
                config.iterations,
                answer="best" if config.latents > 1 else "last",
                starts=(config.start if config.start in ("zero", "random") else "base",),
                latent="sample" if config.latents else "zero",
                latents=max(1, config.latents),
                sampler=config.sampler,
            )
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
