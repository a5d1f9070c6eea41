# SPDX-License-Identifier: MIT
"""What is maximised: one number per sample, over action sequences in a box.

A problem binds an objective to its parameters and context. Nothing here knows which method will
maximise it, and a sample's objective never depends on the other samples of its batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

Params = Any
"""What an objective is learned by: a module, or any tree of tensors."""
Context = Any
"""What an objective is told about each sample: any tree of tensors (B, ...)."""
Objective = Callable[[Params, Context, Tensor], Tensor]
"""`objective(params, context, actions)` of actions (B, H, A), shape (B,)."""
ObjectiveAndGradient = Callable[[Params, Context, Tensor], tuple[Tensor, Tensor]]
"""The objective (B,), and its gradient with respect to each sample's own actions (B, H, A)."""


@dataclass(frozen=True)
class Problem:
    """Maximise `objective(params, context, actions)` subject to `low <= actions <= high`.

    Attributes:
        objective: One number per sample; differentiable with PyTorch.
        low: Lower corner of the box, shape (A,) or (H, A).
        high: Upper corner.
        params: First argument of `objective`.
        context: Second argument of `objective`; its tensors have the batch first.
        gradient: The objective together with its gradient, where that is written out; it comes
            from automatic differentiation otherwise.
        residuals: r(params, context, actions) of shape (B, k) with objective = -|r|^2 / 2; what
            `GaussNewton` needs.
        linearised: The residuals together with their Jacobian (B, k, H * A), where that is
            written out.
    """

    objective: Objective
    low: Tensor
    high: Tensor
    params: Params = None
    context: Context = ()
    gradient: ObjectiveAndGradient | None = None
    residuals: Objective | None = None
    linearised: ObjectiveAndGradient | None = None

    @classmethod
    def least_squares(
        cls, residuals: Objective, low: Tensor, high: Tensor, params: Params, context: Context
    ) -> Problem:
        """The problem of making residuals (B, k) small: its objective is -|r|^2 / 2."""

        def objective(params: Params, context: Context, actions: Tensor) -> Tensor:
            return -0.5 * residuals(params, context, actions).square().sum(dim=1)

        return cls(objective, low, high, params, context, residuals=residuals)

    def evaluate(self, actions: Tensor) -> Tensor:
        """Objective of each sample, shape (B,)."""
        return self.objective(self.params, self.context, actions)

    def objective_and_gradient(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Objective (B,) and gradient (B, H, A).

        Both are differentiable where gradients are enabled, and detached where they are not.
        """
        if self.gradient is not None:
            return self.gradient(self.params, self.context, actions)
        if torch.is_inference_mode_enabled():
            raise RuntimeError(
                "torch.inference_mode() switches differentiation off for good, so an objective "
                "without a written gradient cannot be maximised under it; use torch.no_grad()"
            )
        through = torch.is_grad_enabled()
        with torch.enable_grad():
            if not (through and actions.requires_grad):
                actions = actions.detach().requires_grad_()
            objective = self.evaluate(actions)
            (gradient,) = torch.autograd.grad(objective.sum(), actions, create_graph=through)
        return (objective if through else objective.detach()), gradient

    def project(self, actions: Tensor) -> Tensor:
        """The nearest actions inside the box; NaN stays NaN."""
        return actions.clamp(self.low, self.high)

    def free(self, actions: Tensor, gradient: Tensor) -> Tensor:
        """Where a step along the gradient is not stopped by the box at once, (B, H, A) of bool."""
        blocked_low = (actions <= self.low) & (gradient <= 0)
        blocked_high = (actions >= self.high) & (gradient >= 0)
        return ~(blocked_low | blocked_high)

    def tile(self, count: int) -> Problem:
        """The same problem with every sample `count` times in a row, for several starts each."""
        context = tree_map(
            lambda x: x.repeat_interleave(count, 0) if isinstance(x, Tensor) else x, self.context
        )
        return replace(self, context=context)
