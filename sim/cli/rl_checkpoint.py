# SPDX-License-Identifier: MIT
"""A run of reinforcement learning becomes a checkpoint: for the ROS node, or for its suite."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from difftori_models.checkpoint import files
from difftori_models.contract.features import network_for
from difftori_models.contract.specs import Card
from difftori_models.training.rl.config import RLConfig
from difftori_models.training.rl.losses import solver_of
from difftori_models.training.rl.trainer import averaged_tensors, best_tensors
from difftori_models.training.run_state import Progress
from difftori_sim.suites import ARM
from difftori_sim.suites.env import EnvironmentInfo, StateScaling

WIDE = 10.0
"""Where the networks learned from states as they are, the card has this as their spread: they are
held at a hundred, not at ten, and the first layer's weights make up for it."""


def write_checkpoint(config: RLConfig, info: EnvironmentInfo, out: Path) -> Path:
    """The run's networks, those that `config.checkpoint` names, lie in `out`; returns it.

    Args:
        config: The run's settings.
        info: The environment it learned in.
        out: The checkpoint's folder.

    Raises:
        ValueError: The run saw pictures, which no checkpoint of these methods does.
        ResumeError: Nothing was evaluated yet.
        CheckpointError: The card would be refused.
    """
    if config.obs != "state":
        raise ValueError(f"checkpoints are made of runs seen as state, this is '{config.obs}'")
    chosen = averaged_tensors if config.checkpoint == "average" else best_tensors
    progress, tensors = chosen(config.out)
    kept = {
        f"base.{name}": tensor.numpy().astype(np.float32)
        for name, tensor in tensors.items()
        if name.startswith(("encoder.", "world."))
    }
    if info.scaling is None:
        kept["base.encoder.0.weight"] *= WIDE
    files.save(out, card_of(config, progress, info), kept)
    return out


def card_of(config: RLConfig, progress: Progress, info: EnvironmentInfo) -> Card:
    """The card of a run's networks."""
    network = replace(
        network_for(info.observation), feature=config.latent, hidden=config.hidden, dropout=0.0
    )
    size, actions = network.state, len(info.action.names)
    scaling = info.scaling or StateScaling((0.0,) * size, (WIDE,) * size)
    settings = {k: v for k, v in vars(config).items() if k not in ("out", "name", "device")}
    return Card(
        name=config.label,
        task=info.task,
        robot=info.robot,
        method=config.method,
        observation=info.observation,
        action=replace(info.action, horizon=config.horizon, execute=1),
        network=network,
        normaliser={
            "state": {"mean": scaling.mean, "std": scaling.std},
            "action": {"mean": (0.0,) * actions, "std": (1.0,) * actions},
        },
        solver=solver_of(config),
        training={
            "learned_from": "reward",
            "steps": progress.step,
            "episodes": progress.counts["episode"],
            "updates": progress.counts["updates"],
            **({"episode_steps": info.max_steps} if config.suite == ARM else {}),
            "seconds": progress.seconds,
            "settings": settings,
        },
    )
