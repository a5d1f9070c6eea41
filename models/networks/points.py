# SPDX-License-Identifier: MIT
"""The cloud's encoder: one small network on every point, then the maximum over points."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

POINT_FEATURE = 64
"""Length of the encoded cloud, as in the DP3 encoder (Ze et al. 2024)."""
POOLED = 256
"""Channels over which the maximum over points is taken."""


class PointEncoder(nn.Module):
    """One small network on every point, then the maximum over points: (B, N, C) to (B, 64).

    Layers C-64-128-256 with LayerNorm and ReLU, max-pool, projection with LayerNorm: the encoder
    of DP3 (Ze et al. 2024, section III-B), after PointNet (Qi et al. 2017). The order of the
    points does not matter, and a repeated point changes nothing.

    Only points that win the maximum in some channel have a gradient. In training the winners are
    found first, without a graph, and differentiated alone: the same gradient for about half the
    time.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for narrow, wide in pairwise((channels, 64, 128, POOLED)):
            layers += [nn.Linear(narrow, wide), nn.LayerNorm(wide), nn.ReLU(inplace=True)]
        self.each = nn.Sequential(*layers[:-1])
        self.project = nn.Sequential(nn.Linear(POOLED, POINT_FEATURE), nn.LayerNorm(POINT_FEATURE))

    def forward(self, points: Tensor) -> Tensor:
        """Encoded clouds, shape (B, 64)."""
        # ReLU rises monotonically, so it may come after the maximum.
        if not (self.training and torch.is_grad_enabled()):
            return self.project(self.each(points).amax(dim=1).relu())
        with torch.no_grad():
            winners = self.each(points).argmax(dim=1)
        first = torch.arange(len(points), device=points.device)[:, None] * points.shape[1]
        rows, place = (winners + first).unique(return_inverse=True)
        pooled = self.each(points.flatten(0, 1)[rows])[
            place, torch.arange(POOLED, device=points.device)
        ]
        return self.project(pooled.relu())
