# SPDX-License-Identifier: MIT
"""Policies learned by reinforcement: the prior pi proposes, plans in the latent model refine.

The same networks and the same solve as in training (`difftori_models.training.rl`). Proposing and
refining share all their weights, which belong to the prior. Where plans are searched for (`mppi`),
the noise of an episode moves pi's candidates and makes the others.
"""

from __future__ import annotations

from torch import Tensor

from difftori_models.contract.network_settings import Network
from difftori_models.contract.world_model_settings import WorldSolver
from difftori_models.networks import Inputs
from difftori_models.solver.method import Method
from difftori_models.solver.problem import Problem
from difftori_models.world_model.planning import (
    search_draws,
    search_noise,
    world_method,
    world_problem,
)
from difftori_models.world_model.world_model import WorldModel, WorldModelSizes, state_encoder

from .base import Base, Box, Proposed


class LatentPrior(Base):
    """pi, rolled out through the latent dynamics from the encoded state."""

    def __init__(self, network: Network, horizon: int, size: int, solver: WorldSolver) -> None:
        super().__init__()
        self.shape = (horizon, size)
        self.noise = search_noise(solver, horizon, size)
        self.encoder = state_encoder(network.state, solver.encoder, network.feature)
        self.world = WorldModel(WorldModelSizes(size, network.feature, network.hidden))

    def encode(self, inputs: Inputs) -> Tensor:
        """The latent z, shape (B, Z)."""
        return self.encoder(inputs.state)

    def propose(self, inputs: Inputs, box: Box, noise: Tensor, memory: Tensor) -> Proposed:
        """See `Base.propose`."""
        del box
        z = self.encode(inputs)
        draws = None if self.noise == (0,) else search_draws(self.world, z, noise)
        return Proposed(self.world.propose(z, self.shape[0]), memory, draws)


class LatentHead:
    """Refines the prior's actions by climbing the value of the trajectory they lead to.

    Attributes:
        latent: 0: there is no CVAE here.
    """

    latent = 0

    def __init__(self, prior: LatentPrior, solver: WorldSolver) -> None:
        self.encoder, self.solver = prior, solver

    def method(self) -> Method:
        """The method of the card."""
        return world_method(self.solver)

    def problem(
        self, z: Tensor, low: Tensor, high: Tensor, latent: Tensor | None = None
    ) -> Problem:
        """What is climbed from latents (B, Z)."""
        del latent
        return self.bound((z,), low, high)

    def bound(self, context: tuple[Tensor, ...], low: Tensor, high: Tensor) -> Problem:
        """The problem of a context that `problem` made."""
        world = world_problem(self.encoder.world, self.solver, context[0])
        value, gradient = world.objective, world.gradient
        assert gradient is not None
        return Problem(
            lambda params, context, actions: value(params, context[0], actions),
            low,
            high,
            self.encoder.world,
            context,
            gradient=lambda params, context, actions: gradient(params, context[0], actions),
        )
