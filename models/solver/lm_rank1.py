# SPDX-License-Identifier: MIT
"""The Levenberg-Marquardt of the DiffTORI reference code, in closed form; for parity only.

The reference hands Theseus one scalar residual r = target - G. Its Jacobian is -g', so J'J = g g'
has rank one, and by the Sherman-Morrison formula the damped Gauss-Newton step

    (g g' + damping I) d = (target - G) g     is     d = (target - G) g / (|g|^2 + damping)

without a matrix. Its imitation code flattens a whole batch into one problem with the residual
mean_b(target - f_b): the batch-coupled mode, in which a sample's step depends on the others.

Actions are clamped inside the objective and nowhere else, so the iterates leave the box, where
their gradient is zero and they stay. This is what loading published settings takes; to maximise a
value take another method.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .method import IterativeMethod, State
from .problem import Problem


@dataclass(frozen=True)
class LMRank1(IterativeMethod):
    """Theseus' iterates for one scalar residual, without Theseus.

    Attributes:
        iterations: K.
        step_size: Factor of every step.
        damping: Added to the diagonal of J'J.
        target: The value that is aimed at. Above it the reference minimises; here a plan stays.
        coupled: One problem for the whole batch, as in the reference's imitation code.
    """

    step_size: float = 1e-3
    damping: float = 1e-3
    target: float = 1000.0
    coupled: bool = False

    def schedule(self, like: Tensor) -> Tensor:
        """Rows of step size and damping."""
        row = torch.tensor([self.step_size, self.damping], dtype=like.dtype, device=like.device)
        return row.expand(self.iterations, 2)

    def init(self, problem: Problem, start: Tensor) -> State:
        """The start as it is, even outside the box."""
        value = start.new_full((len(start),), torch.nan)
        return State(start, value, torch.zeros_like(start))

    def step(self, problem: Problem, state: State, row: Tensor) -> State:
        """One damped step towards the target; nothing is projected."""
        actions = state.actions
        inside = problem.project(actions)
        value, gradient = problem.objective_and_gradient(inside)
        gradient = gradient * (actions == inside)
        residual = self.target - value
        if self.coupled:
            residual, gradient = residual.mean(), gradient / len(actions)
            square = gradient.square().sum()
        else:
            residual = residual[:, None, None]
            square = gradient.square().sum(dim=(1, 2), keepdim=True)
        move = row[0] * residual.clamp(min=0.0) * gradient / (square + row[1])
        return State(actions + move, value, state.moved + move.detach().abs())
