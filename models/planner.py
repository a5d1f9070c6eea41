# SPDX-License-Identifier: MIT
"""From an observation to a plan under a deadline: what the robot side calls in its loop."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import torch

from .checkpoint import Checkpoint, load
from .contract import Card, Observation, Plan, PlanStatus
from .features import policy_points, state_vector
from .policies.score import ScoreHead

_NONE = float("nan")


class Planner:
    """Plans with a checkpoint. Deterministic: the same observation and episode give the same plan.

    The answer is the optimiser's last iterate, as in training. The values of a plan are data: the
    learned score is an update rule, it does not rank plans.
    """

    def __init__(
        self, checkpoint: str | Path | Checkpoint, device: str = "cpu", threads: int = 1
    ) -> None:
        """Load the checkpoint.

        Args:
            checkpoint: A checkpoint's directory, or a loaded one.
            device: torch device.
            threads: torch threads; set in whichever thread calls `plan`.

        Raises:
            CheckpointError: The checkpoint cannot be used.
        """
        if not isinstance(checkpoint, Checkpoint):
            checkpoint = load(checkpoint)
        self.card: Card = checkpoint.card
        self._agent = checkpoint.agent.eval().to(device)
        self._device = device
        self._threads = threads
        self._thread: int | None = None
        self._scale = np.array(self.card.action.scale)
        self._low = np.array(self.card.action.low)
        self._high = np.array(self.card.action.high)
        self._latent: torch.Tensor | None = None

    def warm_up(self) -> None:
        """The first `plan` is as fast as the rest: buffers are allocated, kernels chosen."""
        network = self._agent.network
        state = torch.zeros(1, network.state, device=self._device)
        points = None
        if self.card.observation.points is not None:
            count = self.card.observation.points.count
            points = torch.zeros(1, count, network.points, device=self._device)
        for _ in range(3):
            self._solve(state, points, None, True)

    def reset(self, seed: int) -> None:
        """A new episode begins: its CVAE latent, if there is one, is chosen now and held."""
        head = self._agent.head
        self._latent = None
        if isinstance(head, ScoreHead) and head.latent and self._agent.solver.latent == "sample":
            generator = torch.Generator().manual_seed(seed)
            self._latent = torch.randn(1, head.latent, generator=generator).to(self._device)

    def plan(
        self, observation: Observation, deadline_s: float | None = None, refine: bool = True
    ) -> Plan:
        """A plan for this observation; never raises on account of numbers, however bad they are.

        Args:
            observation: What is seen now.
            deadline_s: Time after which no further iteration is begun, counted from this call on
                the steady clock [s]; None for no deadline.
            refine: False gives the base policy's actions.

        Raises:
            FeatureError: The observation lacks a joint, a pose or the points that the card asks
                for.
        """
        began = time.monotonic()
        spec = self.card.observation
        state = torch.from_numpy(state_vector(observation, spec)[None]).to(self._device)
        points = None
        if spec.points is not None:
            points = torch.from_numpy(policy_points(observation, spec)[None]).to(self._device)
        end = None if deadline_s is None else began + deadline_s
        actions, before, after, iterations, status = self._solve(state, points, end, refine)
        return Plan(
            stamp_ns=observation.stamp_ns,
            actions=np.asarray(
                actions.clip(self._low, self._high) * self._scale, dtype=np.float64
            ),
            value_before=before,
            value_after=after,
            iterations=iterations,
            elapsed_s=time.monotonic() - began,
            status=status,
        )

    @torch.inference_mode()
    def _solve(
        self, state: torch.Tensor, points: torch.Tensor | None, end: float | None, refine: bool
    ) -> tuple[np.ndarray, float, float, int, PlanStatus]:
        self._use_threads()
        agent, head = self._agent, self._agent.head
        low, high = agent.normaliser.low, agent.normaliser.high
        inputs = agent.inputs(state, points)
        start = agent.base(inputs)
        seen = state.isfinite().all() and (points is None or points.isfinite().all())
        usable = bool(seen and start.isfinite().all())
        start = start.clamp(low, high)
        base = self._network_actions(start)
        if not usable:
            return np.full_like(base, np.nan), _NONE, _NONE, 0, PlanStatus.FAILED
        if head is None or not refine:
            return base, _NONE, _NONE, 0, PlanStatus.BASE

        def late() -> bool:
            return end is not None and time.monotonic() >= end

        solution = head.refine(inputs, start, low, high, self._latent, late)
        before, after = float(solution.value_before[0]), float(solution.value_after[0])
        if not bool(solution.finite[0]):
            return base, before, after, solution.iterations, PlanStatus.DIVERGED
        complete = solution.iterations == head.iterations
        status = PlanStatus.REFINED if complete else PlanStatus.DEADLINE
        actions = self._network_actions(solution.actions)
        return actions, before, after, solution.iterations, status

    def _network_actions(self, unit: torch.Tensor) -> np.ndarray:
        return self._agent.normaliser.from_unit(unit)[0].cpu().numpy().astype(np.float64)

    def _use_threads(self) -> None:
        # torch counts threads per calling thread, so this cannot be done once in the constructor.
        if self._thread != threading.get_ident():
            torch.set_num_threads(self._threads)
            self._thread = threading.get_ident()


class BasePlanner:
    """A checkpoint without its optimiser: what the base policy alone would do."""

    def __init__(self, planner: Planner) -> None:
        """Plan with the base policy of `planner`."""
        self._planner, self.card = planner, planner.card

    def plan(self, observation: Observation, deadline_s: float | None = None) -> Plan:
        """The base policy's actions."""
        return self._planner.plan(observation, deadline_s, refine=False)

    def reset(self, seed: int) -> None:
        """A new episode begins."""
        self._planner.reset(seed)
