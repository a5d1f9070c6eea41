# SPDX-License-Identifier: MIT
"""From demonstrations to what the trainer needs: samples, and the card of the checkpoint to be."""

from __future__ import annotations

from dataclasses import asdict

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


class Samples:
    """All samples as normalised tensors on the training device.

    Of every step there is one sample for each delay, from 0 to `config.delay` steps: its clouds
    and images are then those of an earlier step. S samples in all, those without delay first.

    Attributes:
        labels: The expert's chunks in unit actions, shape (S, H, A).
        training: Samples to train on.
        validation: Samples kept out.
    """

    def __init__(self, agent: Agent, demos: Demos, config: TrainConfig) -> None:
        training, validation = demos.split(config.val_fraction, config.seed)
        delays = range(1 + config.delay)
        self.training, self.validation = (
            torch.from_numpy(np.concatenate([steps + k * len(demos) for k in delays])).to(
                config.device
            )
            for steps in (training, validation)
        )
        seen = np.concatenate([demos.before(k) for k in delays])
        self._seen = torch.from_numpy(seen).to(config.device)
        clouds = demos.clouds()
        with torch.no_grad():
            self._inputs = agent.inputs(
                torch.from_numpy(delayed_states(demos, config.delay)).to(config.device),
                None if clouds is None else torch.from_numpy(clouds).to(config.device),
                tuple(torch.from_numpy(rows).to(config.device) for rows in demos.pictures()),
            )
            labels = agent.normaliser.to_unit(torch.from_numpy(demos.chunks()).to(config.device))
            self.labels = labels.repeat(len(delays), 1, 1)

    def at(self, samples: Tensor) -> Inputs:
        """Inputs of some samples."""
        found, seen = self._inputs, self._seen[samples]
        points = None if found.points is None else found.points[seen]
        return Inputs(found.state[samples], points, tuple(image[seen] for image in found.images))


def delayed_states(demos: Demos, delay: int) -> NDArray[np.float32]:
    """State vectors with clouds and images 0 to `delay` steps late, one delay after the other."""
    return np.concatenate([demos.states(k) for k in range(1 + delay)])


def new_card(config: TrainConfig, demos: Demos) -> Card:
    """The card of the checkpoint this run will make; results and hash are still to come."""
    meta = demos.meta
    training, _ = demos.split(config.val_fraction, config.seed)
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
        network=encode(
            network_for(meta.observation, config.dropout, config.latent, config.head_residuals)
        ),
        normaliser={
            **statistics(
                delayed_states(demos, config.delay)[training_samples], demos.actions[training]
            ),
            **summary_statistics(
                meta.observation, demos.poses, demos.points, demos.images, training
            ),
        },
        solver=encode(Solver(config.solver, config.iterations)),
        training={
            "demos_sha256": demos.sha256,
            "demos_command": meta.command,
            "episodes": len(np.unique(demos.episode)),
            "steps": len(demos),
            "settings": settings,
        },
    )
