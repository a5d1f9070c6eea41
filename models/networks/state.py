# SPDX-License-Identifier: MIT
"""The state vector's encoder, a small perceptron."""

from __future__ import annotations

from torch import nn


class StateEncoder(nn.Sequential):
    """Two layers with LayerNorm, ELU and dropout: (B, D) becomes (B, feature)."""

    def __init__(self, size: int, hidden: int, feature: int, dropout: float) -> None:
        super().__init__(
            nn.Linear(size, hidden),
            nn.LayerNorm(hidden),
            nn.ELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, feature),
            nn.LayerNorm(feature),
            nn.ELU(),
            nn.Dropout(dropout),
        )
