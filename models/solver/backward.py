# SPDX-License-Identifier: MIT
"""Two ways to differentiate a solve. Both give the actions of the plain solve.

| way         | right                              | memory              | time      |
|-------------|------------------------------------|---------------------|-----------|
| `unrolled`  | always                             | all iterations      | + K steps |
| `truncated` | as the last iterations see it      | the last iterations | + last    |

A sample whose numbers are not finite keeps good actions, but makes the gradient of parameters that
it shares with others NaN: leave it out of the loss's batch (`Solution.finite`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .method import Method, solve
from .problem import Problem
from .solution import Solution


def unrolled(problem: Problem, start: Tensor, method: Method) -> Solution:
    """Every iteration in the graph.

    Right: for every method but `MPPI`, which has no derivative, and so for training with few
    iterations, converged or not.
    Wrong: where the solve has no derivative, as when a bound is just met. `AdamBox` divides by the
    gradient's size, so that where it vanishes its derivative is huge: train with
    `ProjectedGradient`, `NormalisedGradient` or `GaussNewton`.
    Costs: the saved tensors of K evaluations and their gradients, and a backward pass of each.
    """
    with torch.enable_grad():
        return solve(problem, start, method)


def truncated(problem: Problem, start: Tensor, method: Method, last: int) -> Solution:
    """The last iterations in the graph, and the iterate they begin from a constant.

    Right: as the derivative of these iterations; near enough to the whole one where an iteration
    forgets its start, which is where the solve converges fast.
    Wrong: where it converges slowly: the part that the earlier iterations had is missing. Nothing
    reaches the start, nor the coefficients of earlier iterations.
    Costs: as `unrolled`, of the last iterations only.
    """
    if last < 0:
        raise ValueError(f"last must not be negative, got {last}")
    with torch.enable_grad():
        return solve(problem, start, method, in_graph=last)
