# SPDX-License-Identifier: MIT
"""From a checkpoint's files to networks that are ready to be asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from difftori_models.checkpoint import WEIGHTS, load_card, load_tensors
from difftori_models.checkpoint.errors import CheckpointError
from difftori_models.contract.specs import Card

from .agent import Agent


@dataclass(frozen=True)
class LoadedPolicy:
    """A checkpoint in memory: its card and its networks."""

    card: Card
    agent: Agent


def load_policy(folder: str | Path) -> LoadedPolicy:
    """The checkpoint in `folder` with its networks on the CPU, in evaluation mode.

    Raises:
        CheckpointError: Anything `load_card` or `load_tensors` refuses, and tensors that are
            missing, left over or of another shape than the card's networks have.
    """
    card = load_card(folder)
    tensors = load_tensors(folder, card)
    with torch.random.fork_rng(devices=[]):
        agent = Agent(card)
    wanted = {name: tuple(tensor.shape) for name, tensor in agent.state_dict().items()}
    stored = {name: tensor.shape for name, tensor in tensors.items()}
    problems = [f"missing {name}" for name in wanted if name not in stored]
    problems += [f"unknown {name}" for name in stored if name not in wanted]
    problems += [
        f"{name} has shape {stored[name]} instead of {shape}"
        for name, shape in wanted.items()
        if name in stored and stored[name] != shape
    ]
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise CheckpointError(
            f"{Path(folder) / WEIGHTS}: tensors do not fit the card's network: "
            f"{'; '.join(problems[:5])}{more}"
        )
    agent.load_state_dict(
        {name: torch.from_numpy(array.copy()) for name, array in tensors.items()}
    )
    return LoadedPolicy(card, agent.eval().requires_grad_(False))
