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

from .method import Climber, State, advance
from .problem import Problem


@dataclass(frozen=True)
class ProjectedGradient(Climber):
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
        value, gradient = problem.value_and_gradient(state.actions)
        return advance(problem, state, value, row[0] * gradient)


@dataclass(frozen=True)
class AdaptiveGradient(Climber):
    """Each sample finds its own step length: longer after success, shorter after failure.

    A trial that lowers the value is taken back by the next one, so the last one is unjudged: wrap
    it in `BestSoFar`. The first step moves the entry with the largest
    gradient by `first`, so the scale of the value does not matter.

    Attributes:
        iterations: Evaluations of value and gradient.
        first: Length of the first step [units of action].
        grow: Factor of the step length after a trial that raised the value.
        shrink: Factor after one that did not.
    """

    first: float = 0.25
    grow: float = 1.6
    shrink: float = 0.4

    def schedule(self, like: Tensor) -> Tensor:
        """Rows of nothing: every iteration is alike."""
        return like.new_zeros(self.iterations, 1)

    def memory(self, problem: Problem, start: Tensor) -> tuple[Tensor, ...]:
        """The best iterate, its value and gradient, and the step length that comes next."""
        worst = start.new_full((len(start),), -torch.inf)
        return start, worst, torch.zeros_like(start), torch.zeros_like(worst)

    def step(self, problem: Problem, state: State, row: Tensor) -> State:
        """Judge the trial, then make the next one from the better of the two."""
        best, best_value, best_gradient, length = state.memory
        value, gradient = problem.value_and_gradient(state.actions)
        better = value > best_value
        largest = gradient.abs().flatten(1).amax(dim=1).clamp(min=torch.finfo(value.dtype).tiny)
        fresh = (self.first / largest).clamp(max=torch.finfo(value.dtype).max)
        grown = torch.where(length > 0, self.grow * length, fresh)
        length = torch.where(better, grown, self.shrink * length)
        wide = better[:, None, None]
        best = torch.where(wide, state.actions, best)
        best_gradient = torch.where(wide, gradient, best_gradient)
        best_value = torch.where(better, value, best_value)
        move = length[:, None, None] * best_gradient
        following = problem.project(best + move)
        moved = state.moved + (move + (gradient - gradient)).detach().abs()
        return State(following, value, moved, (best, best_value, best_gradient, length))
