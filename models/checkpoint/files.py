# SPDX-License-Identifier: MIT
"""A checkpoint: a directory with `card.json` and `weights.safetensors`; nothing is executed.

See docs/reference/checkpoint.md for the format. Reading the card needs no torch.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from difftori_models.contract.card import CheckpointError, check_card, decode_card
from difftori_models.contract.specs import Card
from difftori_models.contract.strict_json import (
    JsonError,
    decode,
    dumps,
    encode,
    loads,
    write_atomically,
)

if TYPE_CHECKING:
    from difftori_models.policies.agent import Agent

CARD = "card.json"
WEIGHTS = "weights.safetensors"
MAX_BYTES = 1 << 30
"""Larger weight or card files are refused unread."""

_FOREIGN = {
    b"PK\x03\x04": "a zip archive, as torch.save writes them",
    b"\x1f\x8b": "a gzip archive",
    b"\x89HDF": "an HDF5 file",
    b"\x78\x01": "a zlib stream",
    b"\x78\x9c": "a zlib stream",
    b"\x78\xda": "a zlib stream",
    **{bytes([0x80, k]): "a Python pickle" for k in range(2, 6)},
}


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint: its card and its networks, ready to be asked."""

    card: Card
    agent: Agent


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
    for name, tensor in tensors.items():
        _check_tensor(name, tensor, str(folder))
    data = safetensors.save({name: np.ascontiguousarray(t) for name, t in tensors.items()})
    card = replace(card, weights_sha256=hashlib.sha256(data).hexdigest())
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
    data = path.read_bytes()
    _check_container(data, path)
    digest = hashlib.sha256(data).hexdigest()
    if digest != card.weights_sha256:
        raise CheckpointError(
            f"{path}: not the weights the card was written for: sha256 {digest[:12]}..., "
            f"the card says {card.weights_sha256[:12] or 'nothing'}..."
        )
    try:
        tensors = safetensors.load(data)
    except SafetensorError as error:
        raise CheckpointError(f"{path}: not a safetensors file ({error})") from error
    for name, tensor in tensors.items():
        _check_tensor(name, tensor, str(path))
    return tensors


def load(folder: str | Path) -> Checkpoint:
    """The checkpoint in `folder` with its networks on the CPU, in evaluation mode.

    Raises:
        CheckpointError: Anything `load_card` or `load_tensors` refuses, and tensors that are
            missing, left over or of another shape than the card's networks have.
    """
    import torch

    from difftori_models.policies.agent import Agent

    card = load_card(folder)
    tensors = load_tensors(folder, card)
    with torch.random.fork_rng(devices=[]):
        agent = Agent(card)
    wanted = {name: tuple(tensor.shape) for name, tensor in agent.state_dict().items()}
    found = {name: tensor.shape for name, tensor in tensors.items()}
    problems = [f"missing {name}" for name in wanted if name not in found]
    problems += [f"unknown {name}" for name in found if name not in wanted]
    problems += [
        f"{name} has shape {found[name]} instead of {shape}"
        for name, shape in wanted.items()
        if name in found and found[name] != shape
    ]
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise CheckpointError(
            f"{Path(folder) / WEIGHTS}: tensors do not fit the card's network: "
            f"{'; '.join(problems[:5])}{more}"
        )
    agent.load_state_dict(
        {name: torch.from_numpy(array.copy()) for name, array in tensors.items()}
    )
    return Checkpoint(card, agent.eval().requires_grad_(False))


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
    kind = _foreign(start) or "a file"
    raise CheckpointError(
        f"{folder} is {kind}; a checkpoint is a directory with {CARD} and {WEIGHTS}, "
        "and pickled weights are never read"
    )


def _foreign(start: bytes) -> str | None:
    if start[8:9] == b"{":
        return None
    return next((kind for magic, kind in _FOREIGN.items() if start.startswith(magic)), None)


def _check_container(data: bytes, path: Path) -> None:
    kind = _foreign(data[:16])
    if kind:
        raise CheckpointError(f"{path}: this is {kind}, not safetensors; it is not read")
    if len(data) < 8:
        raise CheckpointError(f"{path}: truncated: {len(data)} bytes, not even a header")
    size = int.from_bytes(data[:8], "little")
    if data[8:9] != b"{":
        raise CheckpointError(f"{path}: not a safetensors file: the header is garbage")
    if 8 + size > len(data):
        raise CheckpointError(
            f"{path}: truncated or garbage: the header says it has {size} bytes, "
            f"{len(data) - 8} are there"
        )
    try:
        header = loads(data[8 : 8 + size])
        ends = [
            int(entry["data_offsets"][1])
            for name, entry in header.items()
            if name != "__metadata__"
        ]
    except (JsonError, KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: not a safetensors file: the header is garbage ({error})"
        ) from error
    wanted = 8 + size + max(ends, default=0)
    if len(data) < wanted:
        raise CheckpointError(f"{path}: truncated: {len(data)} bytes, the header needs {wanted}")
    if len(data) > wanted:
        raise CheckpointError(f"{path}: oversized: {len(data)} bytes, the header needs {wanted}")


def _check_tensor(name: str, tensor: NDArray, where: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*", name):
        raise CheckpointError(f"{where}: '{name[:60]}' is not a tensor name")
    if tensor.dtype != np.float32:
        raise CheckpointError(f"{where}: tensor {name} must be float32, got {tensor.dtype}")
    bad = int(np.size(tensor) - np.isfinite(tensor).sum())
    if bad:
        raise CheckpointError(
            f"{where}: tensor {name} holds NaN or infinity ({bad} of {np.size(tensor)} numbers)"
        )
