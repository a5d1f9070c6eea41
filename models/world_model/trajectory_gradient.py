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
Only what one time step hands to the next goes step by step. The reward, the part of the actions
in the first layer and the gradients of weights are batched over time, with rows (H * B).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.utils._pytree import tree_flatten, tree_unflatten

from difftori_models.solver.trajectory_value import TrajectoryValue

from .world_model import WorldModel

Layers = Any
"""Three Linear layers with ELU between them, as an `nn.Sequential`."""
Pair = Sequence[Tensor]
"""One tensor for each hidden layer."""
Layered = Sequence[Tensor]
"""One tensor for each layer."""
Kept = Any
"""What the derivative takes, a tree of tensors."""


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
        gamma, (batch, horizon, size) = self.value.discount, actions.shape
        net: Layers = model.dynamics
        rewards: Layers = model.R
        of_state, of_action = net[0].weight.split([z0.shape[1], size], dim=1)
        a = _rows(actions)
        z, states, hidden = z0, [], []
        for entering in functional.linear(a, of_action, net[0].bias).split(batch):
            states.append(z)
            h1, h2, z = _up(net, torch.addmm(entering, z, of_state.t()))
            hidden += [h1, h2]
        h = torch.cat(hidden)
        x = torch.cat([torch.cat(states), a], dim=1)
        g1, g2, reward = _up(rewards, rewards[0](x))
        q, _, slope = self._terminal(model, z)
        fall = self._fall(x, horizon)
        value = (fall * reward).view(horizon, batch).sum(dim=0) + gamma**horizon * q.detach()

        f = _down(rewards, (_slope(g1), _slope(g2)), fall)
        along, first = (f[0] @ rewards[0].weight).split([z0.shape[1], size], dim=1)
        errors, costate = [], gamma**horizon * slope.detach()
        for slopes, coming in _backwards(_slope(h).split(batch), along.split(batch)):
            e1, e2 = _down(net, slopes, costate)
            errors.insert(0, (e1, e2, costate))
            costate = torch.addmm(coming, e1, of_state)
        e = [torch.cat(parts) for parts in zip(*errors, strict=True)]
        gradient = torch.addmm(first, e[0], of_action).view(horizon, batch, size).transpose(0, 1)
        return value, gradient, (x, h, e, (g1, g2), f, z)

    def back(self, model: WorldModel, kept: Kept, value_bar: Tensor, u: Tensor) -> list[Tensor]:
        """The derivative of value_bar'G + u'(dG/da), for value_bar (B,) and u (B, H, A).

        With respect to z0, the actions and each parameter of the model that requires it.
        """
        x, h, e, g, f, last = kept
        batch, horizon, size = u.shape
        net: Layers = model.dynamics
        rewards: Layers = model.R
        of_state, of_action = net[0].weight.split([last.shape[1], size], dim=1)
        s = _slope(h).split(batch)
        u = _rows(u)
        state, states, tangents = torch.zeros_like(last), [], []
        for t, entering in enumerate(functional.linear(u, of_action).split(batch)):
            states.append(state)
            p1 = torch.addmm(entering, state, of_state.t())
            tangents.append(_tangent(net, s[2 * t : 2 * t + 2], p1))
            state = functional.linear(tangents[t][3], net[4].weight)
        d = torch.cat([torch.cat(states), u], dim=1)
        q1, k1, q2, k2 = (torch.cat(parts) for parts in zip(*tangents, strict=True))
        r = (_slope(g[0]), _slope(g[1]))
        p1, l1, p2, l2 = _tangent(rewards, r, functional.linear(d, rewards[0].weight))

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

        fall = self._fall(x, horizon)
        c3 = fall * value_bar.repeat(horizon)[:, None]
        c1, c2 = _adjoint(rewards, r, (_bend(p1, f[0], g[0]), _bend(p2, f[1], g[1])), c3)
        along, first = (c1 @ rewards[0].weight).split([last.shape[1], size], dim=1)
        h1, h2 = (part.flatten(0, 1) for part in h.view(horizon, 2, batch, -1).unbind(1))
        bends = zip(
            _bend(q1, e[0], h1).split(batch), _bend(q2, e[1], h2).split(batch), strict=True
        )
        returns = []
        for slopes, coming, bend in _backwards(s, along.split(batch), list(bends)):
            b1, b2 = _adjoint(net, slopes, bend, z_bar)
            returns.insert(0, (b1, b2, z_bar))
            z_bar = torch.addmm(coming, b1, of_state)
        b = [torch.cat(parts) for parts in zip(*returns, strict=True)]
        actions_bar = torch.addmm(first, b[0], of_action).view(horizon, batch, size)

        for head, parts in (
            (net, _weights(e, (d, k1, k2), b, (x, h1, h2))),
            (rewards, _weights((*f, fall), (d, l1, l2), (c1, c2, c3), (x, *g))),
        ):
            gradients |= dict(zip(map(id, head.parameters()), parts, strict=True))
        wanted = [gradients[id(w)] for w in model.parameters() if w.requires_grad]
        return [z_bar, actions_bar.transpose(0, 1), *wanted]

    def _terminal(
        self, model: WorldModel, z: Tensor, twice: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The last state's value, that state, and the slope there, by differentiation."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            q = self.value.terminal_value(model, z)
            (slope,) = torch.autograd.grad(q.sum(), z, create_graph=twice)
        return q, z, slope

    def _fall(self, x: Tensor, horizon: int) -> Tensor:
        """The discount of each row of x, shape (H * B, 1)."""
        powers = [self.value.discount**t for t in range(horizon)]
        fall = torch.tensor(powers, dtype=x.dtype, device=x.device)
        return fall.repeat_interleave(len(x) // horizon)[:, None]


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


def _rows(actions: Tensor) -> Tensor:
    """(B, H, A) as (H * B, A), copied so that every layout does: a time step takes one block."""
    in_time = actions.transpose(0, 1).clone(memory_format=torch.contiguous_format)
    return in_time.flatten(0, 1)


def _backwards(slopes: Sequence[Tensor], *others: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    """Both slopes of each step and what else belongs to it, the last step first."""
    pairs = zip(slopes[::2], slopes[1::2], strict=True)
    return reversed(list(zip(pairs, *others, strict=True)))


def _slope(h: Tensor) -> Tensor:
    """The slope of ELU at its output h."""
    return h.clamp(max=0) + 1


def _bend(p: Tensor, e: Tensor, h: Tensor) -> Tensor:
    """P times e where ELU is curved."""
    return torch.where(h < 0, p * e, 0)


def _up(net: Layers, p1: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    h1 = functional.elu(p1)
    h2 = functional.elu(net[2](h1))
    return h1, h2, net[4](h2)


def _down(net: Layers, s: Pair, e3: Tensor) -> Pair:
    e2 = _through_last(e3, net) * s[1]
    return (e2 @ net[2].weight) * s[0], e2


def _tangent(net: Layers, s: Pair, p1: Tensor) -> tuple[Tensor, ...]:
    k1 = p1 * s[0]
    p2 = functional.linear(k1, net[2].weight)
    return p1, k1, p2, p2 * s[1]


def _adjoint(net: Layers, s: Pair, bend: Pair, b3: Tensor) -> Pair:
    b2 = torch.addcmul(bend[1], _through_last(b3, net), s[1])
    return torch.addcmul(bend[0], b2 @ net[2].weight, s[0]), b2


def _through_last(e3: Tensor, net: Layers) -> Tensor:
    """W3' e3; with one output a product of numbers, not of matrices."""
    return e3 * net[4].weight[0] if e3.shape[-1] == 1 else e3 @ net[4].weight


def _weights(e: Layered, d: Layered, b: Layered, h: Layered) -> list[Tensor]:
    """Gradients of weights and biases: e'd is the gradient's part, b'h the value's."""
    found = []
    for gradient, change, value, given in zip(e, d, b, h, strict=True):
        found += [gradient.t() @ change + value.t() @ given, value.sum(dim=0)]
    return found
