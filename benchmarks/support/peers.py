# SPDX-License-Identifier: MIT
"""Everything that is timed on a problem: Theseus, and a method with each backend.

All of them are functions without arguments that give the last iterate (B, H, A); those that train
also leave gradients in the parameters. Ours value the last iterate too, as Theseus does.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.nn import functional
from torch.utils._pytree import tree_flatten

from difftori_models.solver import LMRank1, Method, Problem, TheseusLM, solve, truncated
from difftori_models.solver.theseus import TheseusMissingError, load_theseus
from difftori_models.solver.tracing import TracedStep

BACKWARD = 5
"""Iterations that the reference leaves in the graph."""

Run = Callable[[], Tensor]


@dataclass(frozen=True)
class Reference:
    """Settings of the reference code.

    Attributes:
        iterations: K.
        step_size: Factor of every step.
        damping: Added to the diagonal.
        coupled: One problem for the whole batch.
    """

    iterations: int = 10
    step_size: float = 1e-3
    damping: float = 1e-3
    coupled: bool = False

    def ours(self) -> LMRank1:
        """In closed form."""
        return LMRank1(
            self.iterations, self.step_size, self.damping, target=1000.0, coupled=self.coupled
        )

    def theirs(self, mode: str = "vmap") -> TheseusLM:
        """The library itself."""
        return TheseusLM(
            self.iterations,
            self.step_size,
            self.damping,
            target=1000.0,
            coupled=self.coupled,
            autograd_mode=mode,
            backward_iterations=BACKWARD,
        )


def require_theseus() -> None:
    """End the benchmark with one sentence where its peer is not installed."""
    try:
        load_theseus()
    except TheseusMissingError as error:
        raise SystemExit(f"this benchmark has Theseus as its peer, and {error}") from error


def theseus_as_called(problem: Problem, start: Tensor, reference: Reference) -> Run:
    """As in the reference code: a new layer for every call, with the graph, also when acting."""

    def run() -> Tensor:
        with torch.enable_grad():
            return reference.theirs().solve(problem, start)[0].detach()

    return run


def theseus_at_best(problem: Problem, start: Tensor, reference: Reference, mode: str) -> Run:
    """One layer for all calls, without a graph."""
    theirs = replace(reference.theirs(mode), backward_iterations=None)
    layer = theirs.layer(problem, start)

    def run() -> Tensor:
        with torch.no_grad():
            return theirs.run(layer, problem, start)[0]

    return run


def theseus_training(problem: Problem, start: Tensor, reference: Reference) -> Run:
    """As in the reference code, and the way back through its last iterations."""

    def run() -> Tensor:
        last = reference.theirs().solve(problem, start)[0]
        last.sum().backward()
        return last.detach()

    return run


def eager(problem: Problem, start: Tensor, method: Method) -> Run:
    """Operation by operation."""

    def run() -> Tensor:
        with torch.no_grad():
            return solve(problem, start, method).actions

    return run


def training(problem: Problem, start: Tensor, method: Method) -> Run:
    """A solve and the way back through its last iterations."""

    def run() -> Tensor:
        last = truncated(problem, start, method, BACKWARD).actions
        last.sum().backward()
        return last.detach()

    return run


def onnx(problem: Problem, start: Tensor, method: Method, threads: int) -> Run:
    """One iteration as an ONNX graph, looped by the host; one more gives the value of the last."""
    traced = TracedStep(method, problem, start)
    rows = method.schedule(start)
    step = _Graph(
        traced.graph, traced.flatten(problem, method.init(problem, start), rows[0]), threads
    )
    fixed = [x.numpy() for x in tree_flatten(problem.context)[0]]
    each = list(rows.numpy())

    def run() -> Tensor:
        leaves = [x.numpy() for x in tree_flatten(method.init(problem, start))[0]]
        for row in each:
            leaves = step([*fixed, *leaves, row])
        step([*fixed, *leaves, each[-1]])
        return torch.from_numpy(leaves[0])

    return run


class _Graph:
    """A traced function on ONNX Runtime."""

    def __init__(self, graph: GraphModule, examples: Sequence[Tensor], threads: int) -> None:
        names = [f"in_{k}" for k in range(len(examples))]
        # The exporter tells of optional packages and of its own deprecations.
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                graph, tuple(examples), input_names=names, dynamo=True, verbose=False
            )
        assert program is not None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        # From one step to the next its threads spin, but not on into the row that comes next.
        options.add_session_config_entry("session.intra_op.spin_duration_us", "100")
        self._session = onnxruntime.InferenceSession(
            program.model_proto.SerializeToString(), options, ["CPUExecutionProvider"]
        )
        wanted = {one.name for one in self._session.get_inputs()}
        self._feeds = [(k, name) for k, name in enumerate(names) if name in wanted]

    def __call__(self, leaves: Sequence[np.ndarray]) -> list[Any]:
        return self._session.run(None, {name: leaves[k] for k, name in self._feeds})


class ChunkScore:
    """The reference's imitation score: an MLP 336-256-256-1 of context and a chunk of 4x4.

    The weights are random. `whole` is the problem as the reference states it, for Theseus; `split`
    is the same with the context's part of the first layer computed beforehand.
    """

    horizon, size, context = 4, 4, 320

    def __init__(self, batch: int) -> None:
        torch.manual_seed(0)
        chunk = self.horizon * self.size
        self.net = nn.Sequential(
            nn.Linear(self.context + chunk, 256), nn.ELU(), nn.Linear(256, 256), nn.ELU()
        ).append(nn.Linear(256, 1))
        self.net.requires_grad_(False)
        with torch.no_grad():
            self.net[-1].weight.mul_(10.0)
        self.start = 0.5 * torch.randn(batch, self.horizon, self.size)
        self.seen = torch.randn(batch, self.context)
        self.high = torch.ones(self.size)

    def whole(self) -> Problem:
        """`value` of (context, chunk) as they are."""

        def value(net: Any, context: Tensor, actions: Tensor) -> Tensor:
            return net(torch.cat([context, actions.flatten(-2)], dim=-1)).squeeze(-1)

        return Problem(value, -self.high, self.high, self.net, self.seen)

    def split(self) -> Problem:
        """The context's part of the first layer is the context."""
        first, middle, out = self.net[0], self.net[2], self.net[4]
        weight = first.weight[:, self.context :].contiguous()

        def layers(c: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
            h1 = functional.elu(torch.addmm(c, actions.flatten(1), weight.t()))
            return h1, functional.elu(middle(h1))

        def value(_: Any, c: Tensor, actions: Tensor) -> Tensor:
            return out(layers(c, actions)[1]).squeeze(-1)

        def gradient(_: Any, c: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
            h1, h2 = layers(c, actions)
            e2 = out.weight[0] * (1 + h2.clamp(max=0))
            e1 = (e2 @ middle.weight) * (1 + h1.clamp(max=0))
            return out(h2).squeeze(-1), (e1 @ weight).view_as(actions)

        c = functional.linear(self.seen, first.weight[:, : self.context], first.bias)
        return Problem(value, -self.high, self.high, None, c, gradient)
