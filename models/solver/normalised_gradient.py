# SPDX-License-Identifier: MIT
"""Gradient ascent with steps of given length: for values of any scale, and to train through.

    a[k+1] = clip(a[k] + s[k] * g / sqrt(mean(g^2) + eps^2), low, high)

with the mean over a sample's own entries. Where the gradient is large a step's length is s,
whatever the value's scale; where it is small, as at the start of training when the value is zero
everywhere, the step is short and its derivative is at most s / eps. `AdamBox` has no such bound.

The first step was chosen for 6 iterations on validation states of
`benchmarks/support/problems.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .method import IterativeMethod, State, advance
from .problem import Problem


@dataclass(frozen=True)
class NormalisedGradient(IterativeMethod):
    """Projected after every step.

    Attributes:
        iterations: Evaluations of value and gradient, K.
        first: Length of the first step, root mean square over the entries [units of action].
        last: Share of `first` that the last step has; it falls along a cosine.
        eps: Gradient at which a step is 0.7 of its length [value per unit of action].
    """

    first: float = 0.8
    last: float = 0.1
    eps: float = 0.05

    def schedule(self, like: Tensor) -> Tensor:
        """Rows of one step length."""
        rows = []
        for k in range(self.iterations):
            along = k / max(self.iterations - 1, 1)
            fall = self.last + (1 - self.last) * 0.5 * (1 + math.cos(math.pi * along))
            rows.append(self.first * fall)
        return torch.tensor(rows, dtype=like.dtype, device=like.device)[:, None]

    def step(self, problem: Problem, state: State, row: Tensor) -> State:
        """Value and gradient once, then a move along the gradient over its size."""
        value, gradient = problem.objective_and_gradient(state.actions)
        square = gradient.square().mean(dim=(1, 2), keepdim=True)
        return advance(problem, state, value, row[0] * gradient / (square + self.eps**2).sqrt())
