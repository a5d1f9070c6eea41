# SPDX-License-Identifier: MIT
"""Gauss-Newton with damping, for a value that is a sum of squares: value = -|r|^2 / 2.

    a[k+1] = clip(a[k] - step[k] J' (J J' + damping[k] I)^-1 r, low, high),     J = dr/da

with the columns of blocked variables taken out of J (Levenberg 1944; Nocedal & Wright 2006,
section 10.3). J J' is k x k for k residuals; since J' (J J' + c I)^-1 = (J' J + c I)^-1 J', the
n x n matrix of the n = H * A variables is solved with instead where it is the smaller one. A
score with few residuals needs the k x k one, which besides is regular where n > k and c = 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .method import IterativeMethod, State, advance
from .problem import Problem

_TINY = 1e-20
"""Added to the diagonal [as damping], so that a sample all of whose variables are blocked, whose
Jacobian is zero then, has the solution zero instead of none."""


@dataclass(frozen=True)
class GaussNewton(IterativeMethod):
    """Step lengths and dampings may be numbers, or tensors (K,) that are learned.

    There is no line search: with learned coefficients it is an update rule, whose K-th iterate is
    the answer. Every iteration is differentiable, with its Jacobian.

    Attributes:
        iterations: K.
        steps: Share of the step that is taken.
        damping: Added to the diagonal of J J' [square of a residual per square of an action].
        eliminate: Solve by Gauss-Jordan elimination in plain operations instead of a Cholesky
            factorisation, which ONNX does not have.
    """

    steps: float | Tensor = 1.0
    damping: float | Tensor = 1e-3
    eliminate: bool = False

    def schedule(self, like: Tensor) -> Tensor:
        """Rows of step length and damping."""
        columns = (self.steps, self.damping)
        return torch.stack(
            [
                torch.as_tensor(c, dtype=like.dtype, device=like.device).expand(self.iterations)
                for c in columns
            ],
            dim=1,
        )

    def step(self, problem: Problem, state: State, row: Tensor) -> State:
        """Residuals and Jacobian once, then the damped step on the free set."""
        r, jacobian = linearise(problem, state.actions)
        gradient = -(r[:, None] @ jacobian)[:, 0]
        free = problem.free(state.actions, gradient.view_as(state.actions)).flatten(1)
        jacobian = torch.where(free[:, None], jacobian, 0)
        if jacobian.shape[1] <= jacobian.shape[2]:
            dual = self._solve(jacobian @ jacobian.mT, r, row[1])
            move = -(dual[:, None] @ jacobian)[:, 0]
        else:
            move = self._solve(jacobian.mT @ jacobian, torch.where(free, gradient, 0), row[1])
        value = -0.5 * r.square().sum(dim=1)
        return advance(problem, state, value, row[0] * move.view_as(state.actions))

    def _solve(self, matrix: Tensor, right: Tensor, damping: Tensor) -> Tensor:
        """X of (matrix + damping I) x = right, (B, m); a singular matrix is raised by rounding."""
        size = matrix.detach().diagonal(dim1=1, dim2=2).sum(dim=1)
        floor = torch.finfo(matrix.dtype).eps * size + _TINY
        identity = torch.eye(matrix.shape[1], dtype=matrix.dtype, device=matrix.device)
        matrix = matrix + (damping + floor)[:, None, None] * identity
        return _eliminate(matrix, right) if self.eliminate else _cholesky(matrix, right)


def linearise(problem: Problem, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Residuals (B, k) and their Jacobian (B, k, n) at actions (B, H, A).

    By reverse mode, k products for all samples at once. Differentiable where gradients are on.
    """
    if problem.linearised is not None:
        return problem.linearised(problem.params, problem.context, actions)
    residuals = problem.residuals
    if residuals is None:
        raise ValueError(
            "GaussNewton needs the residuals of a least-squares problem, and this problem has "
            "only a value: build it with Problem.least_squares(residuals, ...)"
        )
    r, pull, *_ = torch.func.vjp(lambda a: residuals(problem.params, problem.context, a), actions)
    count = r.shape[1]
    axes = torch.eye(count, dtype=r.dtype, device=r.device)[:, None].expand(count, *r.shape)
    (rows,) = torch.func.vmap(pull)(axes)
    return r, rows.flatten(2).movedim(0, 1)


def _cholesky(matrix: Tensor, right: Tensor) -> Tensor:
    """Solution (B, m) for symmetric positive definite matrices; NaN for others."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    found = torch.cholesky_solve(right[:, :, None], factor)[:, :, 0]
    return torch.where((failed == 0)[:, None], found, torch.nan)


def _eliminate(matrix: Tensor, right: Tensor) -> Tensor:
    """The same without a factorisation; no pivoting, which these matrices do not need."""
    count = matrix.shape[1]
    table = torch.cat([matrix, right[:, :, None]], dim=2)
    for i in range(count):
        pivot = table[:, i : i + 1] / table[:, i : i + 1, i : i + 1]
        here = (torch.arange(count, device=table.device) == i)[:, None]
        table = torch.where(here, pivot, table - table[:, :, i : i + 1] * pivot)
    return table[:, :, count]
