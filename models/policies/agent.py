# SPDX-License-Identifier: MIT
"""The whole policy of a checkpoint: normaliser, base policy and, mostly, a head."""

from __future__ import annotations

from torch import Tensor, nn

from ..contract import Card
from ..encoders import Inputs
from ..jsonio import decode, encode
from ..network import METHODS, RL_METHODS, Network, Solver
from ..normaliser import Normaliser
from ..world_network import WorldSolver, solver_kind
from .base import BasePolicy
from .latent import LatentHead, LatentPrior
from .residual import ResidualHead
from .score import ScoreHead


class Agent(nn.Module):
    """What a card describes; its weights are random until they are loaded or trained.

    Attributes:
        normaliser: From physical to unit numbers and back; has no weights.
        base: Proposes chunks.
        head: Refines them; None for `bc`.
        solver: The solver's settings.
    """

    def __init__(self, card: Card) -> None:
        super().__init__()
        if card.method not in METHODS:
            raise ValueError(f"unknown method '{card.method}'; known: {', '.join(METHODS)}")
        self.network: Network = decode(Network, encode(card.network), "network")
        self.solver: Solver = decode(solver_kind(card.method), encode(card.solver), "solver")
        horizon, size = card.action.horizon, len(card.action.names)
        self.normaliser = Normaliser(card.normaliser, card.action, self.network.point_scale)
        self.base: BasePolicy | LatentPrior
        self.head: ScoreHead | ResidualHead | LatentHead | None = None
        if card.method in RL_METHODS:
            assert isinstance(self.solver, WorldSolver)
            self.base = LatentPrior(self.network, horizon, size, self.solver)
            self.head = LatentHead(self.base, self.solver)
            return
        self.base = BasePolicy(self.network, horizon, size)
        if card.method == "difftori":
            self.head = ScoreHead(self.network, horizon, size, self.solver)
        elif card.method == "residual":
            self.head = ResidualHead(self.network, horizon, size)

    def inputs(
        self, state: Tensor, points: Tensor | None, images: tuple[Tensor, ...] = ()
    ) -> Inputs:
        """Normalised inputs of state vectors (B, D) and policy points (B, N, C); images as is."""
        scaled = None if points is None else self.normaliser.points(points)
        return Inputs(self.normaliser.state(state), scaled, images)

    def propose(self, inputs: Inputs) -> Tensor:
        """The base policy's unit actions inside the box, shape (B, H, A); NaN stays NaN."""
        return self.base(inputs).clamp(self.normaliser.low, self.normaliser.high)
