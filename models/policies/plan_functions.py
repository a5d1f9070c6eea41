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

from difftori_models.contract.network_settings import Solver
from difftori_models.solver.gauss_newton import GaussNewton
from difftori_models.solver.method import Method, Start, State
from difftori_models.solver.mppi import MPPI
from difftori_models.solver.problem import Problem

from .agent import Agent
from .residual import ResidualHead


class Proposal(NamedTuple):
    """What a plan begins with.

    Attributes:
        base: The base policy's network actions, shape (1, H, A).
        rows: Schedule of the optimiser, shape (K, m).
        context: What the objective knows of the observation; tensors (1, ...).
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
        latent: Length of the CVAE latent; 0 for none.
    """

    def __init__(self, agent: Agent, portable: bool = False) -> None:
        """Cut up `agent`; `portable` keeps to operations that every runtime has."""
        if agent.head is None:
            raise ValueError("an agent without a head proposes and is done")
        self.agent, self.head = agent, agent.head
        settings = Solver(iterations=1) if isinstance(self.head, ResidualHead) else agent.solver
        self.iterations = settings.iterations
        self.latent, self._start = self.head.latent, settings.start
        self.method: Method = self.head.method()
        if portable and isinstance(self.method, GaussNewton):
            self.method = replace(self.method, eliminate=True)

    def propose(
        self,
        state: Tensor,
        points: Tensor | None,
        images: tuple[Tensor, ...],
        latent: Tensor,
        previous: Tensor,
        noise: Tensor | None = None,
        memory: Tensor | None = None,
    ) -> Proposal:
        """Encode, propose, and stand at the start.

        Args:
            state: State vector, shape (1, D).
            points: Policy points, shape (1, N, C), or None.
            images: Of each camera, shape (1, H, W, 3), uint8.
            latent: CVAE latent, shape (1, latent).
            previous: Network actions of the last plan, shifted to now, shape (1, H, A); entries
                that are NaN are taken from the base policy.
            noise: Standard normal numbers for the base policy, shape (1, *noise).
            memory: What the base policy remembers of the episode, shape (1, M).
        """
        agent = self.agent
        inputs = agent.inputs(state, points, images)
        low, high = agent.normaliser.low, agent.normaliser.high
        base, after, draws = agent.propose_step(inputs, noise, memory)
        start = self._begun(base, previous)
        z = self.head.encoder.encode(inputs)
        problem = self.head.problem(z, low, high, latent if self.latent else None)
        rows = self.method.schedule(start)
        method = self.method
        if isinstance(method, MPPI):  # the state carries what it draws from
            method = replace(method, draws=draws)
        first = method.init(problem, start)
        return Proposal(agent.normaliser.from_unit(base), rows, problem.context, first, after)

    def _begun(self, base: Tensor, previous: Tensor) -> Tensor:
        """Where the solve begins, in unit actions (1, H, A)."""
        if self._start == "previous":
            shifted = self.agent.normaliser.to_unit(previous)
            return torch.where(shifted.isnan(), base, shifted)
        return torch.zeros_like(base) if self._start == "zero" else base

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
        """The answer; `first` (1, H, A) is the start in the box, `before` (1,) its objective."""
        found = self.method.result(self.problem(context), Start(first, before), state)
        actions = self.agent.normaliser.from_unit(found.actions)
        return Answer(actions, found.objective_before, found.objective_after, found.finite)
