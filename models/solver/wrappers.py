# SPDX-License-Identifier: MIT
"""Methods made of methods: the best iterate, the box."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .method import Method, Start, State
from .problem import Problem
from .solution import Solution


@dataclass(frozen=True)
class Wrapper:
    """Passes everything on to the method inside."""

    method: Method

    def schedule(self, like: Tensor) -> Tensor:
        """The inner method's."""
        return self.method.schedule(like)

    def init(self, problem: Problem, start: Tensor) -> State:
        """The inner method's."""
        return self.method.init(problem, start)

    def step(self, problem: Problem, state: State, row: Tensor) -> State:
        """The inner method's."""
        return self.method.step(problem, state, row)

    def result(self, problem: Problem, start: Start, state: State) -> Solution:
        """The inner method's."""
        return self.method.result(problem, start, state)


@dataclass(frozen=True)
class BestSoFar(Wrapper):
    """The iterate with the highest value instead of the last one: the solve becomes anytime.

    Costs nothing: every step knows the value of the iterate it began from, and the last iterate is
    evaluated in any case. Of use where the value ranks actions. The score of an imitation head
    does not: it is trained through its last iterate, and that is its answer.
    """

    def init(self, problem: Problem, start: Tensor) -> State:
        """The start is the best so far."""
        state = self.method.init(problem, start)
        worst = start.new_full((len(start),), -torch.inf)
        return state._replace(memory=(*state.memory, state.actions, worst))

    def step(self, problem: Problem, state: State, row: Tensor) -> State:
        """One inner step; the iterate it began from is kept if it was better."""
        *memory, best, best_value = state.memory
        after = self.method.step(problem, state._replace(memory=tuple(memory)), row)
        better = (after.objective > best_value) & (after.objective < torch.inf)
        best = torch.where(better[:, None, None], state.actions, best)
        best_value = torch.where(better, after.objective, best_value)
        return after._replace(memory=(*after.memory, best, best_value))

    def result(self, problem: Problem, start: Start, state: State) -> Solution:
        """The better of the best and the last iterate."""
        *memory, best, best_value = state.memory
        inner = state._replace(memory=tuple(memory))
        last = self.method.result(problem, start, inner)
        better = best_value > last.objective_after
        return replace(
            last,
            actions=torch.where(better[:, None, None], best, last.actions),
            objective_after=torch.where(better, best_value, last.objective_after).detach(),
        )


@dataclass(frozen=True)
class Boxed(Wrapper):
    """Every iterate is projected into the box: for `LMRank1`, which leaves it of itself."""

    def init(self, problem: Problem, start: Tensor) -> State:
        """The projected start."""
        state = self.method.init(problem, start)
        return state._replace(actions=problem.project(state.actions))

    def step(self, problem: Problem, state: State, row: Tensor) -> State:
        """One inner step, back into the box."""
        after = self.method.step(problem, state, row)
        return after._replace(actions=problem.project(after.actions))
