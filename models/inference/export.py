# SPDX-License-Identifier: MIT
"""`difftori export`: a checkpoint as ONNX graphs that run without PyTorch."""

from __future__ import annotations

import hashlib
import math
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from difftori_models.checkpoint import CARD, CheckpointError, load_card
from difftori_models.contract.features import blank_images
from difftori_models.contract.specs import Card
from difftori_models.contract.strict_json import dumps, write_atomically
from difftori_models.errors import LearningError
from difftori_models.inference.backends.base import MANIFEST, Backend
from difftori_models.inference.backends.manifest import GRAPHS, Manifest, digest
from difftori_models.inference.backends.onnx_backend import OnnxBackend
from difftori_models.inference.backends.torch_backend import TorchBackend
from difftori_models.policies.load import LoadedPolicy, load_policy

from .export_graphs import OPSET, onnx_graphs

TOLERANCE = 1e-4
"""Largest difference from PyTorch that an export may show [network units]."""
SAMPLES = 32
"""Random observations it is looked for on."""


REDRAWS = "derivative_free"
"""The sampler of `ibc` that resamples."""
RESAMPLED = 0.75
"""Share of the observations on which a search that picks candidates must give the same."""


class ExportError(LearningError, RuntimeError):
    """The graphs were not written; the message says why."""


def export(source: str | Path, out: str | Path, check: bool = True) -> Manifest:
    """The checkpoint in `source` lies in `out` as ONNX graphs with its card.

    What was there is kept unless the new graphs are good; a folder without `export.json` holds no
    export.

    Args:
        source: A checkpoint's directory.
        out: Directory of the export, made if need be; may be `source` itself.
        check: Compare the graphs with PyTorch first.

    Raises:
        CheckpointError: The checkpoint cannot be used.
        ExportError: A package is missing, `out` holds another checkpoint, or graphs and PyTorch
            differ by more than `TOLERANCE`.
    """
    _require_onnx()
    source, out = Path(source), Path(out)
    policy = load_policy(source)
    _require_room(out, policy.card)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        shutil.copyfile(source / CARD, folder / CARD)
        manifest = _write(policy, folder)
        if check:
            exported = OnnxBackend(folder, "cpu", 1)
            difference = compare(TorchBackend(policy, "eager", "cpu", 1), exported)
            if not difference <= TOLERANCE:
                raise ExportError(
                    f"{source}: the graphs differ from PyTorch by {difference:.2g} on {SAMPLES} "
                    f"random observations, more than {TOLERANCE:g}; nothing was written"
                )
            manifest = replace(manifest, checked=SAMPLES, difference=difference)
            (folder / MANIFEST).write_text(dumps(manifest))
        out.mkdir(parents=True, exist_ok=True)
        for name in (MANIFEST, *GRAPHS):
            (out / name).unlink(missing_ok=True)
        # The manifest comes last: without it a folder holds no export.
        for name in (CARD, *manifest.graphs, MANIFEST):
            if not (name == CARD and (out / CARD).is_file()):
                write_atomically(out / name, (folder / name).read_bytes())
    return manifest


def compare(one: Backend, other: Backend, samples: int = SAMPLES, seed: int = 0) -> float:
    """Largest difference between two backends' actions on random observations [network units].

    Different when not both are finite or neither is: then the answer is infinity. A search jumps
    where a last digit decides which chunk is drawn again or is among the elites, so of its
    differences those of `RESAMPLED` of the observations count, the smaller ones.
    """
    rng = np.random.default_rng(seed)
    card, found = one.card, []
    mean, std = (np.array(card.normaliser["state"][key]) for key in ("mean", "std"))
    spec = card.observation.points
    action = card.action
    shape = (1, action.horizon, len(action.names))
    for _ in range(samples):
        state = (mean + std * rng.standard_normal((1, len(mean)))).astype(np.float32)
        points = None
        if spec is not None:
            count = card.observation.frames * spec.count
            xyz = rng.uniform(-0.2, 0.2, (1, count, 3))
            rgb = rng.uniform(0, 1, (1, count, 3 if spec.color else 0))
            points = np.concatenate([xyz, rgb], axis=2).astype(np.float32)
        images = tuple(
            rng.integers(0, 256, blank.shape, dtype=np.uint8)
            for blank in blank_images(card.observation)
        )
        latent = rng.standard_normal((1, one.latent)).astype(np.float32)
        previous = rng.uniform(action.low, action.high, shape).astype(np.float32)
        noise = rng.standard_normal(one.noise).astype(np.float32)
        memory = rng.uniform(-1, 1, one.memory).astype(np.float32)
        answers = []
        for backend in (one, other):
            answer = backend.propose(
                state, points, images, latent, previous, noise=noise, memory=memory
            )
            done = 0
            while done < backend.iterations:
                done += backend.step()
            final = backend.finish()[0] if done else answer
            parts = (answer.ravel(), final.ravel(), backend.remembered())
            answers.append(np.concatenate(parts))
        difference = float(np.abs(answers[0] - answers[1]).max())
        found.append(difference if np.isfinite(difference) else np.inf)
    jumps = "ibc" in (card.method, card.base) and card.solver.sampler == REDRAWS
    share = RESAMPLED if jumps or card.method == "tdmpc" else 1.0
    return sorted(found)[math.ceil(share * samples) - 1]


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ExportError(
            f"exporting needs onnx, onnxscript and onnxruntime ({error}): "
            "pip install 'difftori_ros[export]'"
        ) from error


def _require_room(out: Path, card: Card) -> None:
    """Pass silently when an export of `card` may be written to `out`."""
    if out.exists() and not out.is_dir():
        raise ExportError(f"{out} is a file; wanted a directory for the graphs")
    for name in (CARD, MANIFEST, *GRAPHS):
        if (out / name).is_dir():
            raise ExportError(f"{out / name} is a directory and in the way")
    if (out / CARD).is_file() and digest(load_card(out)) != digest(card):
        raise ExportError(
            f"{out} holds the card of '{load_card(out).name}', another checkpoint than "
            f"'{card.name}'; choose another folder"
        )


def _write(policy: LoadedPolicy, folder: Path) -> Manifest:
    hashes = {}
    for name, data in onnx_graphs(policy).items():
        (folder / f"{name}.onnx").write_bytes(data)
        hashes[f"{name}.onnx"] = hashlib.sha256(data).hexdigest()
    manifest = Manifest(digest(policy.card), hashes, OPSET, 0, 0.0)
    (folder / MANIFEST).write_text(dumps(manifest))
    return manifest


def main() -> int:
    """Export the checkpoint in the first argument's folder to the second's; 0 when it is there."""
    source, out = sys.argv[1:]
    try:
        export(source, out)
    except (CheckpointError, ExportError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
