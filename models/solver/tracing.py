# SPDX-License-Identifier: MIT
"""One iteration as a flat graph of tensor operations, for exporters.

A method's step differentiates the value function inside. Tracing it below PyTorch's autograd
leaves a plain graph in which that gradient is spelled out, so an exporter need not know how to
differentiate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_flatten, tree_unflatten

from .method import Method, State
from .problem import Problem


def trace(function: Callable[..., Sequence[Tensor]], *examples: Tensor) -> GraphModule:
    """`function` as a graph for tensors shaped like `examples`; its weights become constants."""
    # Copies: two inputs that are one tensor would be traced as one input.
    with torch.no_grad():
        return make_fx(function)(*(example.clone() for example in examples))


class TracedStep:
    """One step of a method as a flat graph: context, state and row in, state out.

    Attributes:
        graph: The graph; takes `flatten(problem, state, row)`, gives the leaves of a state.
    """

    def __init__(self, method: Method, problem: Problem, start: Tensor) -> None:
        with torch.no_grad():
            state, row = method.init(problem, start), method.schedule(start)[0]
        _, context_tree = tree_flatten(problem.context)
        _, self._tree = tree_flatten(state)
        examples = self.flatten(problem, state, row)
        count = len(examples) - 1 - len(tree_flatten(state)[0])

        def step(*leaves: Tensor) -> list[Tensor]:
            context = tree_unflatten(leaves[:count], context_tree)
            state = tree_unflatten(leaves[count:-1], self._tree)
            after = method.step(replace(problem, context=context), state, leaves[-1])
            return tree_flatten(after)[0]

        self.graph = trace(step, *examples)

    def flatten(self, problem: Problem, state: State, row: Tensor) -> list[Tensor]:
        """The graph's inputs."""
        return [*tree_flatten(problem.context)[0], *tree_flatten(state)[0], row]

    def unflatten(self, leaves: Sequence[Tensor]) -> State:
        """The state whose leaves the graph gave."""
        return tree_unflatten(list(leaves), self._tree)
