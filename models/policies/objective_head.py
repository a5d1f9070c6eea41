# SPDX-License-Identifier: MIT
"""DiffTORI's head: a learned objective of action chunks, and the optimiser that maximises it.

The objective f(z, [latent], chunk) is trained through all K iterations of the optimiser so that
maximising it from the base policy's chunk ends at the expert's (DiffTORI, Wan et al. 2024, section
4.3). It is a learned update rule: its value does not rank chunks and says nothing about
confidence.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from difftori_models.contract.network_settings import Network, Solver
from difftori_models.networks import Encoder
from difftori_models.networks.mlp import two_layers
from difftori_models.policies import chunk_objective
from difftori_models.solver.adam_box import AdamBox
from difftori_models.solver.gauss_newton import GaussNewton
from difftori_models.solver.lm_rank1 import LMRank1
from difftori_models.solver.method import Method
from difftori_models.solver.problem import Problem
from difftori_models.solver.projected_gradient import ProjectedGradient

FIRST_STEP = 1.0
"""Step length of every iteration before training [unit actions squared per objective; 1 for
Gauss-Newton]."""
FIRST_DAMPING = 1.0
"""Damping of every Gauss-Newton iteration before training [objective per unit action squared]."""
REFERENCE_STEP, REFERENCE_DAMPING = 3e-5, 0.01
"""Settings of `lm_rank1` in the reference code for imitation."""


class ObjectiveHead(nn.Module):
    """What heads that maximise an objective have in common: encoder, optimiser and CVAE.

    Attributes:
        latent: Length of the CVAE latent, 0 for none.
        log_steps: Logarithm of the learned step length of each iteration, shape (K,); None with
            `adam_box` and `lm_rank1`.
        log_damping: Logarithm of the learned damping of each iteration, shape (K,); `gauss_newton`
            alone.
    """

    def __init__(self, network: Network, horizon: int, size: int, solver: Solver) -> None:
        super().__init__()
        self.latent = network.latent
        self.solver = solver
        self.encoder = Encoder(network)
        self.log_steps = self.log_damping = None
        if solver.method in ("projected_gradient", "gauss_newton"):
            self.log_steps = _per_iteration(solver.iterations, FIRST_STEP)
        if solver.method == "gauss_newton":
            self.log_damping = _per_iteration(solver.iterations, FIRST_DAMPING)
        self.posterior = _posterior(network, horizon * size) if network.latent else None

    def method(self) -> Method:
        """The optimiser, with its learned step lengths and damping."""
        count = self.solver.iterations
        if self.solver.method == "lm_rank1":
            return LMRank1(count, REFERENCE_STEP, REFERENCE_DAMPING)
        if self.log_steps is None:
            return AdamBox(count)
        if self.log_damping is None:
            return ProjectedGradient(count, self.log_steps.exp())
        return GaussNewton(count, self.log_steps.exp(), self.log_damping.exp())

    def joined(self, z: Tensor, latent: Tensor | None) -> Tensor:
        """What was seen, with the latent behind it; a latent of zeros when it is None."""
        if not self.latent:
            return z
        latent = z.new_zeros(len(z), self.latent) if latent is None else latent
        return torch.cat([z, latent], dim=-1)

    def infer(self, z: Tensor, expert: Tensor) -> tuple[Tensor, Tensor]:
        """A latent drawn from the posterior given the expert's chunk, and its KL from N(0, I).

        Returns:
            The latent (B, latent) and KL summed over its entries, shape (B,) [nats].
        """
        if self.posterior is None:
            raise ValueError("this head was built without a CVAE latent")
        both = self.posterior(torch.cat([z, expert.flatten(1)], dim=-1))
        mean, log_variance = both.chunk(2, dim=-1)
        log_variance = log_variance.clamp(-10.0, 10.0)
        kl = 0.5 * (mean**2 + log_variance.exp() - 1.0 - log_variance).sum(dim=-1)
        return mean + torch.randn_like(mean) * (0.5 * log_variance).exp(), kl


class ChunkHead(ObjectiveHead):
    """Refines the base policy's chunk by maximising an objective of the whole chunk from it."""

    def __init__(self, network: Network, horizon: int, size: int, solver: Solver) -> None:
        super().__init__(network, horizon, size, solver)
        self.dropout = network.dropout
        self.first = nn.Linear(network.feature + network.latent, network.hidden)
        self.chunk = nn.Linear(horizon * size, network.hidden, bias=False)
        self.middle = nn.Linear(network.hidden, network.hidden)
        self.out = nn.Linear(network.hidden, max(1, network.residuals), bias=False)

    def problem(
        self, z: Tensor, low: Tensor, high: Tensor, latent: Tensor | None = None
    ) -> Problem:
        """What is maximised for encoded observations, in a box of unit actions.

        Args:
            z: What the head's encoder gave, shape (B, feature).
            low: Lower corner of the box, shape (A,).
            high: Upper corner.
            latent: CVAE latent, shape (B, latent); zero when it is None.
        """
        context = (self.first(self.joined(z, latent)),)
        if self.training and self.dropout > 0:
            # One mask per solve: every iteration maximises the same objective.
            ones = torch.ones_like(context[0])
            context += tuple(functional.dropout(ones, self.dropout) for _ in range(2))
        return self.bound(context, low, high)

    def bound(self, context: chunk_objective.ChunkContext, low: Tensor, high: Tensor) -> Problem:
        """The problem of a context that `problem` made."""
        if self.solver.method != "gauss_newton":
            gradient = chunk_objective.objective_and_gradient
            return Problem(chunk_objective.value, low, high, self, context, gradient=gradient)
        return Problem(
            chunk_objective.least_squares_value,
            low,
            high,
            self,
            context,
            residuals=chunk_objective.residuals,
            linearised=chunk_objective.linearised,
        )


def _per_iteration(count: int, first: float) -> nn.Parameter:
    return nn.Parameter(torch.full((count,), math.log(first)))


def _posterior(network: Network, chunk: int) -> nn.Module:
    return two_layers(network.feature + chunk, network.hidden, 2 * network.latent)
