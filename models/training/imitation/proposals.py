# SPDX-License-Identifier: MIT
"""What a base policy proposes on the demonstrations, each episode from its start."""

from __future__ import annotations

import torch
from torch import Tensor

from difftori_models.policies.agent import Agent
from difftori_models.policies.base import Base

from .data import EpisodeSubset, Samples

PROPOSALS = 8
"""Proposals per step of a base policy that draws quickly: a head meets them all in training."""
EVALUATION_BATCH = 512
"""Steps at once; enough for speed, and little memory."""


@torch.no_grad()
def proposals(
    agent: Agent, base: Base, data: Samples, subset: EpisodeSubset, count: int = 1, seed: int = 0
) -> Tensor:
    """Unit actions inside the box at the steps of `subset`, zero elsewhere, (count, T, H, A).

    Args:
        agent: Whose box holds the actions.
        base: The policy that is asked; it should be in evaluation mode.
        data: The demonstrations.
        subset: The steps.
        count: Proposals per step, of different noise.
        seed: Of the noise.
    """
    draw = torch.Generator().manual_seed(seed)
    actions = data.labels.new_zeros(count, *data.labels.shape)

    def noise(rows: int) -> Tensor:
        return torch.randn(rows, *base.noise, generator=draw).to(data.labels)

    for k in range(count):
        if base.memory:
            for rows in subset.sequences.split(EVALUATION_BATCH):
                memory = None
                for steps in rows.unbind(dim=1):
                    inputs, real = data.at(steps.clamp(min=0)), steps >= 0
                    proposed = agent.propose_step(inputs, noise(len(steps)), memory, base)
                    memory = proposed.memory
                    actions[k, steps[real]] = proposed.actions[real]
        else:
            for steps in subset.steps.split(EVALUATION_BATCH):
                proposed = agent.propose_step(data.at(steps), noise(len(steps)), base=base)
                actions[k, steps] = proposed.actions
    return actions
