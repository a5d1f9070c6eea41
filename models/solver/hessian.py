# SPDX-License-Identifier: MIT
"""Second derivatives of the value with respect to each sample's own actions.

The variables of a sample are its n = H * A actions, of which there are few; the latent states
between them are no variables. So the Hessian costs n products with it, all in one batched call,
where a Jacobian of the latent dynamics would cost one product per latent dimension and time.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .problem import Problem


def hessian(problem: Problem, actions: Tensor) -> Tensor:
    """Hessian of each sample's value at its actions (B, H, A), symmetric, shape (B, n, n).

    Detached. Reverse over reverse mode, because that needs no forward-mode rule of the operations
    in the value and was the faster of the two. NaN stays in the sample it arose in.
    """
    batch, count = len(actions), actions[0].numel()
    axes = torch.eye(count, dtype=actions.dtype, device=actions.device)
    axes = axes.view(count, 1, *actions.shape[1:]).expand(count, *actions.shape)
    with torch.no_grad():
        gradient = torch.func.grad(lambda a: problem.evaluate(a).sum())
        times = torch.func.vjp(gradient, actions)[1]
        (rows,) = torch.func.vmap(times)(axes)
        second = rows.reshape(count, batch, count).movedim(0, 1)
        return 0.5 * (second + second.mT)


def restrict(matrix: Tensor, free: Tensor) -> Tensor:
    """The matrix (B, n, n) among the free variables, and the identity among the others.

    A blocked variable is coupled to no other: whatever function of the result is applied to a
    gradient that is zero there stays zero there.

    Args:
        matrix: One per sample.
        free: Which variables may move, (B, H, A) of bool; see `Problem.free`.
    """
    free = free.flatten(1)
    both = free[:, :, None] & free[:, None, :]
    return torch.where(both, matrix, torch.diag_embed((~free).to(matrix)))
