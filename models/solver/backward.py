# SPDX-License-Identifier: MIT
"""Four ways to differentiate a solve. All give the actions of the plain solve.

| way              | right                                   | memory               | time      |
|------------------|-----------------------------------------|----------------------|-----------|
| `unrolled`       | always                                  | all iterations       | + K steps |
| `truncated`      | as the last iterations see it           | the last iterations  | + last    |
| `implicit`       | at a converged, strict maximum          | one gradient, n x n  | + Hessian |
| `frozen_hessian` | where curvature and free set stay alike | one gradient, n x n  | + Hessian |

A sample whose numbers are not finite keeps good actions, but makes the gradient of parameters that
it shares with others NaN in all four: leave it out of the loss's batch (`Solution.finite`).

The last two return a + M (g - g'), where g is the gradient of the value at the answer, g' the same
number detached, and M a constant matrix. The value of that is a, and its derivative M dg.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .hessian import hessian, restrict
from .method import Method, solve
from .problem import Problem
from .projected_gradient import ProjectedGradient
from .solution import Solution


@dataclass(frozen=True)
class ImplicitSolution(Solution):
    """A solution, and whether its implicit derivative means anything.

    Attributes:
        concave: Whether the Hessian on the free set is negative definite, shape (B,) of bool.
            The actions of the other samples carry no gradient.
        residual: Largest entry of the gradient on the free set, shape (B,): how far from converged
            [value per unit of action].
    """

    concave: Tensor
    residual: Tensor


def unrolled(problem: Problem, start: Tensor, method: Method) -> Solution:
    """Every iteration in the graph.

    Right: for every method but two, and so for training with few iterations, converged or not.
    Wrong: where the solve has no derivative, as when a bound is just met. `ProjectedNewton` counts
    its Hessian as constant, which is right only where it has converged; `MPPI` has no derivative.
    `AdamBox` and `AdaptiveGradient` divide by the gradient's size, so that where it vanishes their
    derivative is huge: train with `ProjectedGradient` or `GaussNewton`.
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


def implicit(problem: Problem, start: Tensor, method: Method) -> ImplicitSolution:
    """The implicit function theorem on the free set: da = (-H_ff)^-1 dg.

    Right: at a maximum, reached, where H_ff is negative definite and no blocked variable is about
    to come free. It does not matter how it was reached.
    Wrong: short of convergence; `residual` tells. Where H_ff is not negative definite the formula
    means nothing: those samples get no gradient, and `concave` tells. At a kink of the value,
    such as where the smaller of two Q changes, it is wrong and nothing tells.
    Costs: one Hessian and one differentiable gradient, whatever K is.
    """
    found, gradient, matrix = _at_answer(problem, start, method)
    with torch.no_grad():
        factor, failed = torch.linalg.cholesky_ex(matrix)
        concave = found.finite & (failed == 0) & factor.isfinite().all(dim=(1, 2))
        identity = torch.eye(matrix.shape[1], dtype=matrix.dtype, device=matrix.device)
        factor = torch.where(concave[:, None, None], factor, identity)
        inverse = torch.cholesky_solve(identity.expand_as(factor), factor)
        inverse = torch.where(concave[:, None, None], inverse, 0)
    found = _carry(found, gradient, inverse)
    residual = gradient.detach().flatten(1).abs().amax(dim=1)
    return ImplicitSolution(**vars(found), concave=concave, residual=residual)


def frozen_hessian(problem: Problem, start: Tensor, method: ProjectedGradient) -> Solution:
    """K iterations of projected gradient as if the Hessian had been the last one all along.

    On a quadratic with W = -H_ff the iterates' derivative is M[K] dg, where

        M[k+1] = (I - s[k] W) M[k] + s[k] I,  M[0] = 0,   so M[K] = (I - prod_k (I - s[k] W)) W^-1

    which is Landweber's filter of the inverse: directions that K steps do not resolve are damped
    as the iteration damps them, and no eigenvalue of H needs a particular sign.

    Right: exactly, on a quadratic whose free set stays the same.
    Wrong: as far as curvature, free set and the gradient's derivative change on the way. On small
    random nets with K = 20 the cosine with `unrolled` was 0.997 where the value was concave, and
    fell to 0.65 where it was not and the tanh units saturated: compare before relying on it.
    Costs: one Hessian, one differentiable gradient, and K products of n x n matrices. Nothing
    reaches the start or the step lengths, so learned steps are refused.
    """
    if not isinstance(method, ProjectedGradient):
        raise ValueError(
            f"frozen_hessian differentiates ProjectedGradient alone, got {type(method).__name__}"
        )
    steps = method.schedule(start)[:, 0]
    if steps.requires_grad:
        raise ValueError(
            "frozen_hessian gives no gradient to the step lengths, and these require one: detach "
            "them, or use unrolled or truncated"
        )
    found, gradient, matrix = _at_answer(problem, start, method)
    with torch.no_grad():
        usable = found.finite & matrix.isfinite().all(dim=(1, 2))
        matrix = torch.where(usable[:, None, None], matrix, 0)
        identity = torch.eye(matrix.shape[1], dtype=matrix.dtype, device=matrix.device)
        filtered = torch.zeros_like(matrix)
        for step in steps:
            filtered = filtered + step * (identity - matrix @ filtered)
        filtered = torch.where(usable[:, None, None], filtered, 0)
    return _carry(found, gradient, filtered)


def _at_answer(problem: Problem, start: Tensor, method: Method) -> tuple[Solution, Tensor, Tensor]:
    """The plain solution; there, the gradient on the free set, in the graph; and -H_ff."""
    with torch.no_grad():
        found = solve(problem, start, method)
    with torch.enable_grad():
        _, gradient = problem.value_and_gradient(found.actions)
        free = problem.free(found.actions, gradient)
        gradient = torch.where(free, gradient, 0)
    return found, gradient, restrict(-hessian(problem, found.actions), free)


def _carry(found: Solution, gradient: Tensor, matrix: Tensor) -> Solution:
    """The same actions with the derivative `matrix` (B, n, n) times that of `gradient`."""
    with torch.enable_grad():
        change = (gradient - gradient.detach()).flatten(1)
        change = (matrix @ change[:, :, None]).view_as(gradient)
        # Zero where all is well; a sample that is not finite keeps its last good actions.
        change = torch.where(found.finite[:, None, None], change, 0)
        return replace(found, actions=found.actions + change)
