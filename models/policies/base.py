# SPDX-License-Identifier: MIT
"""The base policy: behaviour cloning of action chunks."""

from __future__ import annotations

from torch import Tensor, nn

from ..encoders import Encoder, Inputs
from ..network import Network


class BasePolicy(nn.Module):
    """Proposes a chunk of H actions from one observation; trained with an L1 loss.

    A small ELU network with dropout: an unregularised one reproduces its demonstrations, and
    refinement then has nothing to learn from.
    """

    def __init__(self, network: Network, horizon: int, size: int) -> None:
        super().__init__()
        self.shape = (horizon, size)
        self.encoder = Encoder(network)
        self.chunk = nn.Sequential(
            nn.Linear(network.feature, network.hidden),
            nn.ELU(),
            nn.Dropout(network.dropout),
            nn.Linear(network.hidden, network.hidden),
            nn.ELU(),
            nn.Dropout(network.dropout),
            nn.Linear(network.hidden, horizon * size),
        )

    def forward(self, inputs: Inputs) -> Tensor:
        """Proposed unit actions, shape (B, H, A); not yet projected into the box."""
        return self.chunk(self.encoder.encode(inputs)).unflatten(-1, self.shape)
