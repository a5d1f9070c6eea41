# SPDX-License-Identifier: MIT
"""Behaviour cloning of action chunks."""

from __future__ import annotations

from torch import Tensor

from difftori_models.contract.network_settings import Network
from difftori_models.networks import Encoder, Inputs
from difftori_models.networks.mlp import perceptron

from .base import Base, Box, Proposed


class BehaviourCloning(Base):
    """Proposes a chunk of H actions from one observation; trained with an L1 loss.

    A small ELU network with dropout: an unregularised one reproduces its demonstrations, and
    refinement then has nothing to learn from.
    """

    def __init__(self, network: Network, horizon: int, size: int) -> None:
        super().__init__()
        self.shape = (horizon, size)
        self.encoder = Encoder(network)
        self.chunk = perceptron(network, network.feature, horizon * size)

    def propose(self, inputs: Inputs, box: Box, noise: Tensor, memory: Tensor) -> Proposed:
        """See `Base.propose`."""
        del box, noise
        return Proposed(self(inputs), memory)

    def loss(self, inputs: Inputs, labels: Tensor, box: Box, real: Tensor) -> Tensor:
        """Mean absolute error per action entry."""
        del box, real
        return (self(inputs) - labels).abs().mean()

    def forward(self, inputs: Inputs) -> Tensor:
        """Proposed unit actions, shape (B, H, A)."""
        return self.chunk(self.encoder.encode(inputs)).unflatten(-1, self.shape)
