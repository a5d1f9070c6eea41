# SPDX-License-Identifier: MIT
"""The gradient of a trajectory's value under a `WorldModel`, and its derivative, written out.

Automatic differentiation finds the same numbers. Written out, they are two functions without any
graph between them, which is what a compiler does best with: see `compiled_gradient`. Four sweeps
through a network of three layers, h = ELU(W x + b), do it all:

    up       x -> h1 -> h2 -> y                                         the value
    down     e2 = (W3' e3) s(h2),  e1 = (W2' e2) s(h1)                  its gradient
    tangent  p1 = W1 d,  k1 = p1 s(h1),  p2 = W2 k1,  k2 = p2 s(h2)     the change of all that
    adjoint  b2 = (W3' b3) s(h2) + p2 e2 [h2 < 0],  b1 alike            and the way back

with s(h) = 1 + min(h, 0), the slope of ELU at its output h. The derivative of u'g, where g is the
gradient, is that of the value's change along u (Pearlmutter 1994), so the tangents begin with u.
The reward is batched over time in every sweep: its weights are read once, not H times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.utils._pytree import tree_flatten, tree_unflatten

from .solver.trajectory import TrajectoryValue
from .world_model import WorldModel

Layers = Any
"""Three Linear layers with ELU between them, as an `nn.Sequential`."""
Pair = tuple[Tensor, Tensor]
"""One tensor for each hidden layer."""
Kept = Any
"""What the derivative takes, a tree of tensors; lists are over time."""


@dataclass(frozen=True)
class TrajectoryGradient:
    """The `gradient` of a `Problem` whose value is `value` and whose params are a `WorldModel`.

    Differentiable once more, with respect to the model, z0 and the actions.
    """

    value: TrajectoryValue

    def __call__(
        self, params: WorldModel, context: Tensor, actions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """G of actions (B, H, A) from z0 (B, Z), shape (B,), and dG/da, shape (B, H, A)."""
        if not torch.is_grad_enabled():
            return self.sweep(params, context, actions)[:2]
        return Differentiable.apply(self, params, context, actions, *params.parameters())  # type: ignore[return-value]

    def sweep(self, model: WorldModel, z0: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Kept]:
        """Value, gradient and what `back` takes; up through time, and down again."""
        gamma, horizon = self.value.discount, actions.shape[1]
        net: Layers = model.dynamics
        rewards: Layers = model.R
        z, inputs, hidden = z0, [], []
        for a in actions.unbind(1):
            inputs.append(torch.cat([z, a], dim=1))
            h1, h2, z = _up(net, inputs[-1])
            hidden.append((h1, h2))
        x = torch.stack(inputs)
        g1, g2, reward = _up(rewards, x)
        q, _, slope = self._terminal(model, z)
        fall = self._fall(x)
        value = fall @ reward.squeeze(-1) + gamma**horizon * q.detach()

        f = _down(rewards, (g1, g2), fall[:, None, None].expand_as(reward))
        along = f[0] @ rewards[0].weight
        costate, errors, gradient = gamma**horizon * slope.detach(), [], []
        for t in reversed(range(horizon)):
            e1, e2 = _down(net, hidden[t], costate)
            errors.insert(0, (e1, e2, costate))
            both = torch.addmm(along[t], e1, net[0].weight)
            costate, step = both[:, : z.shape[1]], both[:, z.shape[1] :]
            gradient.insert(0, step)
        return value, torch.stack(gradient, dim=1), (x, hidden, errors, (g1, g2), f, z)

    def back(self, model: WorldModel, kept: Kept, value_bar: Tensor, u: Tensor) -> list[Tensor]:
        """The derivative of value_bar'G + u'(dG/da), for value_bar (B,) and u (B, H, A).

        With respect to z0, the actions and each parameter of the model that requires it.
        """
        x, hidden, errors, g, f, last = kept
        horizon, size = len(x), last.shape[1]
        net: Layers = model.dynamics
        rewards: Layers = model.R
        state = torch.zeros_like(last)
        changes: list[Tensor] = []
        tangents: list[tuple[Tensor, ...]] = []
        for t in range(horizon):
            changes.append(torch.cat([state, u[:, t]], dim=1))
            tangents.append(_tangent(net, hidden[t], changes[t]))
            state = functional.linear(tangents[t][3], net[4].weight)
        d = torch.stack(changes)
        p1, l1, p2, l2 = _tangent(rewards, g, d)

        heads = (model.Q1, model.Q2, model.policy)
        learned = [w for head in heads for w in head.parameters() if w.requires_grad]
        q, last, slope = self._terminal(model, last, twice=True)
        scale = self.value.discount**horizon
        z_bar, *found = torch.autograd.grad(
            [q, slope],
            [last, *learned],
            [scale * value_bar, scale * state],
            allow_unused=True,
            materialize_grads=True,
        )
        gradients = dict(zip(map(id, learned), found, strict=True))

        fall = self._fall(x)[:, None, None].expand(*x.shape[:2], 1)
        c3 = fall * value_bar[:, None]
        c1, c2 = _adjoint(rewards, g, (_bend(p1, f[0], g[0]), _bend(p2, f[1], g[1])), c3)
        along = c1 @ rewards[0].weight
        returns, actions_bar = [], []
        for t in reversed(range(horizon)):
            (h1, h2), (e1, e2, _), (q1, _, q2, _) = hidden[t], errors[t], tangents[t]
            b1, b2 = _adjoint(net, (h1, h2), (_bend(q1, e1, h1), _bend(q2, e2, h2)), z_bar)
            returns.insert(0, (b1, b2, z_bar))
            both = torch.addmm(along[t], b1, net[0].weight)
            z_bar = both[:, :size]
            actions_bar.insert(0, both[:, size:])

        steps = []
        for t in range(horizon):
            _, k1, _, k2 = tangents[t]
            steps.append((errors[t], (changes[t], k1, k2), returns[t], (x[t], *hidden[t])))
        once = [((*f, fall), (d, l1, l2), (c1, c2, c3), (x, *g))]
        for head, parts in ((net, _weights(net, steps)), (rewards, _weights(rewards, once))):
            gradients |= dict(zip(map(id, head.parameters()), parts, strict=True))
        wanted = [gradients[id(w)] for w in model.parameters() if w.requires_grad]
        return [z_bar, torch.stack(actions_bar, dim=1), *wanted]

    def _terminal(
        self, model: WorldModel, z: Tensor, twice: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The last state's value, that state, and the slope there, by differentiation."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            q = self.value.terminal_value(model, z)
            (slope,) = torch.autograd.grad(q.sum(), z, create_graph=twice)
        return q, z, slope

    def _fall(self, x: Tensor) -> Tensor:
        """Discounts of x's H time steps, shape (H,)."""
        powers = [self.value.discount**t for t in range(len(x))]
        return torch.tensor(powers, dtype=x.dtype, device=x.device)


class Differentiable(torch.autograd.Function):
    """`sweep` and `back` of a rule, for automatic differentiation."""

    @staticmethod
    def forward(
        ctx: Any, rule: Any, model: WorldModel, z0: Tensor, actions: Tensor, *weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Value and gradient."""
        value, gradient, kept = rule.sweep(model, z0, actions)
        leaves, ctx.tree = tree_flatten(kept)
        ctx.rule, ctx.model, ctx.count = rule, model, len(leaves)
        # The weights too: one that was changed in between is then refused.
        ctx.save_for_backward(*leaves, *weights)
        return value, gradient

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *bars: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Derivatives of all inputs."""
        leaves, weights = ctx.saved_tensors[: ctx.count], ctx.saved_tensors[ctx.count :]
        kept = tree_unflatten(list(leaves), ctx.tree)
        z_bar, actions_bar, *found = ctx.rule.back(ctx.model, kept, *bars)
        each = iter(found)
        of_weights = [next(each) if w.requires_grad else None for w in weights]
        return None, None, z_bar, actions_bar, *of_weights


def _slope(x: Tensor, h: Tensor) -> Tensor:
    """X times the slope of ELU at its output h."""
    return torch.addcmul(x, x, h.clamp(max=0))


def _bend(p: Tensor, e: Tensor, h: Tensor) -> Tensor:
    """P times e where ELU is curved."""
    return torch.where(h < 0, p * e, 0)


def _up(net: Layers, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    h1 = functional.elu(net[0](x))
    h2 = functional.elu(net[2](h1))
    return h1, h2, net[4](h2)


def _down(net: Layers, h: Pair, e3: Tensor) -> Pair:
    e2 = _slope(_through_last(e3, net), h[1])
    return _slope(e2 @ net[2].weight, h[0]), e2


def _tangent(net: Layers, h: Pair, d: Tensor) -> tuple[Tensor, ...]:
    p1 = functional.linear(d, net[0].weight)
    k1 = _slope(p1, h[0])
    p2 = functional.linear(k1, net[2].weight)
    return p1, k1, p2, _slope(p2, h[1])


def _adjoint(net: Layers, h: Pair, bend: Pair, b3: Tensor) -> Pair:
    b2 = _slope(_through_last(b3, net), h[1]) + bend[1]
    return _slope(b2 @ net[2].weight, h[0]) + bend[0], b2


def _through_last(e3: Tensor, net: Layers) -> Tensor:
    """W3' e3; with one output a product of numbers, not of matrices."""
    return e3 * net[4].weight[0] if e3.shape[-1] == 1 else e3 @ net[4].weight


def _weights(net: Layers, steps: list[Any]) -> list[Tensor]:
    """Gradients of weights and biases: e'd is the gradient's part, b'h the value's."""
    found: list[Any] = [0] * 6
    for step in steps:
        for layer, (e, d, b, h) in enumerate(zip(*step, strict=True)):
            e, d, b, h = (part.flatten(0, -2) for part in (e, d, b, h))
            found[2 * layer] = found[2 * layer] + e.t() @ d + b.t() @ h
            found[2 * layer + 1] = found[2 * layer + 1] + b.sum(dim=0)
    return found
