# SPDX-License-Identifier: MIT
"""Runs a policy with PyTorch: eagerly, or as one CUDA graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils._pytree import tree_flatten, tree_map

from difftori_models.checkpoint import CheckpointError
from difftori_models.contract.features import blank_images, blank_points
from difftori_models.policies.load import LoadedPolicy
from difftori_models.policies.plan_functions import Answer, Deployed, Proposal
from difftori_models.solver.method import State

from .base import Floats, Images


class TorchBackend:
    """See `Backend`."""

    def __init__(self, policy: LoadedPolicy, backend: str, device: str, threads: int) -> None:
        """Move the networks to the device, and capture the solve where that is asked for.

        Raises:
            CheckpointError: The device or backend is not to be had on this machine.
        """
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise CheckpointError(f"device '{device}': PyTorch finds no GPU here; use cpu")
        if backend == "cuda_graph" and not device.startswith("cuda"):
            raise CheckpointError(f"backend cuda_graph needs device cuda, got device '{device}'")
        self.card, self.backend = policy.card, backend
        self._agent = policy.agent.eval().to(device)
        self._device, self._threads = device, threads
        self._deployed = None if self._agent.head is None else Deployed(self._agent)
        self.iterations = 0 if self._deployed is None else self._deployed.iterations
        self.latent = 0 if self._deployed is None else self._deployed.latent
        self.noise: tuple[int, ...] = self._agent.base.noise
        self.memory = self._agent.base.memory
        self._graph: _CapturedSolve | None = None
        self._proposal: Proposal | None = None
        if self._deployed is not None and backend == "cuda_graph":
            self._graph = self._captured(self._deployed)

    @torch.no_grad()
    def propose(
        self,
        state: Floats,
        points: Floats | None,
        images: Images,
        latent: Floats,
        previous: Floats,
        refine: bool = True,
        noise: Floats | None = None,
        memory: Floats | None = None,
    ) -> Floats:
        """See `Backend.propose`."""
        self._use_threads()
        drawn = None if noise is None else self._tensor(noise)[None]
        known = None if memory is None else self._tensor(memory)[None]
        seen, cloud = self._tensor(state), None if points is None else self._tensor(points)
        pictures = tuple(self._tensor(image) for image in images)
        self._done, self._before, self._answer = 0, None, None
        self._proposal = None
        if self._deployed is None or not refine:
            agent = self._agent
            proposed = agent.propose_step(agent.inputs(seen, cloud, pictures), drawn, known)
            self._remembered = proposed.memory
            return agent.normaliser.from_unit(proposed.actions)[0].cpu().numpy()
        proposal = self._deployed.propose(
            seen,
            cloud,
            pictures,
            self._tensor(latent),
            self._tensor(previous),
            drawn,
            known,
        )
        self._proposal, self._state = proposal, proposal.state
        self._remembered = proposal.memory
        return proposal.base[0].cpu().numpy()

    @torch.no_grad()
    def step(self) -> int:
        """See `Backend.step`; with `cuda_graph` the whole solve is one unit."""
        assert self._proposal is not None
        assert self._deployed is not None
        if self._graph is not None:
            self._answer = self._graph.replay(self._proposal)
            return self.iterations
        context, row = self._proposal.context, self._proposal.rows[self._done]
        self._state = self._deployed.step(context, self._state, row)
        self._before = self._state.objective if self._done == 0 else self._before
        self._done += 1
        return 1

    @torch.no_grad()
    def finish(self) -> tuple[Floats, float, float, bool]:
        """See `Backend.finish`."""
        assert self._proposal is not None
        assert self._deployed is not None
        answer = self._answer
        if answer is None:
            context, first = self._proposal.context, self._proposal.state.actions
            before = self._before
            if before is None:
                before = self._deployed.problem(context).evaluate(first)
            answer = self._deployed.finish(context, first, before, self._state)
        actions = answer.actions[0].cpu().numpy()
        return actions, float(answer.before[0]), float(answer.after[0]), bool(answer.finite[0])

    def remembered(self) -> Floats:
        """See `Backend.remembered`."""
        return self._remembered[0].cpu().numpy()

    def context(self) -> Floats | None:
        """See `Backend.context`."""
        if self._proposal is None:
            return None
        return self._proposal.context[0][0].flatten().cpu().numpy()

    def _captured(self, deployed: Deployed) -> _CapturedSolve:
        network, action = self._agent.network, self.card.action
        points, images = blank_points(self.card.observation), blank_images(self.card.observation)
        chunk = np.full((1, action.horizon, len(action.names)), np.nan, np.float32)
        latent = np.zeros((1, self.latent), np.float32)
        self.propose(np.zeros((1, network.state), np.float32), points, images, latent, chunk)
        assert self._proposal is not None
        return _CapturedSolve(deployed, self._proposal)

    def _tensor(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)

    def _use_threads(self) -> None:
        # torch counts threads per calling thread, and another planner may have set them since.
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)


class _CapturedSolve:
    """All iterations and the finish in one CUDA graph with fixed buffers: one launch per solve."""

    def __init__(self, deployed: Deployed, example: Proposal) -> None:
        self._inputs = tree_map(torch.clone, (example.context, example.state))
        rows = example.rows.clone()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):  # chooses kernels and allocates before the capture
                self._solve(deployed, rows)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._answer = self._solve(deployed, rows)

    def _solve(self, deployed: Deployed, rows: torch.Tensor) -> Answer:
        context, state = self._inputs
        first, before = state.actions, None
        for row in rows.unbind():
            state: State = deployed.step(context, state, row)
            before = state.objective if before is None else before
        assert before is not None
        return deployed.finish(context, first, before, state)

    def replay(self, proposal: Proposal) -> Answer:
        """The answer for this proposal; overwritten by the next one."""
        given = tree_flatten((proposal.context, proposal.state))[0]
        for buffer, tensor in zip(tree_flatten(self._inputs)[0], given, strict=True):
            buffer.copy_(tensor)
        self._graph.replay()
        return self._answer
