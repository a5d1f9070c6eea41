# SPDX-License-Identifier: MIT
"""The control of DiffTORI: the same layers, starts and dropout, and no optimiser."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..encoders import Encoder, Inputs
from ..network import Network
from ..solver.projected_gradient import Solution


class ResidualHead(nn.Module):
    """Adds a predicted change to the base policy's chunk.

    Whatever DiffTORI gains over this head is the optimiser's; what both gain over the base policy
    comes from the noisy starts.
    """

    iterations = 1

    def __init__(self, network: Network, horizon: int, size: int) -> None:
        super().__init__()
        self.encoder = Encoder(network)
        self.change = nn.Sequential(
            nn.Linear(network.feature + horizon * size, network.hidden),
            nn.ELU(),
            nn.Dropout(network.dropout),
            nn.Linear(network.hidden, network.hidden),
            nn.ELU(),
            nn.Dropout(network.dropout),
            nn.Linear(network.hidden, horizon * size),
        )

    def refine(
        self,
        inputs: Inputs,
        start: Tensor,
        low: Tensor,
        high: Tensor,
        latent: Tensor | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> Solution:
        """The changed chunk, in one iteration; arguments as for `ScoreHead.refine`.

        It has no latent, and no score: both values are NaN.
        """
        del latent
        start = start.clamp(low, high)
        value = start.new_full((len(start),), torch.nan)
        if stop is not None and stop():
            return Solution(start, value, value, 0, start.isfinite().flatten(1).all(dim=1))
        both = torch.cat([self.encoder.encode(inputs), start.flatten(1)], dim=-1)
        actions = start + self.change(both).view_as(start)
        finite = actions.isfinite().flatten(1).all(dim=1)
        return Solution(actions.clamp(low, high), value, value, 1, finite)
