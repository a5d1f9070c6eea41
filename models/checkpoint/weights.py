# SPDX-License-Identifier: MIT
"""Tensors as bytes in the safetensors format, and back. Everything else is named and refused."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from difftori_models.contract.strict_json import JsonError, loads

from .errors import CheckpointError

_FOREIGN = {
    b"PK\x03\x04": "a zip archive, as torch.save writes them",
    b"\x1f\x8b": "a gzip archive",
    b"\x89HDF": "an HDF5 file",
    b"\x78\x01": "a zlib stream",
    b"\x78\x9c": "a zlib stream",
    b"\x78\xda": "a zlib stream",
    **{bytes([0x80, k]): "a Python pickle" for k in range(2, 6)},
}


def pack(tensors: Mapping[str, NDArray], where: str) -> bytes:
    """The tensors as the content of a safetensors file.

    Raises:
        CheckpointError: A tensor would be refused by `unpack`; the message begins with `where`.
    """
    for name, tensor in tensors.items():
        _check_tensor(name, tensor, where)
    return safetensors.save({name: np.ascontiguousarray(t) for name, t in tensors.items()})


def unpack(data: bytes, wanted_sha256: str, where: str) -> dict[str, NDArray[np.float32]]:
    """The tensors in the content of a safetensors file.

    Raises:
        CheckpointError: The content is something else, is truncated or oversized, has another
            hash, or holds NaN or Inf; the message begins with `where`.
    """
    _check_container(data, where)
    digest = sha256(data)
    if digest != wanted_sha256:
        raise CheckpointError(
            f"{where}: not the weights the card was written for: sha256 {digest[:12]}..., "
            f"the card says {wanted_sha256[:12] or 'nothing'}..."
        )
    try:
        tensors = safetensors.load(data)
    except SafetensorError as error:
        raise CheckpointError(f"{where}: not a safetensors file ({error})") from error
    for name, tensor in tensors.items():
        _check_tensor(name, tensor, where)
    return tensors


def sha256(data: bytes) -> str:
    """SHA-256 of the bytes, in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def foreign_format(start: bytes) -> str | None:
    """What a file that begins like this is, where it is a known format but safetensors."""
    if start[8:9] == b"{":
        return None
    return next((kind for magic, kind in _FOREIGN.items() if start.startswith(magic)), None)


def _check_container(data: bytes, where: str) -> None:
    kind = foreign_format(data[:16])
    if kind:
        raise CheckpointError(f"{where}: this is {kind}, not safetensors; it is not read")
    if len(data) < 8:
        raise CheckpointError(f"{where}: truncated: {len(data)} bytes, not even a header")
    size = int.from_bytes(data[:8], "little")
    if data[8:9] != b"{":
        raise CheckpointError(f"{where}: not a safetensors file: the header is garbage")
    if 8 + size > len(data):
        raise CheckpointError(
            f"{where}: truncated or garbage: the header says it has {size} bytes, "
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
            f"{where}: not a safetensors file: the header is garbage ({error})"
        ) from error
    wanted = 8 + size + max(ends, default=0)
    if len(data) < wanted:
        raise CheckpointError(f"{where}: truncated: {len(data)} bytes, the header needs {wanted}")
    if len(data) > wanted:
        raise CheckpointError(f"{where}: oversized: {len(data)} bytes, the header needs {wanted}")


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
