# SPDX-License-Identifier: MIT
"""A trajectory's gradient and its derivative, compiled: for training through solves in batches.

Two graphs, one forward and one backward, with the weights among their inputs: training changes
them, and gradients reach them. Every method can use it: methods only ask for value and gradient.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from .trajectory_gradient import Differentiable, Kept, TrajectoryGradient
from .world_model import WorldModel


@dataclass(frozen=True)
class CompiledGradient:
    """What `compiled_gradient` made; a `gradient` of problems with models and batches like its."""

    shape: tuple[int, ...]
    learned: tuple[bool, ...]
    tree: TreeSpec
    forward_graph: Callable[..., Sequence[Tensor]]
    backward_graph: Callable[..., Sequence[Tensor]]

    def __call__(
        self, params: WorldModel, context: Tensor, actions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `TrajectoryGradient`."""
        if tuple(actions.shape) != self.shape:
            raise ValueError(
                f"compiled for actions of shape {self.shape}, got {tuple(actions.shape)}"
            )
        if not torch.is_grad_enabled():
            return self.sweep(params, context, actions)[:2]
        if tuple(w.requires_grad for w in params.parameters()) != self.learned:
            raise ValueError("compiled for a model with other parameters frozen: compile again")
        return Differentiable.apply(self, params, context, actions, *params.parameters())  # type: ignore[return-value]

    def sweep(self, model: WorldModel, z0: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Kept]:
        """As `TrajectoryGradient.sweep`."""
        with torch.no_grad():
            given = (z0, actions, *model.parameters())
            value, gradient, *kept = self.forward_graph(*(x.detach() for x in given))
        return value, gradient, tree_unflatten(kept, self.tree)

    def back(self, model: WorldModel, kept: Kept, value_bar: Tensor, u: Tensor) -> list[Tensor]:
        """As `TrajectoryGradient.back`."""
        with torch.no_grad():
            given = (value_bar, u, *tree_flatten(kept)[0], *model.parameters())
            return list(self.backward_graph(*(x.detach() for x in given)))


def compiled_gradient(
    rule: TrajectoryGradient, model: WorldModel, z0: Tensor, actions: Tensor
) -> CompiledGradient:
    """`rule` compiled for models, z0 (B, Z) and actions (B, H, A) of these shapes.

    Which parameters are frozen is part of what is compiled. Takes from ten seconds to a minute,
    and a C++ compiler on the CPU.
    """
    bound = _Bound(model)
    names = [f"model.{name}" for name, _ in model.named_parameters()]
    learned = tuple(w.requires_grad for w in model.parameters())
    weights = [w.detach().clone() for w in model.parameters()]

    def call(function: Callable[[WorldModel], Sequence[Tensor]], given: Sequence[Tensor]):
        ready = [w.detach().requires_grad_(k) for w, k in zip(given, learned, strict=True)]
        return functional_call(bound, dict(zip(names, ready, strict=True)), (function,))

    def forward(z0: Tensor, actions: Tensor, *given: Tensor) -> list[Tensor]:
        return call(lambda model: tree_flatten(rule.sweep(model, z0, actions))[0], given)

    with torch.no_grad(), warnings.catch_warnings():
        # PyTorch's compiler imports parts of PyTorch that PyTorch has deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        z0, actions = z0.detach().clone(), actions.detach().clone()
        value, gradient, kept = rule.sweep(model, z0, actions)
        tree = tree_flatten(kept)[1]
        count = tree.num_leaves

        def backward(value_bar: Tensor, u: Tensor, *rest: Tensor) -> list[Tensor]:
            kept = tree_unflatten(list(rest[:count]), tree)
            return call(lambda model: rule.back(model, kept, value_bar, u), rest[count:])

        graph = make_fx(forward)(z0, actions, *weights)
        leaves = graph(z0, actions, *weights)[2:]
        back = make_fx(backward)(value.clone(), gradient.clone(), *leaves, *weights)
        forward_graph, backward_graph = (
            torch.compile(each, fullgraph=True, dynamic=False) for each in (graph, back)
        )
        made = CompiledGradient(tuple(actions.shape), learned, tree, forward_graph, backward_graph)
        made.back(model, made.sweep(model, z0, actions)[2], value, gradient)
    return made


class _Bound(nn.Module):
    """Calls a function with the model inside, whose parameters `functional_call` can replace."""

    def __init__(self, model: WorldModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, function: Callable[[WorldModel], Sequence[Tensor]]) -> Sequence[Tensor]:
        return function(self.model)
