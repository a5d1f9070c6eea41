# SPDX-License-Identifier: MIT
"""Projected gradient ascent: the optimiser inside the policies of this package.

    a[k+1] = clip(a[k] + s[k] * dvalue/da (a[k]), low, high)

The box is kept by projection outside the objective; a clamp inside it would kill the gradient at
the bound. The step lengths are constants, or learned together with the value function, which then
is an update rule whose K-th iterate is trained to be the expert's action.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .method import IterativeMethod, State, advance
from .problem import Problem


@dataclass(frozen=True)
class ProjectedGradient(IterativeMethod):
    """One step length per iteration.

    Attributes:
        iterations: K.
        steps: Step lengths: one number, or a tensor (K,) that may be learned.
    """

    steps: float | Tensor = 0.1

    def schedule(self, like: Tensor) -> Tensor:
        """Rows of one step length."""
        steps = torch.as_tensor(self.steps, dtype=like.dtype, device=like.device)
        return steps.expand(self.iterations)[:, None]

    def step(self, problem: Problem, state: State, row: Tensor) -> State:
        """Value and gradient once, then a move along the gradient."""
        value, gradient = problem.objective_and_gradient(state.actions)
        return advance(problem, state, value, row[0] * gradient)
