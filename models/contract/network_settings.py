# SPDX-License-Identifier: MIT
"""Sizes of the networks and settings of the solver, as they stand in the card: no torch."""

from __future__ import annotations

from dataclasses import dataclass

BASES = ("bc", "bc_rnn", "ibc", "diffusion")
"""Base policies: behaviour cloning, the same with memory and a mixture of Gaussians, an energy
that is searched, and a denoiser."""

IMITATION = ("difftori", "residual", *BASES)
"""`difftori` maximises a learned objective, `residual` is its control; a base policy alone."""

RL_METHODS = ("difftori_rl", "tdmpc")
"""Learned by reward: `difftori_rl` plans by optimisation, `tdmpc` by sampling."""

METHODS = (*IMITATION, *RL_METHODS)
"""Every method that a card may name."""

SOLVERS = ("projected_gradient", "gauss_newton", "adam_box", "lm_rank1")
"""Methods that maximise a learned objective."""

OBJECTIVES = ("chunk", "dynamics")
"""What an objective is of: the whole chunk at once, or a sum of rewards along a latent rollout."""

SAMPLERS = ("derivative_free", "langevin")
"""How `ibc` finds the action of least energy."""

POINT_SCALE = 0.1
"""Length that becomes 1 in the point encoder [m]."""

MAX_ITERATIONS = 10_000
MAX_RESIDUALS = 1024
MAX_FRAMES = 8
"""Bounds of what a card may ask for."""

STARTS = ("base", "previous", "zero")
"""Where a solve can begin."""

LATENTS = ("zero", "sample")
"""Where the CVAE latent of an episode comes from."""


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
        residuals: Outputs of the head, k: 0 for one objective, more for the objective
            -|r|^2 / 2 over k residuals, which Gauss-Newton maximises.
        objective: One of `OBJECTIVES`.
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
    objective: str = "chunk"


@dataclass(frozen=True)
class Solver:
    """How the objective is maximised, in training and in deployment alike.

    Attributes:
        method: `projected_gradient` with learned step lengths, `gauss_newton` with learned step
            lengths and damping, `adam_box`, or `lm_rank1`, that of the reference code.
        iterations: Iterations of a solve, K.
        start: Where a solve begins: `base`, the base policy's chunk, `previous`, the last plan
            shifted to now with the base policy's actions past its end, or `zero`, the mean action.
        latent: CVAE latent of an episode: `zero` (its prior's mean) or `sample` (drawn once from
            the prior).
        sampler: One of `SAMPLERS`; `ibc` alone.
    """

    method: str = "projected_gradient"
    iterations: int = 10
    start: str = "base"
    latent: str = "zero"
    sampler: str = "derivative_free"
