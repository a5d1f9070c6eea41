# SPDX-License-Identifier: MIT
"""Methods made of methods: the best iterate, a deadline, several starts, rate limits."""

from __future__ import annotations

from collections.abc import Callable
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

    def done(self, iterations: int) -> bool:
        """The inner method's."""
        return self.method.done(iterations)

    def result(self, problem: Problem, start: Start, state: State, iterations: int) -> Solution:
        """The inner method's."""
        return self.method.result(problem, start, state, iterations)


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
        better = (after.value > best_value) & (after.value < torch.inf)
        best = torch.where(better[:, None, None], state.actions, best)
        best_value = torch.where(better, after.value, best_value)
        return after._replace(memory=(*after.memory, best, best_value))

    def result(self, problem: Problem, start: Start, state: State, iterations: int) -> Solution:
        """The better of the best and the last iterate."""
        *memory, best, best_value = state.memory
        inner = state._replace(memory=tuple(memory))
        last = self.method.result(problem, start, inner, iterations)
        better = best_value > last.value_after
        return replace(
            last,
            actions=torch.where(better[:, None, None], best, last.actions),
            value_after=torch.where(better, best_value, last.value_after).detach(),
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


@dataclass(frozen=True)
class Deadline(Wrapper):
    """No iteration begins once `late` says True.

    So it overruns by the iteration under way, and by the evaluation of the answer.
    """

    late: Callable[[], bool]

    def done(self, iterations: int) -> bool:
        """When the inner method is done, or it is too late."""
        return self.method.done(iterations) or self.late()


@dataclass(frozen=True)
class MultiStart(Wrapper):
    """The best of several starts per sample.

        solve(problem.tile(S), starts.flatten(0, 1), MultiStart(method, S))

    with starts of shape (B, S, H, A). Weights are read once for all starts, so on one sample they
    cost far less than S solves. This is the outermost wrapper: its answer has fewer rows.
    """

    starts: int

    def result(self, problem: Problem, start: Start, state: State, iterations: int) -> Solution:
        """Of each sample's rows the one with the highest value among those that stayed finite."""
        every = self.method.result(problem, start, state, iterations)
        value = torch.where(every.finite, every.value_after, -torch.inf).unflatten(
            0, (-1, self.starts)
        )
        first = torch.arange(len(value), device=value.device) * self.starts
        row = value.argmax(dim=1) + first
        return replace(
            every,
            actions=every.actions[row],
            value_before=every.value_before[first],
            value_after=every.value_after[row],
            finite=every.finite[row],
            flat=every.flat[row],
        )


@dataclass(frozen=True)
class RateLimited(Wrapper):
    """Consecutive actions differ by at most `change`, and the first by that much from `previous`.

    After every step the iterate is projected onto the limits, a polytope, by Dykstra's algorithm
    (Boyle & Dykstra 1986) over its slabs; a last sweep forward in time then makes them hold
    exactly. The inner step has projected onto the box alone before that, so the answer lies the
    nearer to the optimum the shorter the steps end: `AdaptiveGradient` suits it.

    Attributes:
        change: Largest change per entry, shape (A,).
        previous: The action before the first, inside the box, shape (B, A); one per row of a
            tiled problem.
        sweeps: Sweeps of Dykstra's algorithm.
    """

    change: Tensor
    previous: Tensor
    sweeps: int = 8

    def init(self, problem: Problem, start: Tensor) -> State:
        """The start within the limits."""
        state = self.method.init(problem, start)
        return state._replace(actions=self.limit(problem, state.actions))

    def step(self, problem: Problem, state: State, row: Tensor) -> State:
        """One inner step, back within the limits."""
        after = self.method.step(problem, state, row)
        return after._replace(actions=self.limit(problem, after.actions))

    def limit(self, problem: Problem, actions: Tensor) -> Tensor:
        """Near the nearest actions (B, H, A) within limits and box; themselves exactly within."""
        low = problem.low.expand_as(actions[0])
        high = problem.high.expand_as(actions[0])
        first = (self.previous - self.change, self.previous + self.change)
        x = actions
        corrections = [torch.zeros_like(x) for _ in range(3)]
        for _ in range(self.sweeps):
            for k in range(3):
                y = x + corrections[k]
                x = self._box(y, low, high, first) if k == 0 else self._pairs(y, k - 1)
                corrections[k] = y - x
        valid, before = [], self.previous
        for t in range(x.shape[1]):
            lower = torch.maximum(low[t], before - self.change)
            upper = torch.minimum(high[t], before + self.change)
            before = torch.minimum(torch.maximum(x[:, t], lower), upper)
            valid.append(before)
        return torch.stack(valid, dim=1)

    @staticmethod
    def _box(x: Tensor, low: Tensor, high: Tensor, first: tuple[Tensor, Tensor]) -> Tensor:
        x = x.clamp(low, high)
        head = torch.minimum(torch.maximum(x[:, 0], first[0]), first[1])
        return torch.cat([head[:, None], x[:, 1:]], dim=1)

    def _pairs(self, x: Tensor, offset: int) -> Tensor:
        """Bring every second pair of neighbours, from `offset` on, within `change`."""
        count = (x.shape[1] - offset) // 2
        if count == 0:
            return x
        middle = x[:, offset : offset + 2 * count].unflatten(1, (count, 2))
        apart = middle[:, :, 1] - middle[:, :, 0]
        excess = 0.5 * (apart - apart.clamp(-self.change, self.change))
        pair = torch.stack([middle[:, :, 0] + excess, middle[:, :, 1] - excess], dim=2)
        return torch.cat([x[:, :offset], pair.flatten(1, 2), x[:, offset + 2 * count :]], dim=1)
