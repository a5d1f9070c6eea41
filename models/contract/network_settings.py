# SPDX-License-Identifier: MIT
"""Sizes of the networks and settings of the solver, as they stand in the card: no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .features import POINT_SCALE, state_size
from .specs import ObservationSpec
from .strict_json import decode, encode

BASES = ("bc", "bc_rnn", "ibc", "diffusion")
"""Base policies: behaviour cloning, the same with memory and a mixture of Gaussians, an energy
that is searched, and a denoiser."""

IMITATION = ("difftori", "residual", *BASES)
"""`difftori` climbs a learned score, `residual` is its control; a base policy alone."""

RL_METHODS = ("difftori_rl", "tdmpc")
"""Learned by reward: `difftori_rl` plans by optimisation, `tdmpc` by sampling."""

METHODS = (*IMITATION, *RL_METHODS)
"""Every method that a card may name."""

SOLVERS = ("projected_gradient", "gauss_newton", "adam_box", "lm_rank1")
"""Methods that a score head is climbed with."""

SCORES = ("chunk", "dynamics")
"""What a score is of: the whole chunk at once, or a sum of rewards along a latent rollout."""

SAMPLERS = ("derivative_free", "langevin")
"""How `ibc` finds the action of least energy."""

MAX_ITERATIONS = 10_000
MAX_RESIDUALS = 1024
MAX_FRAMES = 8
"""Bounds of what a card may ask for."""

STARTS = ("base", "previous", "noise", "zero", "random")
"""Where a solve can begin."""

FIRST_STARTS = ("base", "previous", "zero", "random")
"""Where the first of several solves can begin."""

START_NOISE = 0.3
"""Spread of the start `noise` [unit actions]; what `difftori train` has by default."""


@dataclass(frozen=True)
class Network:
    """Sizes from which every weight's shape follows.

    Attributes:
        state: Length of the state vector, D.
        points: Channels of a point: 0 (no cloud), 3 (xyz) or 6 (xyz + rgb).
        images: Cameras; each has an encoder of its own.
        frames: Frames that are seen at once.
        point_scale: Length that becomes 1 in the point encoder [m].
        feature: Length of the encoded observation z.
        hidden: Width of the hidden layers.
        dropout: Share of hidden units dropped in training.
        latent: Length of the CVAE latent; 0 for none.
        residuals: Outputs of the score head, k: 0 for one score, more for a score -|r|^2 / 2 over
            k residuals, which Gauss-Newton climbs.
        score: One of `SCORES`.
    """

    state: int
    points: int = 0
    images: int = 0
    frames: int = 1
    point_scale: float = POINT_SCALE
    feature: int = 128
    hidden: int = 256
    dropout: float = 0.2
    latent: int = 0
    residuals: int = 0
    score: str = "chunk"


@dataclass(frozen=True)
class Solver:
    """How the score is climbed, in training and in deployment alike.

    Attributes:
        method: `projected_gradient` with learned step lengths, `gauss_newton` with learned step
            lengths and damping, `adam_box`, or `lm_rank1`, that of the reference code.
        iterations: Iterations of a solve, K.
        answer: `last` iterate, as in training, or the `best` by value. The score of an imitation
            head does not rank chunks, so for it `last` is right.
        starts: Where a solve begins: `base`, the base policy's chunk, `previous`, the last plan
            shifted to now with the base policy's actions past its end, `zero`, the mean action, or
            `random`, noise that is always the same; and besides it perhaps others of these and
            `noise`, the base's chunk plus noise that is always the same.
            With several the best answer by value is taken.
        latent: CVAE latent of an episode: `zero` (its prior's mean) or `sample` (drawn once from
            the prior).
        latents: Latents drawn for an episode; every start is climbed with each.
        sampler: One of `SAMPLERS`; `ibc` alone.
    """

    method: str = "projected_gradient"
    iterations: int = 10
    answer: str = "last"
    starts: tuple[str, ...] = ("base",)
    latent: str = "zero"
    latents: int = 1
    sampler: str = "derivative_free"

    @property
    def rows(self) -> int:
        """Solves side by side per observation."""
        return len(self.starts) * self.latents


def read_network(data: Mapping[str, Any]) -> Network:
    """The card's `network`; one from before there were two kinds of score has the first.

    Raises:
        JsonError: Another entry is missing or unknown, or has another type.
    """
    return decode(Network, {"score": "chunk"} | encode(data), "network")


def read_solver(data: Mapping[str, Any], kind: type[Solver] = Solver) -> Solver:
    """The card's `solver`; one from before there were samplers has the first.

    Raises:
        JsonError: Another entry is missing or unknown, or has another type.
    """
    return decode(kind, {"sampler": "derivative_free"} | encode(data), "solver")


def network_for(
    spec: ObservationSpec,
    dropout: float,
    latent: int,
    residuals: int = 0,
    score: str = "chunk",
) -> Network:
    """The network that fits an observation spec."""
    channels = 0 if spec.points is None else (6 if spec.points.color else 3)
    return Network(
        state=state_size(spec),
        points=channels,
        images=len(spec.images),
        frames=spec.frames,
        dropout=dropout,
        latent=latent,
        residuals=residuals,
        score=score,
    )
