# SPDX-License-Identifier: MIT
"""The files of an exported policy, and how they are read. No torch.

Beside `card.json` lie `propose.onnx`, `step.onnx` and `finish.onnx`, the policy's three functions,
and `export.json`, the manifest with their hashes. A `bc` policy has `propose.onnx` alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checkpoint import CheckpointError
from ..contract import Card
from ..jsonio import JsonError, decode, loads
from .engine import MANIFEST

EXPORT_SCHEMA = 1
"""Version of the manifest. A loader refuses every other number."""


@dataclass(frozen=True)
class Manifest:
    """What `export.json` holds.

    Attributes:
        weights_sha256: Weights that the graphs were made from, as in the card.
        solver: The solver's settings in the graphs, as in the card.
        graphs: SHA-256 of each graph, by file name.
        context: Names of the tensors that `propose` hands to `step` and `finish` unchanged.
        state: Names of the tensors that one step hands to the next; the first is the iterate, the
            second its value.
        opset: Version of the ONNX operators.
        checked: Random observations on which graphs and PyTorch were compared; 0 for none.
        difference: Largest difference seen there [network units]; 0 when nothing was compared.
        schema: Version of this file.
    """

    weights_sha256: str
    solver: Mapping[str, Any]
    graphs: Mapping[str, str]
    context: tuple[str, ...]
    state: tuple[str, ...]
    opset: int
    checked: int
    difference: float
    schema: int = EXPORT_SCHEMA


def read_graphs(folder: Path, card: Card) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest in `folder` and the graphs by name (`propose`, ...), checked against the card.

    Raises:
        CheckpointError: There is no export, a file is missing or not the one that was written, or
            the card has changed since.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise CheckpointError(
            f"{folder}: no {MANIFEST} there, so no exported graphs; "
            "'difftori export --checkpoint ...' makes them"
        )
    try:
        data = loads(path.read_bytes())
        if isinstance(data, dict) and data.get("schema") != EXPORT_SCHEMA:
            raise CheckpointError(
                f"{path}: unknown schema {data.get('schema')!r}; known: {EXPORT_SCHEMA}"
            )
        manifest: Manifest = decode(Manifest, data)
    except JsonError as error:
        raise CheckpointError(f"{path}: {error}") from error
    if manifest.weights_sha256 != card.weights_sha256 or dict(manifest.solver) != dict(
        card.solver
    ):
        raise CheckpointError(
            f"{folder}: the graphs were exported from other weights or solver settings than the "
            "card's; run 'difftori export' again"
        )
    graphs = {}
    for name, digest in manifest.graphs.items():
        file = folder / name
        if Path(name).name != name or not file.is_file():
            raise CheckpointError(f"{folder}: no {name} there, which {MANIFEST} lists")
        graphs[file.stem] = file.read_bytes()
        found = hashlib.sha256(graphs[file.stem]).hexdigest()
        if found != digest:
            raise CheckpointError(
                f"{file}: not the graph that was exported: sha256 {found[:12]}..., "
                f"{MANIFEST} says {digest[:12]}..."
            )
    return manifest, graphs
