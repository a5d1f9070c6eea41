# SPDX-License-Identifier: MIT
"""From demonstrations to what the trainer needs: samples, and the card of the checkpoint to be."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import torch
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

    Attributes:
        inputs: Inputs of every step.
        labels: The expert's chunks in unit actions, shape (T, H, A).
        training: Steps to train on.
        validation: Steps kept out.
    """

    def __init__(self, agent: Agent, demos: Demos, config: TrainConfig) -> None:
        training, validation = demos.split(config.val_fraction, config.seed)
        self.training = torch.from_numpy(training).to(config.device)
        self.validation = torch.from_numpy(validation).to(config.device)
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
            network_for(meta.observation, config.dropout, config.latent, config.head_residuals)
        ),
        normaliser={
            **statistics(demos.states()[training], demos.actions[training]),
            **summary_statistics(
                meta.observation, demos.poses.get("tip"), demos.points, demos.images, training
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
