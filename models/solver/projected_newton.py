# SPDX-License-Identifier: MIT
"""Projected Newton: few, expensive iterations with the exact Hessian in the space of actions.

On the free set, whose variables the box does not stop at once (Bertsekas 1982),

    a[k+1] = clip(a[k] + V (p / max(|w|, |p| / radius))),     p = V' g,     V diag(w) V' = -H

The absolute eigenvalues make d a direction of ascent where the value is not concave (Nocedal &
Wright 2006, section 3.4), and the floor moves no eigenvector by more than `radius`. A few radii
around the one that last served are tried in one batch; the best value wins, or the iterate stays
and the radii shrink. So nothing depends on the scale of the value.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .hessian import hessian, restrict
from .method import Climber, State, advance
from .problem import Problem


@dataclass(frozen=True)
class ProjectedNewton(Climber):
    """One gradient, one Hessian and a few values per iteration.

    The value never falls, but for rounding. In a graph the Hessian counts as constant: its own
    derivative would be a third one of the value. What that leaves out is proportional to the
    gradient on the free set, so the gradient through a converged solve is right, and equals that
    of `backward.implicit`.

    Attributes:
        iterations: K; 3 to 5 are usual.
        radius: First and largest radius [units of action, along an eigenvector].
        trials: The radii that are tried, as shares of the sample's own; the largest first.
    """

    radius: float = 1.0
    trials: tuple[float, ...] = (8.0, 2.0, 0.5, 0.1)

    def schedule(self, like: Tensor) -> Tensor:
        """Rows of nothing: every iteration is alike."""
        return like.new_zeros(self.iterations, 1)

    def memory(self, problem: Problem, start: Tensor) -> tuple[Tensor, ...]:
        """Each sample's radius (B,)."""
        return (start.new_full((len(start),), self.radius),)

    def step(self, problem: Problem, state: State, row: Tensor) -> State:
        """The best of the trial moves and of none."""
        (radius,) = state.memory
        value, gradient = problem.value_and_gradient(state.actions)
        with torch.no_grad():
            free = problem.free(state.actions, gradient)
            w, axes = _eigen(restrict(-hessian(problem, state.actions), free))
            radii = radius[:, None] * torch.tensor(self.trials).to(radius)
        slope = torch.where(free, gradient, 0).flatten(1)
        along = (axes.mT @ slope[:, :, None]).mT
        # A flat direction without slope is divided by something all the same.
        floor = (along.detach().abs() / radii[:, :, None]).clamp(min=torch.finfo(w.dtype).tiny)
        moves = (along / w.abs()[:, None].maximum(floor)) @ axes.mT
        # Rounding would move a blocked variable off its bound: free, from the next iteration on.
        moves = torch.where(free[:, None], moves.unflatten(2, state.actions.shape[1:]), 0)
        with torch.no_grad():
            tried = problem.project(state.actions[:, None] + moves)
            values = problem.tile(len(self.trials)).evaluate(tried.flatten(0, 1)).view_as(radii)
            values = torch.where(values.isfinite(), values, -torch.inf)
            # Rounding neither picks among moves that are alike, nor stops the last ones, whose
            # derivative is that of the solve.
            rounding = 4 * torch.finfo(value.dtype).eps * value.abs()
            best = values.amax(dim=1) - rounding
            which = (values >= best[:, None]).to(torch.uint8).argmax(dim=1, keepdim=True)
            stay = best < value - 2 * rounding
            served = radii.gather(1, which)[:, 0]
            radius = torch.where(stay, radii.amin(dim=1), served).clamp(max=self.radius)
        move = moves.take_along_dim(which[:, :, None, None], dim=1)[:, 0]
        # A move that is not finite is not taken back: it is how the solve knows.
        move = torch.where(stay[:, None, None] & move.isfinite(), 0, move)
        return advance(problem, state, value, move, radius)


def _eigen(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (B, n) and eigenvectors of symmetric matrices; NaN where one is not finite.

    LAPACK raises on such a matrix, so it sees the identity instead; and it sees every matrix
    scaled to one, since squares of large or small entries would overflow or vanish.
    """
    size = matrix.abs().amax(dim=(1, 2), keepdim=True)
    safe = size.isfinite() & (size > 0)
    scaled = torch.where(safe, matrix / size, torch.eye(matrix.shape[1]).to(matrix))
    w, axes = torch.linalg.eigh(scaled)
    size = size[:, 0]
    return torch.where(size.isfinite(), w * size, torch.nan), axes
