# SPDX-License-Identifier: MIT
"""What a card says of a policy that was learned by reinforcement: no torch."""

from __future__ import annotations

from dataclasses import dataclass

from .network_settings import Solver

PLANNERS = ("normalised_gradient", "lm_rank1", "adam_box", "mppi")
"""Methods that maximise the value of a latent trajectory; `mppi` is TD-MPC's."""

TERMINALS = ("soft", "min")
"""How two Q become one at the end of a plan: a soft minimum, or the minimum, as the reference."""


@dataclass(frozen=True)
class WorldSolver(Solver):
    """How plans are made, in training and in deployment alike.

    Attributes:
        method: One of `PLANNERS`.
        step_size: First step length, or every one; see the method.
        damping: Damping of `lm_rank1`.
        ceiling: The value that `lm_rank1` aims at.
        discount: gamma.
        terminal: One of `TERMINALS`.
        encoder: Width of the state encoder's hidden layer.
    """

    method: str = "normalised_gradient"
    iterations: int = 3
    step_size: float = 0.3
    damping: float = 1e-3
    ceiling: float = 1000.0
    discount: float = 0.99
    terminal: str = "soft"
    encoder: int = 256
