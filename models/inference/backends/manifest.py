# SPDX-License-Identifier: MIT
"""The files of an exported policy, and how they are read. No torch.

Beside `card.json` lie `propose.onnx`, `step.onnx` and `finish.onnx`, the policy's three functions,
and `export.json`, the manifest with their hashes. A base policy alone has `propose.onnx` alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from difftori_models.checkpoint import CheckpointError
from difftori_models.contract.network_settings import BASES
from difftori_models.contract.specs import Card
from difftori_models.contract.strict_json import JsonError, decode, dumps, loads

from .base import MANIFEST

GRAPHS = ("propose.onnx", "step.onnx", "finish.onnx")
"""The policy's three functions."""

EXPORT_SCHEMA = 1
"""Version of the manifest. A loader refuses every other number."""


@dataclass(frozen=True)
class Manifest:
    """What `export.json` holds.

    Attributes:
        card_sha256: Digest of the card that the graphs were made from; see `digest`.
        graphs: SHA-256 of each graph, by file name.
        opset: Version of the ONNX operators.
        checked: Random observations on which graphs and PyTorch were compared; 0 for none.
        difference: Largest difference seen there [network units]; 0 when nothing was compared.
        schema: Version of this file.
    """

    card_sha256: str
    graphs: Mapping[str, str]
    opset: int
    checked: int
    difference: float
    schema: int = EXPORT_SCHEMA


def image_input(camera: str) -> str:
    """Name under which `propose.onnx` takes the image of a camera, uint8 (1, H, W, 3)."""
    return f"image_{camera}"


def graph_names(card: Card) -> tuple[str, ...]:
    """Names of the files that an export of this card has."""
    return ("propose.onnx",) if card.method in BASES else GRAPHS


def digest(card: Card) -> str:
    """SHA-256 of everything in the card that a graph depends on: all but the results."""
    return hashlib.sha256(dumps(replace(card, results=())).encode()).hexdigest()


def read_graphs(folder: Path, card: Card) -> dict[str, bytes]:
    """The graphs in `folder` by name (`propose`, ...), checked against manifest and card.

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
    if manifest.card_sha256 != digest(card):
        raise CheckpointError(
            f"{folder}: the graphs were exported from another card or other weights than these; "
            "run 'difftori export' again, or take backend eager"
        )
    wanted = graph_names(card)
    if set(manifest.graphs) != set(wanted):
        raise CheckpointError(
            f"{path}: wanted the graphs {', '.join(wanted)}, it lists "
            f"{', '.join(manifest.graphs) or 'none'}"
        )
    graphs = {}
    for name in wanted:
        file = folder / name
        if not file.is_file():
            raise CheckpointError(f"{folder}: no {name} there, which {MANIFEST} lists")
        graphs[file.stem] = file.read_bytes()
        found = hashlib.sha256(graphs[file.stem]).hexdigest()
        if found != manifest.graphs[name]:
            raise CheckpointError(
                f"{file}: not the graph that was exported: sha256 {found[:12]}..., "
                f"{MANIFEST} says {manifest.graphs[name][:12]}..."
            )
    return graphs
