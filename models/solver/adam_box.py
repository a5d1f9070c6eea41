# SPDX-License-Identifier: MIT
"""Adam inside a box: the method for a value that is to be maximised well in few evaluations.

    m[k+1] = b1 m[k] + (1 - b1) g,   v[k+1] = b2 v[k] + (1 - b2) g^2          (Kingma & Ba 2015)
    a[k+1] = clip(a[k] + lr[k] * m^ / sqrt(v^ + eps), low, high)

with m^, v^ corrected for their zero start. The move depends on the gradient's direction and not on
its scale, so the same learning rate fits values of any size; it falls along a cosine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .method import IterativeMethod, State, advance
from .problem import Problem

_TINY = 1e-16
"""Added to the mean square [gradient squared], so that gradients down to about 1e-7 count whole.
It bounds the derivative of a move by lr / 1e-8 where the gradient is exactly zero."""


@dataclass(frozen=True)
class AdamBox(IterativeMethod):
    """Adam, projected after every move.

    The defaults were chosen for 20 iterations on validation states of
    `benchmarks/support/problems.py`.

    Attributes:
        iterations: Evaluations of value and gradient, K.
        lr: First learning rate [units of action].
        last: Share of `lr` that the last iteration has.
        beta1: Decay of the mean gradient.
        beta2: Decay of the mean square.
    """

    lr: float = 0.5
    last: float = 0.1
    beta1: float = 0.6
    beta2: float = 0.95

    def schedule(self, like: Tensor) -> Tensor:
        """Rows of learning rate and the two corrections."""
        rows = []
        for k in range(self.iterations):
            along = k / max(self.iterations - 1, 1)
            fall = self.last + (1 - self.last) * 0.5 * (1 + math.cos(math.pi * along))
            rows.append(
                (self.lr * fall, 1 / (1 - self.beta1 ** (k + 1)), 1 / (1 - self.beta2 ** (k + 1)))
            )
        return torch.tensor(rows, dtype=like.dtype, device=like.device).view(-1, 3)

    def memory(self, problem: Problem, start: Tensor) -> tuple[Tensor, ...]:
        """Mean gradient and mean square, both zero."""
        return torch.zeros_like(start), torch.zeros_like(start)

    def step(self, problem: Problem, state: State, row: Tensor) -> State:
        """Value and gradient once, then a move along the mean gradient over its size."""
        mean, square = state.memory
        value, gradient = problem.objective_and_gradient(state.actions)
        mean = self.beta1 * mean + (1 - self.beta1) * gradient
        square = self.beta2 * square + (1 - self.beta2) * gradient.square()
        move = row[0] * row[1] * mean / (row[2] * square + _TINY).sqrt()
        return advance(problem, state, value, move, mean, square)
