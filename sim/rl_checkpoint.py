# SPDX-License-Identifier: MIT
"""A run of reinforcement learning on the simulated arm becomes a checkpoint for the ROS node."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from difftori_models import checkpoint
from difftori_models.contract import Card
from difftori_models.features import state_size
from difftori_models.jsonio import encode
from difftori_models.network import Network
from difftori_models.training.rl.config import RLConfig
from difftori_models.training.rl.losses import solver_of
from difftori_models.training.rl.trainer import Counts, averaged_tensors, best_tensors

from .suites.robot import STEPS, state_statistics
from .tasks import find_task

SUITE = "robot"
"""The suite whose runs can be deployed: its actions are those of an arm."""


def write_checkpoint(config: RLConfig, out: Path, averaged: bool = False) -> Path:
    """The networks of the run's best evaluation lie in `out` as a checkpoint; returns it.

    With `averaged` it is the running average of the networks in the last saved state instead.

    Raises:
        ValueError: The run was not on the simulated arm.
        ResumeError: Nothing was evaluated yet.
        CheckpointError: The card would be refused.
    """
    if config.suite != SUITE:
        raise ValueError(f"only runs of suite '{SUITE}' drive an arm, this is '{config.suite}'")
    counts, tensors = (averaged_tensors if averaged else best_tensors)(config.out)
    kept = {
        f"base.{name}": tensor.numpy().astype(np.float32)
        for name, tensor in tensors.items()
        if name.startswith(("encoder.", "world."))
    }
    checkpoint.save(out, card_of(config, counts), kept)
    return out


def card_of(config: RLConfig, counts: Counts) -> Card:
    """The card of a run's best networks."""
    task = find_task(config.task)
    network = Network(
        state=state_size(task.state),
        feature=config.latent,
        hidden=config.hidden,
        dropout=0.0,
    )
    settings = {k: v for k, v in vars(config).items() if k not in ("out", "name", "device")}
    return Card(
        name=config.label,
        task=task.name,
        robot="panda",
        method=config.method,
        observation=task.state,
        action=replace(task.action, horizon=config.horizon, execute=1),
        network=encode(network),
        normaliser=state_statistics(task),
        solver=encode(solver_of(config)),
        training={
            "learned_from": "reward",
            "steps": counts.step,
            "episodes": counts.episode,
            "updates": counts.updates,
            "episode_steps": STEPS,
            "seconds": counts.seconds,
            "settings": settings,
        },
    )
