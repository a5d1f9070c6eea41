# SPDX-License-Identifier: MIT
"""DiffTORI's head with latent dynamics: the objective is a sum along a rollout (section 4.3).

    f(z_0, a) = sum_{t<H} gamma^t R(z_t, a_t),     z_{t+1} = d(z_t, a_t)

The paper has this form with H = 1, where d is never used, and the released code has no d at all.
Here H is the length of the chunk. Nothing but the imitation loss, through the solve, teaches d: it
need not foresee anything, only make the right chunk the best one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from difftori_models.contract.network_settings import Network, Solver
from difftori_models.networks.mlp import two_layers
from difftori_models.solver.problem import Problem

from .objective_head import ObjectiveHead

DISCOUNT = 0.99
"""gamma, as in the reference code for reinforcement learning."""


class RolloutHead(ObjectiveHead):
    """Refines the base policy's chunk by maximising its return in a learned latent world."""

    def __init__(self, network: Network, horizon: int, size: int, solver: Solver) -> None:
        super().__init__(network, horizon, size, solver)
        latent = network.feature + network.latent
        self.dynamics = two_layers(latent + size, network.hidden, latent)
        self.R = two_layers(latent + size, network.hidden, 1)

    def problem(
        self, z: Tensor, low: Tensor, high: Tensor, latent: Tensor | None = None
    ) -> Problem:
        """What is maximised; the arguments are those of `ChunkHead.problem`."""
        return self.bound((self.joined(z, latent),), low, high)

    def bound(self, context: tuple[Tensor, ...], low: Tensor, high: Tensor) -> Problem:
        """The problem of a context that `problem` made."""
        return Problem(rollout, low, high, self, context)


def rollout(head: RolloutHead, context: tuple[Tensor, ...], actions: Tensor) -> Tensor:
    """Objective of each chunk (B, H, A), shape (B,)."""
    both = []
    z = context[0]
    for t in range(actions.shape[1]):
        both.append(torch.cat([z, actions[:, t]], dim=-1))
        if t + 1 < actions.shape[1]:
            z = head.dynamics(both[-1])
    # one call for all times
    rewards = head.R(torch.stack(both, dim=1)).squeeze(-1)
    return sum(DISCOUNT**t * rewards[:, t] for t in range(actions.shape[1]))  # type: ignore[return-value]
