# SPDX-License-Identifier: MIT
"""A method whose step was compiled beforehand: the same iterates, fewer and larger kernels."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .method import Method, State
from .problem import Problem
from .tracing import TracedStep
from .wrappers import Wrapper


@dataclass(frozen=True)
class Compiled(Wrapper):
    """What `compiled` made; nothing is differentiated through it."""

    traced: TracedStep
    run: Callable[..., Sequence[Tensor]]
    shape: tuple[int, ...]

    def step(self, problem: Problem, state: State, row: Tensor) -> State:
        """The inner method's step, compiled."""
        if tuple(state.actions.shape) != self.shape:
            raise ValueError(
                f"compiled for actions of shape {self.shape}, got {tuple(state.actions.shape)}"
            )
        with torch.no_grad():
            # Copies: the compiler compiles anew when two inputs that were two tensors are one.
            leaves = [leaf.clone() for leaf in self.traced.flatten(problem, state, row)]
            return self.traced.unflatten(self.run(*leaves))


def compiled(method: Method, problem: Problem, start: Tensor) -> Compiled:
    """`method` with one iteration compiled here and now: one full graph, static shapes.

    The loop over the iterations stays in Python, so their number is free. The weights are frozen
    into the graph. Compiling takes from ten seconds to a minute and needs a C++ compiler on the
    CPU, so it belongs to start-up.

    Args:
        method: What is compiled.
        problem: An example; later ones may differ in their context alone.
        start: An example, shape (B, H, A).

    Raises:
        RuntimeError: This machine cannot compile.
    """
    traced = TracedStep(method, problem, start)
    run = torch.compile(traced.graph, fullgraph=True, dynamic=False)
    made = Compiled(method, traced, run, tuple(start.shape))
    with torch.no_grad(), warnings.catch_warnings():
        # PyTorch's compiler imports parts of PyTorch that PyTorch has deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        state, row = method.init(problem, start), method.schedule(start)[0]
        for _ in range(2):  # the first state is made elsewhere than the others
            state = made.step(problem, state, row)
    return made
