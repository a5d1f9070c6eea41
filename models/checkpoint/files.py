# SPDX-License-Identifier: MIT
"""A checkpoint: a directory with `card.json` and `weights.safetensors`; nothing is executed.

See docs/reference/checkpoint.md for the format. No torch here: `difftori_models.policies.load`
makes networks of the tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from difftori_models.contract.specs import Card
from difftori_models.contract.strict_json import (
    JsonError,
    decode,
    dumps,
    encode,
    loads,
    write_atomically,
)

from .card import decode_card
from .card_checks import check_card
from .errors import CheckpointError
from .weights import foreign_format, pack, sha256, unpack

CARD = "card.json"
WEIGHTS = "weights.safetensors"
MAX_BYTES = 1 << 30
"""Larger weight or card files are refused unread."""


def save(folder: str | Path, card: Card, tensors: Mapping[str, NDArray]) -> Card:
    """The checkpoint lies in `folder` and would load; returns the card with the weights' hash.

    Args:
        folder: Directory, made if need be.
        card: The card; its `weights_sha256` is replaced.
        tensors: float32 weights by name, as the agent's state dict names them.

    Raises:
        CheckpointError: The card or a tensor would be refused on loading.
    """
    folder = Path(folder)
    data = pack(tensors, str(folder))
    card = replace(card, weights_sha256=sha256(data))
    try:
        text = dumps(card)
        check_card(decode_card(loads(text)))
    except (JsonError, CheckpointError) as error:
        raise CheckpointError(f"{folder}: this card cannot be saved: {error}") from error
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / WEIGHTS, data)
    write_atomically(folder / CARD, text.encode())
    return card


def load_card(folder: str | Path) -> Card:
    """The card of the checkpoint in `folder`; the weights are not read.

    Raises:
        CheckpointError: There is no such checkpoint, or its card is not a card of this schema.
    """
    folder = _directory(folder)
    path = folder / CARD
    if not path.is_file():
        raise CheckpointError(f"{folder}: no {CARD} there; a checkpoint has {CARD} and {WEIGHTS}")
    if path.stat().st_size > MAX_BYTES:
        raise CheckpointError(f"{path}: {path.stat().st_size} bytes are too many for a card")
    try:
        card = decode_card(loads(path.read_bytes()))
        check_card(card)
    except RecursionError as error:
        raise CheckpointError(f"{path}: nested too deeply for a card") from error
    except (JsonError, CheckpointError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    return card


def load_tensors(folder: str | Path, card: Card) -> dict[str, NDArray[np.float32]]:
    """The weights beside the card, checked against its hash and for numbers that are not finite.

    Raises:
        CheckpointError: The file is missing, is something else, is truncated or oversized, is not
            the one the card was written for, or holds NaN or Inf.
    """
    folder = _directory(folder)
    path = folder / WEIGHTS
    if not path.is_file():
        others = sorted(p.name for p in folder.iterdir() if p.is_file() and p.name != CARD)
        raise CheckpointError(
            f"{folder}: no {WEIGHTS} there, and no other format is read"
            + (f" (found {', '.join(others[:5])})" if others else "")
        )
    if path.stat().st_size > MAX_BYTES:
        raise CheckpointError(f"{path}: {path.stat().st_size} bytes, more than {MAX_BYTES}")
    return unpack(path.read_bytes(), card.weights_sha256, str(path))


def update_results(folder: str | Path, results: Sequence[Mapping[str, Any]]) -> Card:
    """The card in `folder` has these results and is otherwise unchanged; returns it.

    Raises:
        CheckpointError: The card cannot be read, or the results are not plain finite JSON.
    """
    card = load_card(folder)
    try:
        plain = tuple(decode(Any, encode(row, f"results[{k}]")) for k, row in enumerate(results))
    except JsonError as error:
        raise CheckpointError(f"{Path(folder) / CARD}: {error}") from error
    card = replace(card, results=plain)
    write_atomically(Path(folder) / CARD, dumps(card).encode())
    return card


def _directory(folder: str | Path) -> Path:
    folder = Path(folder)
    if folder.is_dir():
        return folder
    if not folder.exists():
        raise CheckpointError(f"no checkpoint at {folder}: there is no such directory")
    with folder.open("rb") as file:
        start = file.read(16)
    kind = foreign_format(start) or "a file"
    raise CheckpointError(
        f"{folder} is {kind}; a checkpoint is a directory with {CARD} and {WEIGHTS}, "
        "and pickled weights are never read"
    )
