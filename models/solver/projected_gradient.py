# SPDX-License-Identifier: MIT
"""Projected gradient ascent with a fixed number of iterations: the optimiser inside the policy.

    a[k+1] = clip(a[k] + s[k] * dvalue/da (a[k]), low, high)

Every sample of a batch is solved by itself, so the batch size never changes an answer. The box is
kept by projection outside the objective (a clamp inside it would kill the gradient at the bound).
The same function trains, with every iteration left in the graph, and deploys.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Objective(Protocol):
    """What is climbed: one number per sample."""

    def value(self, actions: Tensor) -> Tensor:
        """Value of actions (B, H, A), shape (B,)."""
        ...

    def gradient(self, actions: Tensor) -> Tensor:
        """Gradient of each sample's value with respect to its own actions, shape (B, H, A)."""
        ...


@dataclass(frozen=True)
class Solution:
    """What came out, as data.

    Attributes:
        actions: The last iterate, shape (B, H, A), inside the box.
        value_before: Value of the projected start, shape (B,).
        value_after: Value of `actions`, shape (B,).
        iterations: Iterations done.
        finite: Whether all numbers on the way were finite, shape (B,). An infinite gradient ends
            at a bound of the box and looks harmless in `actions`.
    """

    actions: Tensor
    value_before: Tensor
    value_after: Tensor
    iterations: int
    finite: Tensor


class ByAutograd:
    """An objective from a value function alone; its gradient comes from automatic differentiation.

    The gradient can itself be differentiated when gradients are enabled around the call, and is
    cheap and detached under `torch.no_grad()`. Does not work under `torch.inference_mode()`.
    """

    def __init__(self, value: Callable[[Tensor], Tensor]) -> None:
        self.value = value

    def gradient(self, actions: Tensor) -> Tensor:
        """Gradient of the value, shape (B, H, A)."""
        through = torch.is_grad_enabled()
        with torch.enable_grad():
            if not (through and actions.requires_grad):
                actions = actions.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(
                self.value(actions).sum(), actions, create_graph=through
            )
        return gradient


def climb(
    objective: Objective,
    start: Tensor,
    steps: Tensor,
    low: Tensor,
    high: Tensor,
    stop: Callable[[], bool] | None = None,
) -> Solution:
    """The last iterate after `len(steps)` projected gradient steps, or fewer when `stop` says so.

    Args:
        objective: What is climbed.
        start: First actions, shape (B, H, A); projected into the box before anything else.
        steps: Step length of each iteration, shape (K,).
        low: Lower corner of the box, shape (A,).
        high: Upper corner, shape (A,).
        stop: Asked before every iteration; True ends the solve with the current iterate.
    """
    actions = start.clamp(low, high)
    with torch.no_grad():
        before = objective.value(actions)
    moved = torch.zeros_like(start)
    done = 0
    for step in steps:
        if stop is not None and stop():
            break
        move = step * objective.gradient(actions)
        moved = moved + move.detach()
        actions = (actions + move).clamp(low, high)
        done += 1
    with torch.no_grad():
        after = objective.value(actions)
        seen = torch.cat([(moved + actions).flatten(1), before[:, None], after[:, None]], dim=1)
        finite = seen.isfinite().all(dim=1)
    return Solution(actions, before, after, done, finite)
