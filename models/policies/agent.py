# SPDX-License-Identifier: MIT
"""The whole policy of a checkpoint: normaliser, base policy and, mostly, a head."""

from __future__ import annotations

from torch import Tensor, nn

from difftori_models.contract.network_settings import (
    BASES,
    METHODS,
    RL_METHODS,
    Network,
    Solver,
)
from difftori_models.contract.specs import Card
from difftori_models.contract.world_model_settings import WorldSolver
from difftori_models.networks import Inputs
from difftori_models.networks.normaliser import Normaliser
from difftori_models.solver.method import solve

from .base import Base, Box, Proposed
from .bc import BehaviourCloning
from .bc_rnn import RecurrentCloning
from .diffusion import Diffusion
from .ibc import ImplicitCloning
from .objective_head import ChunkHead
from .residual import ResidualHead
from .rollout_objective import RolloutHead
from .world_model_policy import LatentHead, LatentPrior

Head = ChunkHead | RolloutHead | ResidualHead | LatentHead
"""What refines a base policy's chunk."""


class Agent(nn.Module):
    """What a card describes; its weights are random until they are loaded or trained.

    Attributes:
        normaliser: From physical to unit numbers and back; has no weights.
        base: Proposes chunks.
        head: Refines them; None for a base policy alone.
        solver: The solver's settings.
    """

    def __init__(self, card: Card) -> None:
        super().__init__()
        if card.method not in METHODS:
            raise ValueError(f"unknown method '{card.method}'; known: {', '.join(METHODS)}")
        self.network: Network = card.network
        self.solver: Solver = card.solver
        horizon, size = card.action.horizon, len(card.action.names)
        self.normaliser = Normaliser(card.normaliser, card.action, self.network.point_scale)
        self.base: Base
        self.head: Head | None = None
        if card.method in RL_METHODS:
            assert isinstance(self.solver, WorldSolver)
            prior = LatentPrior(self.network, horizon, size, self.solver)
            self.base, self.head = prior, LatentHead(prior, self.solver)
            return
        assert card.base is not None
        self.base = new_base(card.base, self.network, self.solver, horizon, size)
        if card.method == "difftori":
            kind = ChunkHead if self.network.objective == "chunk" else RolloutHead
            self.head = kind(self.network, horizon, size, self.solver)
        elif card.method == "residual":
            self.head = ResidualHead(self.network, horizon, size)

    @property
    def box(self) -> Box:
        """Corners of the unit actions."""
        return self.normaliser.low, self.normaliser.high

    def inputs(
        self, state: Tensor, points: Tensor | None, images: tuple[Tensor, ...] = ()
    ) -> Inputs:
        """Normalised inputs of state vectors (B, D) and policy points (B, N, C); images as is."""
        scaled = None if points is None else self.normaliser.points(points)
        return Inputs(self.normaliser.state(state), scaled, images)

    def propose_step(
        self,
        inputs: Inputs,
        noise: Tensor | None = None,
        memory: Tensor | None = None,
        base: Base | None = None,
    ) -> Proposed:
        """The base policy's unit actions inside the box, and its memory; NaN stays NaN.

        Args:
            inputs: B observations.
            noise: Standard normal numbers, shape (B, *base.noise); all zero when it is None.
            memory: Shape (B, base.memory); None at the start of an episode.
            base: Who is asked instead of the agent's own base policy, in training.
        """
        base = self.base if base is None else base
        count = len(inputs.state)
        noise = inputs.state.new_zeros(count, *base.noise) if noise is None else noise
        memory = inputs.state.new_zeros(count, base.memory) if memory is None else memory
        found = base.propose(inputs, self.box, noise, memory)
        return found._replace(actions=found.actions.clamp(*self.box))

    def propose(
        self, inputs: Inputs, noise: Tensor | None = None, memory: Tensor | None = None
    ) -> Tensor:
        """The base policy's unit actions, shape (B, H, A); see `propose_step`."""
        return self.propose_step(inputs, noise, memory).actions

    def act(self, inputs: Inputs, start: Tensor, latent: Tensor | None = None) -> Tensor:
        """Unit actions (B, H, A) that the head makes of `start`, or `start` itself."""
        if self.head is None:
            return start
        problem = self.head.problem(self.head.encoder.encode(inputs), *self.box, latent)
        return solve(problem, start, self.head.method()).actions


def new_base(kind: str, network: Network, solver: Solver, horizon: int, size: int) -> Base:
    """A base policy with random weights.

    Raises:
        ValueError: There is no such base policy.
    """
    if kind == "bc":
        return BehaviourCloning(network, horizon, size)
    if kind == "bc_rnn":
        return RecurrentCloning(network, horizon, size)
    if kind == "diffusion":
        return Diffusion(network, horizon, size)
    if kind == "ibc":
        return ImplicitCloning(network, horizon, size, solver.sampler)
    raise ValueError(f"unknown base '{kind}'; known: {', '.join(BASES)}")
