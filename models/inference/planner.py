# SPDX-License-Identifier: MIT
"""From an observation to a plan under a deadline: what the robot side calls in its loop."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from difftori_models.contract.features import (
    blank_images,
    blank_points,
    episode_noise,
    policy_images,
    policy_points,
    state_vector,
)
from difftori_models.contract.specs import Card, FloatArray, Observation, Plan, PlanStatus
from difftori_models.inference.backends.base import Backend, Floats, Images
from difftori_models.inference.backends.open_backend import open_backend

if TYPE_CHECKING:
    from difftori_models.policies.load import LoadedPolicy

_NONE = float("nan")


class Planner:
    """Plans with a checkpoint. Deterministic: the same observation and episode give the same plan.

    With a base policy that remembers, such as `bc_rnn`, so do the same observations one after the
    other: every usable plan is one step of its memory, which a new episode clears.

    Encodes once, proposes, and refines until all iterations are done or the deadline has passed.
    The values of a plan are data: an imitation head's score is an update rule and ranks nothing.

    Attributes:
        card: The checkpoint's card.
        backend: What runs the networks.
        publish_latent: Plans carry the encoded observation, for whoever wants to look at it.
    """

    def __init__(
        self,
        checkpoint: str | Path | LoadedPolicy,
        device: str = "cpu",
        threads: int = 1,
        backend: str = "auto",
        graphs: Path | None = None,
    ) -> None:
        """Load the checkpoint and make it ready to run.

        Args:
            checkpoint: A checkpoint's directory, or a loaded one.
            device: `cpu` or `cuda`.
            threads: CPU threads.
            backend: What runs the networks: `auto`, `eager`, `onnx` or `cuda_graph`.
                Without torch installed `onnx` alone works.
            graphs: Folder of exported graphs of this checkpoint, which `auto` and `onnx` take
                then; see `graph_cache.ready_graphs`. None for those in its own folder.

        Raises:
            CheckpointError: The checkpoint cannot be used, or not with this device or backend.
        """
        self._backend: Backend = open_backend(checkpoint, backend, device, threads, graphs)
        self.card: Card = self._backend.card
        self.backend = self._backend.backend
        action = self.card.action
        self._scale = np.array(action.scale)
        self._low, self._high = np.array(action.low), np.array(action.high)
        self._samples = self.card.solver.latent == "sample"
        self._latent: Floats = np.zeros((1, self._backend.latent), np.float32)
        self._noise, self._memory = self._drawn(0), self._nothing()
        self._last: tuple[int, FloatArray] | None = None
        self.publish_latent = False

    def warm_up(self) -> None:
        """The first `plan` is as fast as the rest: buffers are allocated, kernels chosen."""
        spec = self.card.observation
        state = np.zeros((1, self.card.network.state), np.float32)
        for _ in range(3):
            self._solve(
                state, blank_points(spec), blank_images(spec), self._shifted(0), None, True
            )
        self._memory = self._nothing()

    def reset(self, seed: int) -> None:
        """A new episode: its latent and noise are drawn and held, all else is forgotten."""
        self._last = None
        self._noise, self._memory = self._drawn(seed), self._nothing()
        if self._samples:
            draw = np.random.default_rng(seed).standard_normal((1, self._backend.latent))
            self._latent = draw.astype(np.float32)

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
            FeatureError: The observation lacks a joint, a pose, the points or an image that the
                card asks for.
        """
        began = time.monotonic()
        spec = self.card.observation
        state = state_vector(observation, spec)[None]
        points = None if spec.points is None else policy_points(observation, spec)[None]
        images = tuple(image[None] for image in policy_images(observation, spec))
        end = None if deadline_s is None else began + deadline_s
        previous = self._shifted(observation.stamp_ns)
        actions, before, after, iterations, status = self._solve(
            state, points, images, previous, end, refine
        )
        actions = actions.clip(self._low, self._high)
        self._last = (observation.stamp_ns, actions) if status.usable else None
        return Plan(
            stamp_ns=observation.stamp_ns,
            actions=actions * self._scale,
            objective_before=before,
            objective_after=after,
            iterations=iterations,
            elapsed_s=time.monotonic() - began,
            status=status,
            context=self._backend.context() if self.publish_latent else None,
        )

    def _solve(
        self,
        state: Floats,
        points: Floats | None,
        images: Images,
        previous: Floats,
        end: float | None,
        refine: bool,
    ) -> tuple[FloatArray, float, float, int, PlanStatus]:
        backend = self._backend
        base = backend.propose(
            state,
            points,
            images,
            self._latent,
            previous,
            refine,
            noise=self._noise,
            memory=self._memory,
        ).astype(np.float64)
        remembered = backend.remembered()
        seen = np.isfinite(state).all() and (points is None or np.isfinite(points).all())
        if not (seen and np.isfinite(base).all() and np.isfinite(remembered).all()):
            return np.full_like(base, np.nan), _NONE, _NONE, 0, PlanStatus.FAILED
        self._memory = remembered
        if backend.iterations == 0 or not refine:
            return base, _NONE, _NONE, 0, PlanStatus.BASE
        done = 0
        while done < backend.iterations and (end is None or time.monotonic() < end):
            done += backend.step()
        if not done:
            return base, _NONE, _NONE, 0, PlanStatus.DEADLINE
        actions, before, after, finite = backend.finish()
        if not finite:
            return base, before, after, done, PlanStatus.DIVERGED
        status = PlanStatus.REFINED if done >= backend.iterations else PlanStatus.DEADLINE
        return actions.astype(np.float64), before, after, done, status

    def _drawn(self, seed: int) -> Floats:
        """The noise of the plans in the episode of a seed; not the numbers of the latent."""
        return episode_noise(seed, self._backend.noise)

    def _nothing(self) -> Floats:
        """The base policy's memory at the start of an episode."""
        return np.zeros(self._backend.memory, np.float32)

    def _shifted(self, stamp_ns: int) -> Floats:
        """The last plan's network actions as seen from `stamp_ns`, (1, H, A); NaN past its end."""
        action = self.card.action
        shifted = np.full((1, action.horizon, len(action.names)), np.nan, np.float32)
        if self._last is not None:
            steps = round((stamp_ns - self._last[0]) * 1e-9 / action.dt_s)
            if 0 <= steps < action.horizon:
                shifted[0, : action.horizon - steps] = self._last[1][steps:]
        return shifted


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
