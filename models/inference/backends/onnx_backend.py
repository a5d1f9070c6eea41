# SPDX-License-Identifier: MIT
"""Runs an exported policy with ONNX Runtime; neither needs nor imports PyTorch.

One step is one graph, looped by the host, so a solve can stop after any iteration. Its inputs and
outputs are bound to two sets of buffers that take turns: nothing is copied between two steps, and
on a GPU each direction is captured once as a CUDA graph.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from difftori_models.checkpoint import CheckpointError, load_card

from .base import Floats, Images
from .manifest import image_input, read_graphs

# Read when ONNX Runtime is imported: else it tells its maker over the network about every session,
# from a thread of its own, and keeps a database for that. Whoever sets the variable decides.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

SPIN_US = "100"
"""Time threads stay awake after a run: waking them for each step would cost a fifth more [us]."""


class OnnxBackend:
    """See `Backend`."""

    backend = "onnx"

    def __init__(
        self, folder: str | Path, device: str, threads: int, graphs: Path | None = None
    ) -> None:
        """Open the graphs in `graphs`, or in `folder` itself, of the checkpoint in `folder`.

        Raises:
            CheckpointError: There are none, they do not fit the card, ONNX Runtime is not
                installed, or it has no provider for the device.
        """
        runtime = _runtime()
        self.card = load_card(folder)
        models = read_graphs(graphs or Path(folder), self.card)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Its threads spin from one step to the next, and must not between two plans.
        options.add_session_config_entry("session.intra_op.spin_duration_us", SPIN_US)
        sessions = {
            name: _session(runtime, data, options, device, captured=name == "step")
            for name, data in models.items()
        }
        self._propose = sessions["propose"]
        shapes = {one.name: tuple(one.shape) for one in self._propose.get_inputs()}
        self._wanted = set(shapes)
        self.noise = shapes.get("noise", (1, 0))[1:]
        self.memory = shapes.get("memory", (1, 0))[1]
        self._outputs = [one.name for one in self._propose.get_outputs()]
        self._step = self._finish = None
        self.iterations = 0
        if "step" in sessions:
            self.iterations = self.card.solver.iterations
            if self.card.method == "residual":
                self.iterations = 1
            self._finish = sessions["finish"]
            self._finish_wanted = [one.name for one in self._finish.get_inputs()]
            self._step = _BoundStep(runtime, sessions["step"], device)
        self.latent = self.card.network.latent if self.iterations else 0

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
        given = {"state": state, "points": points, "latent": latent, "previous": previous}
        cameras = map(image_input, self.card.observation.images)
        given |= dict(zip(cameras, images, strict=True))
        given["noise"] = (np.zeros(self.noise, np.float32) if noise is None else noise)[None]
        given["memory"] = (np.zeros(self.memory, np.float32) if memory is None else memory)[None]
        feeds = {name: given[name] for name in self._wanted}
        self._proposal = dict(zip(self._outputs, self._propose.run(None, feeds), strict=True))
        self._done, self._before = 0, None
        if self._step is not None and refine:
            self._step.load(self._proposal)
        return self._proposal["base"][0]

    def step(self) -> int:
        """See `Backend.step`."""
        assert self._step is not None
        self._step.run(self._proposal["rows"][self._done])
        if self._done == 0:
            self._before = self._step.read("value")
        self._done += 1
        return 1

    def finish(self) -> tuple[Floats, float, float, bool]:
        """See `Backend.finish`."""
        assert self._step is not None
        assert self._finish is not None
        values = self._proposal | {name: self._step.read(name) for name in self._step.state}
        values |= {"first": self._proposal["iterate"], "before": self._before}
        feeds = {name: values[name] for name in self._finish_wanted}
        actions, before, after, finite = self._finish.run(
            ["actions", "objective_before", "objective_after", "finite"], feeds
        )
        return actions[0], float(before[0]), float(after[0]), bool(finite[0])

    def remembered(self) -> Floats:
        """See `Backend.remembered`."""
        return self._proposal["memory_next"][0] if self.memory else np.zeros(0, np.float32)

    def context(self) -> Floats | None:
        """See `Backend.context`."""
        found = self._proposal.get("context_0")
        return None if found is None else found[0].flatten()


class _BoundStep:
    """One step with its tensors bound to fixed buffers on the device.

    Attributes:
        state: Names of the tensors that one step hands to the next.
    """

    def __init__(self, runtime: Any, session: Any, device: str) -> None:
        self._session = session
        self.state = [one.name.removesuffix("_next") for one in session.get_outputs()]
        kind = "cuda" if device.startswith("cuda") else "cpu"
        shapes = {one.name: one.shape for one in session.get_inputs()}
        shapes |= {one.name.removesuffix("_next"): one.shape for one in session.get_outputs()}

        def buffer(name: str) -> Any:
            return runtime.OrtValue.ortvalue_from_numpy(
                np.zeros(shapes[name], np.float32), kind, 0
            )

        wanted = {one.name for one in session.get_inputs()}
        self._fixed = {name: buffer(name) for name in wanted - set(self.state)}
        self._sets = [{name: buffer(name) for name in self.state} for _ in range(2)]
        self._bindings = []
        for k in range(2):
            binding = session.io_binding()
            for name in sorted(wanted):
                source = self._sets[k].get(name) or self._fixed[name]
                binding.bind_ortvalue_input(name, source)
            for name in self.state:
                binding.bind_ortvalue_output(f"{name}_next", self._sets[1 - k][name])
            options = runtime.RunOptions()
            if kind == "cuda":
                options.add_run_config_entry("gpu_graph_id", str(k + 1))
            self._bindings.append((binding, options))
        self._turn = 0

    def load(self, proposal: dict[str, Any]) -> None:
        """Stand at the start of a solve."""
        self._turn = 0
        for name, value in self._fixed.items():
            if name != "row":
                value.update_inplace(proposal[name])
        for name, value in self._sets[0].items():
            value.update_inplace(proposal[name])

    def run(self, row: Floats) -> None:
        """One iteration."""
        if "row" in self._fixed:
            self._fixed["row"].update_inplace(row)
        self._session.run_with_iobinding(*self._bindings[self._turn])
        self._turn = 1 - self._turn

    def read(self, name: str) -> Floats:
        """A tensor of the state after the last iteration."""
        return self._sets[self._turn][name].numpy().copy()


def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise CheckpointError(
            "backend onnx needs ONNX Runtime: pip install onnxruntime (or onnxruntime-gpu)"
        ) from error
    return onnxruntime


def _session(runtime: Any, data: bytes, options: Any, device: str, captured: bool) -> Any:
    provider: Any = "CPUExecutionProvider"
    if device.startswith("cuda"):
        available = runtime.get_available_providers()
        if "CUDAExecutionProvider" not in available:
            raise CheckpointError(
                f"device '{device}' with backend onnx needs onnxruntime-gpu; this ONNX Runtime "
                f"has {', '.join(available)}"
            )
        provider = ("CUDAExecutionProvider", {"enable_cuda_graph": "1" if captured else "0"})
    try:
        return runtime.InferenceSession(data, options, providers=[provider])
    except Exception as error:  # its errors have no common base class
        raise CheckpointError(f"ONNX Runtime cannot load a graph: {error}") from error
