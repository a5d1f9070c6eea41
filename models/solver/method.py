# SPDX-License-Identifier: MIT
"""The protocol of every method, and the loop that runs them.

A method is a pure function `step(problem, state, row)`, repeated a fixed number of times. What
differs from one iteration to the next, and nothing else, stands in the rows of its `schedule`. So
one traced step serves all iterations, in PyTorch as in ONNX, and learned step lengths are data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from .problem import Problem
from .solution import Solution


class State(NamedTuple):
    """What one iteration hands to the next: tensors only.

    Attributes:
        actions: The iterate, shape (B, H, A).
        objective: Objective at the iterate the last step began from, shape (B,); NaN before
            the first.
        moved: Sum of the sizes of all moves, shape (B, H, A). It is not finite as soon as one
            number was not.
        memory: What the method remembers besides.
    """

    actions: Tensor
    objective: Tensor
    moved: Tensor
    memory: tuple[Tensor, ...] = ()


class Start(NamedTuple):
    """Where a solve began: `actions` (B, H, A) inside the box, and their `objective` (B,)."""

    actions: Tensor
    objective: Tensor


class Method(Protocol):
    """How a problem is solved."""

    def schedule(self, like: Tensor) -> Tensor:
        """Coefficients of each iteration, shape (K, m), with the type and device of `like`."""
        ...

    def init(self, problem: Problem, start: Tensor) -> State:
        """The state before the first iteration from `start` (B, H, A)."""
        ...

    def step(self, problem: Problem, state: State, row: Tensor) -> State:
        """The state one iteration later; `row` (m,) is this iteration's of the schedule."""
        ...

    def result(self, problem: Problem, start: Start, state: State) -> Solution:
        """The answer after the iterations from `start` to `state`, however many they were."""
        ...


@dataclass(frozen=True)
class IterativeMethod:
    """What methods with one iterate share: how they begin and end; `step` is theirs."""

    iterations: int

    def __post_init__(self) -> None:
        """Refuse a negative count."""
        if self.iterations < 0:
            raise ValueError(f"iterations must not be negative, got {self.iterations}")

    def init(self, problem: Problem, start: Tensor) -> State:
        """The projected start."""
        start = problem.project(start)
        value = start.new_full((len(start),), torch.nan)
        return State(start, value, torch.zeros_like(start), self.memory(problem, start))

    def memory(self, problem: Problem, start: Tensor) -> tuple[Tensor, ...]:
        """What `step` finds in the memory of the first state."""
        del problem, start
        return ()

    def result(self, problem: Problem, start: Start, state: State) -> Solution:
        """The last iterate; the start where a number on the way was not finite."""
        with torch.no_grad():
            after = problem.evaluate(problem.project(state.actions))
            seen = torch.cat(
                [
                    (state.moved + state.actions).flatten(1),
                    start.objective[:, None],
                    after[:, None],
                ],
                1,
            )
            finite = seen.isfinite().all(dim=1)
            flat = (state.moved == 0).flatten(1).all(dim=1)
            flat = flat if self.iterations else torch.zeros_like(flat)
            after = torch.where(finite, after, start.objective)
        actions = torch.where(finite[:, None, None], state.actions, start.actions)
        return Solution(actions, start.objective, after, finite, flat)


def advance(problem: Problem, state: State, value: Tensor, move: Tensor, *memory: Tensor) -> State:
    """The state after `move` (B, H, A), projected back into the box."""
    moved = state.moved + move.detach().abs()
    return State(problem.project(state.actions + move), value, moved, memory)


def solve(
    problem: Problem, start: Tensor, method: Method, in_graph: int | None = None
) -> Solution:
    """The answer of `method` from `start` (B, H, A), which need not lie in the box.

    Never raises on account of numbers it meets on the way: see `Solution.statuses`. Under
    `torch.no_grad()` it is detached; where gradients are enabled the last `in_graph` iterations
    stay in the graph, or all of them. Other ways to differentiate it are in `backward`.

    Raises:
        ValueError: The start is not (B, H, A), or the box has no inside.
    """
    _require_sense(problem, start)
    state = first = method.init(problem, start)
    before = first.objective
    rows = method.schedule(start)
    graph_from = 0 if in_graph is None else len(rows) - in_graph
    for k, row in enumerate(rows):
        with torch.set_grad_enabled(torch.is_grad_enabled() and k >= graph_from):
            state = method.step(problem, state, row)
        before = before if k else state.objective.detach()
    if not len(rows):
        with torch.no_grad():
            before = problem.evaluate(problem.project(first.actions))
    return method.result(problem, Start(first.actions, before), state)


def _require_sense(problem: Problem, start: Tensor) -> None:
    if not start.is_floating_point() or start.dim() != 3:
        raise ValueError(
            f"start must be floating-point actions (B, H, A), got {start.dtype} of shape "
            f"{tuple(start.shape)}"
        )
    # Where reading the bounds would wait for a GPU they are taken on trust.
    if problem.low.device.type == "cpu" and bool((problem.low > problem.high).any()):
        raise ValueError(f"low must not exceed high, got {problem.low} and {problem.high}")
