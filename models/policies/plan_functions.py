# SPDX-License-Identifier: MIT
"""One plan of a policy, cut into three pure tensor functions: propose, step, finish.

Whatever runs a policy, in PyTorch or elsewhere, runs these three; so there is one policy and one
set of numbers. Between two steps the host may stop.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from difftori_models.contract.network_settings import START_NOISE, Solver
from difftori_models.solver.gauss_newton import GaussNewton
from difftori_models.solver.method import Method, Start, State
from difftori_models.solver.mppi import MPPI
from difftori_models.solver.problem import Problem
from difftori_models.solver.wrappers import BestSoFar, MultiStart

from .agent import Agent
from .residual import ResidualHead


def fixed_starts(shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """What the start `noise` adds and what the start `random` is, (H, A), the same for ever."""
    draw = torch.Generator().manual_seed(0)
    return START_NOISE * torch.randn(shape, generator=draw), torch.randn(shape, generator=draw)


class Proposal(NamedTuple):
    """What a plan begins with; S solves run side by side, one for each start and latent.

    Attributes:
        base: The base policy's network actions, shape (1, H, A).
        rows: Schedule of the optimiser, shape (K, m).
        context: What the score is told of the observation; tensors (S, ...).
        state: State before the first iteration.
        memory: What the base policy is to be given with the next observation, shape (1, M).
    """

    base: Tensor
    rows: Tensor
    context: tuple[Tensor, ...]
    state: State
    memory: Tensor


class Answer(NamedTuple):
    """What a plan ends with.

    Attributes:
        actions: Network actions, shape (1, H, A).
        before: Value of the start, shape (1,).
        after: Value of the answer, shape (1,).
        finite: Whether all numbers on the way were finite, shape (1,) of bool.
    """

    actions: Tensor
    before: Tensor
    after: Tensor
    finite: Tensor


class Deployed:
    """An agent with a head, as the three functions.

    Attributes:
        iterations: Iterations of a complete solve, K.
        latents: Latents per plan, and the length of each: (L, latent); (1, 0) for none.
    """

    def __init__(self, agent: Agent, portable: bool = False) -> None:
        """Cut up `agent`; `portable` keeps to operations that every runtime has."""
        if agent.head is None:
            raise ValueError("an agent without a head proposes and is done")
        self.agent, self.head = agent, agent.head
        settings = Solver(iterations=1) if isinstance(self.head, ResidualHead) else agent.solver
        self.iterations = settings.iterations
        self.latents = (settings.latents, self.head.latent)
        self._starts = settings.starts
        self._rows = settings.rows
        self._noise, self._random = fixed_starts(agent.normaliser.shape)
        self._best = settings.answer == "best"
        self._inner: Method = self.head.method()
        if portable and isinstance(self._inner, GaussNewton):
            self._inner = replace(self._inner, eliminate=True)
        self.method = self._wrapped(self._inner)

    def propose(
        self,
        state: Tensor,
        points: Tensor | None,
        images: tuple[Tensor, ...],
        latents: Tensor,
        previous: Tensor,
        noise: Tensor | None = None,
        memory: Tensor | None = None,
    ) -> Proposal:
        """Encode, propose, and stand at the start.

        Args:
            state: State vector, shape (1, D).
            points: Policy points, shape (1, N, C), or None.
            images: Of each camera, shape (1, H, W, 3), uint8.
            latents: CVAE latents, shape (L, latent).
            previous: Network actions of the last plan, shifted to now, shape (1, H, A); entries
                that are NaN are taken from the base policy.
            noise: Standard normal numbers for the base policy, shape (1, *noise).
            memory: What the base policy remembers of the episode, shape (1, M).
        """
        agent = self.agent
        inputs = agent.inputs(state, points, images)
        low, high = agent.normaliser.low, agent.normaliser.high
        base, after, draws = agent.recall(inputs, noise, memory)
        starts = [self._start(name, base, previous) for name in self._starts]
        every = torch.cat(starts).repeat(self.latents[0], 1, 1)
        z = self.head.encoder.encode(inputs).expand(self._rows, -1)
        latent = latents.repeat_interleave(len(self._starts), 0) if self.latents[1] else None
        problem = self.head.problem(z, low, high, latent)
        rows = self.method.schedule(every)
        method = self.method
        if isinstance(self._inner, MPPI):  # the state carries what it draws from
            method = self._wrapped(replace(self._inner, draws=draws))
        first = method.init(problem, every)
        return Proposal(agent.normaliser.from_unit(base), rows, problem.context, first, after)

    def _wrapped(self, method: Method) -> Method:
        method = BestSoFar(method) if self._best else method
        return MultiStart(method, self._rows) if self._rows > 1 else method

    def _start(self, name: str, base: Tensor, previous: Tensor) -> Tensor:
        if name == "previous":
            shifted = self.agent.normaliser.to_unit(previous)
            return torch.where(shifted.isnan(), base, shifted)
        if name == "zero":
            return torch.zeros_like(base)
        if name == "random":
            return self._random.to(base).expand_as(base)
        return base + self._noise.to(base) if name == "noise" else base

    def problem(self, context: tuple[Tensor, ...]) -> Problem:
        """What is climbed, given the context of a proposal."""
        normaliser = self.agent.normaliser
        return self.head.bound(context, normaliser.low, normaliser.high)

    def step(self, context: tuple[Tensor, ...], state: State, row: Tensor) -> State:
        """One iteration."""
        return self.method.step(self.problem(context), state, row)

    def finish(
        self, context: tuple[Tensor, ...], first: Tensor, before: Tensor, state: State
    ) -> Answer:
        """The answer; `first` (S, H, A) are the starts in the box, `before` (S,) their values."""
        found = self.method.result(self.problem(context), Start(first, before), state)
        actions = self.agent.normaliser.from_unit(found.actions)
        return Answer(actions, found.objective_before, found.objective_after, found.finite)
