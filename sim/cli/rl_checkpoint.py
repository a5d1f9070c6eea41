# SPDX-License-Identifier: MIT
"""A run of reinforcement learning becomes a checkpoint: for the ROS node, or for its suite."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from difftori_models.checkpoint import files
from difftori_models.contract.features import state_size
from difftori_models.contract.network_settings import Network
from difftori_models.contract.specs import ActionSpec, Card, ObservationSpec
from difftori_models.contract.strict_json import encode
from difftori_models.networks.normaliser import Statistics
from difftori_models.training.rl.config import RLConfig
from difftori_models.training.rl.losses import solver_of
from difftori_models.training.rl.trainer import Counts, averaged_tensors, best_tensors
from difftori_sim.arm.tasks import find_task
from difftori_sim.suites import open_suite
from difftori_sim.suites.arm_env import STEPS, state_statistics

WIDE = 10.0
"""Outside the simulated arm the networks see states as they are. The card has this as their
spread, so that they are held at a hundred, not at ten, and the first layer's weights make up for
it."""


@dataclass(frozen=True)
class Place:
    """Where a run was: what a card says of its environment.

    `spread` is what the card scales states by and the networks did not; `told` stands in the
    card's `training`.
    """

    task: str
    robot: str
    observation: ObservationSpec
    action: ActionSpec
    normaliser: Statistics
    spread: float
    told: Mapping[str, Any]


def write_checkpoint(config: RLConfig, out: Path) -> Path:
    """The run's networks, those that `config.checkpoint` names, lie in `out`; returns it.

    Raises:
        ValueError: The run saw pictures, which no checkpoint of these methods does.
        ResumeError: Nothing was evaluated yet.
        CheckpointError: The card would be refused.
    """
    if config.obs != "state":
        raise ValueError(f"checkpoints are made of runs seen as state, this is '{config.obs}'")
    chosen = averaged_tensors if config.checkpoint == "average" else best_tensors
    counts, tensors = chosen(config.out)
    kept = {
        f"base.{name}": tensor.numpy().astype(np.float32)
        for name, tensor in tensors.items()
        if name.startswith(("encoder.", "world."))
    }
    place = robot_place(config.task) if config.suite == "robot" else suite_place(config)
    kept["base.encoder.0.weight"] *= place.spread
    files.save(out, card_of(config, counts, place), kept)
    return out


def robot_place(name: str) -> Place:
    """The simulated arm, whose policies drive the node."""
    task = find_task(name)
    scales = state_statistics(task)
    told = {"episode_steps": STEPS}
    return Place(task.name, "panda", task.state, task.action, scales, 1.0, told)


def suite_place(config: RLConfig) -> Place:
    """A task of another suite, whose environment takes the actions."""
    with contextlib.closing(open_suite(config.suite, config.task, config.obs)) as env:
        size, count = state_size(env.observation), len(env.action.names)
        scales = {
            "state": {"mean": (0.0,) * size, "std": (WIDE,) * size},
            "action": {"mean": (0.0,) * count, "std": (1.0,) * count},
        }
        return Place(env.task, env.robot, env.observation, env.action, scales, WIDE, {})


def card_of(config: RLConfig, counts: Counts, place: Place) -> Card:
    """The card of a run's networks."""
    network = Network(
        state=state_size(place.observation),
        feature=config.latent,
        hidden=config.hidden,
        dropout=0.0,
    )
    settings = {k: v for k, v in vars(config).items() if k not in ("out", "name", "device")}
    return Card(
        name=config.label,
        task=place.task,
        robot=place.robot,
        method=config.method,
        observation=place.observation,
        action=replace(place.action, horizon=config.horizon, execute=1),
        network=encode(network),
        normaliser=place.normaliser,
        solver=encode(solver_of(config)),
        training={
            "learned_from": "reward",
            "steps": counts.step,
            "episodes": counts.episode,
            "updates": counts.updates,
            **place.told,
            "seconds": counts.seconds,
            "settings": settings,
        },
    )
