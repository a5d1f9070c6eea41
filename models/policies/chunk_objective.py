# SPDX-License-Identifier: MIT
"""The learned objective of a chunk of actions, with its derivatives written out.

With p1 = c + W1 a, h1 = m1 elu(p1), p2 = W2 h1 + b2, h2 = m2 elu(p2) the head's output is W3 h2,
where c is the observation's share of the first layer and m1, m2 are dropout masks. With one
output the objective is that output. With k outputs they are residuals r, and the objective is
-|r|^2 / 2: least squares proper, for Gauss-Newton.

By hand ten gradients of one sample take 0.7 ms on one core, by automatic differentiation 1.9 ms;
in training (batch 128, all iterations in the graph) both take 24 ms per update.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn
from torch.nn import functional

ChunkContext = tuple[Tensor, ...]
"""c of shape (B, hidden), and in training the masks m1 and m2 of the same shape."""


class ChunkLayers(Protocol):
    """The layers of an objective head: W1, (W2, b2) and W3."""

    chunk: nn.Linear
    middle: nn.Linear
    out: nn.Linear


def value(head: ChunkLayers, context: ChunkContext, actions: Tensor) -> Tensor:
    """Objective of each chunk (B, H, A), shape (B,)."""
    return _layers(head, context, actions)[2] @ head.out.weight[0]


def objective_and_gradient(
    head: ChunkLayers, context: ChunkContext, actions: Tensor
) -> tuple[Tensor, Tensor]:
    """Objective (B,) and its derivative with respect to the chunk (B, H, A)."""
    p1, p2, h2 = _layers(head, context, actions)
    out = head.out.weight[0]
    d1 = _masked(_slope(p2) * out, context, 2) @ head.middle.weight
    d1 = _masked(d1 * _slope(p1), context, 1)
    return h2 @ out, (d1 @ head.chunk.weight).view_as(actions)


def residuals(head: ChunkLayers, context: ChunkContext, actions: Tensor) -> Tensor:
    """Residuals of each chunk, shape (B, k)."""
    return _layers(head, context, actions)[2] @ head.out.weight.T


def least_squares_value(head: ChunkLayers, context: ChunkContext, actions: Tensor) -> Tensor:
    """Objective -|r|^2 / 2 of each chunk, shape (B,)."""
    return -0.5 * residuals(head, context, actions).square().sum(dim=1)


def linearised(head: ChunkLayers, context: ChunkContext, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Residuals (B, k) and their Jacobian (B, k, H * A)."""
    p1, p2, h2 = _layers(head, context, actions)
    out = head.out.weight
    d2 = _masked(_slope(p2), context, 2)[:, None, :] * out
    d1 = (d2 @ head.middle.weight) * _masked(_slope(p1), context, 1)[:, None, :]
    return h2 @ out.T, d1 @ head.chunk.weight


def _layers(
    head: ChunkLayers, context: ChunkContext, actions: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    p1 = context[0] + functional.linear(actions.flatten(1), head.chunk.weight)
    p2 = head.middle(_masked(functional.elu(p1), context, 1))
    return p1, p2, _masked(functional.elu(p2), context, 2)


def _masked(x: Tensor, context: ChunkContext, layer: int) -> Tensor:
    return x * context[layer] if len(context) > 1 else x


def _slope(x: Tensor) -> Tensor:
    """Derivative of elu."""
    return x.clamp(max=0.0).exp()
