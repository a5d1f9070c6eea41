# SPDX-License-Identifier: MIT
"""Sizes of the networks and settings of the solver, as they stand in the card: no torch."""

from __future__ import annotations

from dataclasses import dataclass

from .contract import ObservationSpec
from .features import POINT_SCALE, state_size

METHODS = ("difftori", "residual", "bc")
"""`difftori` climbs a learned score, `residual` is its control, `bc` the base alone."""


@dataclass(frozen=True)
class Network:
    """Sizes from which every weight's shape follows.

    Attributes:
        state: Length of the state vector, D.
        points: Channels of a point: 0 (no cloud), 3 (xyz) or 6 (xyz + rgb).
        point_scale: Length that becomes 1 in the point encoder [m].
        feature: Length of the encoded observation z.
        hidden: Width of the hidden layers.
        dropout: Share of hidden units dropped in training.
        latent: Length of the CVAE latent; 0 for none.
    """

    state: int
    points: int = 0
    point_scale: float = POINT_SCALE
    feature: int = 128
    hidden: int = 256
    dropout: float = 0.2
    latent: int = 0


@dataclass(frozen=True)
class Solver:
    """How the score is climbed, in training and in deployment alike.

    Attributes:
        iterations: Projected gradient steps, K.
        latent: CVAE latent of an episode: `zero` (its prior's mean) or `sample` (drawn once from
            the prior).
    """

    iterations: int = 10
    latent: str = "zero"


def network_for(spec: ObservationSpec, dropout: float, latent: int) -> Network:
    """The network that fits an observation spec."""
    channels = 0 if spec.points is None else (6 if spec.points.color else 3)
    return Network(state=state_size(spec), points=channels, dropout=dropout, latent=latent)
