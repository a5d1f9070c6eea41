# SPDX-License-Identifier: MIT
"""Which backend runs a policy here, and how it is opened. No torch until a checkpoint needs it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from difftori_models.checkpoint import WEIGHTS, CheckpointError, load_card

from .base import BACKENDS, DEVICES, MANIFEST, Backend

if TYPE_CHECKING:
    from difftori_models.policies.load import LoadedPolicy


def open_backend(
    checkpoint: str | Path | LoadedPolicy,
    backend: str,
    device: str,
    threads: int,
    graphs: Path | None = None,
) -> Backend:
    """The backend named `backend`.

    Args:
        checkpoint: A checkpoint's directory, or a loaded one.
        backend: One of `BACKENDS`.
        device: `cpu` or `cuda`.
        threads: CPU threads.
        graphs: Folder of exported graphs of this checkpoint; None for its own.

    Raises:
        CheckpointError: The checkpoint cannot be used, or not with this backend.
    """
    if backend not in BACKENDS:
        raise CheckpointError(f"unknown backend '{backend}'; known: {', '.join(BACKENDS)}")
    if device not in DEVICES:
        raise CheckpointError(f"unknown device '{device}'; known: {', '.join(DEVICES)}")
    if threads < 1:
        raise CheckpointError(f"threads must be at least 1, got {threads}")
    if backend == "auto":
        backend = _choose(checkpoint, device, graphs)
    if backend == "onnx":
        if not isinstance(checkpoint, (str, Path)):
            raise CheckpointError("backend onnx wants a directory that 'difftori export' wrote")
        from .onnx_backend import OnnxBackend

        return OnnxBackend(checkpoint, device, threads, graphs)
    if isinstance(checkpoint, (str, Path)):
        if importlib.util.find_spec("torch") is None:
            load_card(checkpoint)
            raise CheckpointError(
                f"backend {backend} needs PyTorch, which is not installed here; "
                "'difftori export' makes graphs that need ONNX Runtime alone"
            )
        from difftori_models.policies.load import load_policy

        checkpoint = load_policy(checkpoint)
    from .torch_backend import TorchBackend

    return TorchBackend(checkpoint, backend, device, threads)


def _choose(checkpoint: str | Path | LoadedPolicy, device: str, graphs: Path | None) -> str:
    if graphs is not None:
        return "onnx"
    folder = Path(checkpoint) if isinstance(checkpoint, (str, Path)) else None
    exported = folder is not None and (folder / MANIFEST).is_file()
    only = exported and folder is not None and not (folder / WEIGHTS).is_file()
    if only or (exported and device == "cpu" and importlib.util.find_spec("onnxruntime")):
        return "onnx"
    return "cuda_graph" if device == "cuda" else "eager"
