# SPDX-License-Identifier: MIT
"""Demonstrations as one `.npz` file: what recorders write and the trainer reads."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from difftori_models.contract.strict_json import JsonError, decode, dumps, loads, write_atomically

from .demonstrations import Demos
from .format import IMAGE, POSE, REQUIRED, VECTOR, DemosError, Meta

_UNREADABLE = (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error)


def write_demos(path: str | Path, demos: Demos) -> None:
    """The demonstrations lie in `path`, whole, or the file is what it was before."""
    arrays: dict[str, Any] = {"meta": np.array(dumps(demos.meta)), **demos.arrays()}
    data = io.BytesIO()
    np.savez_compressed(data, **arrays)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data.getvalue())


def load_demos(path: str | Path) -> Demos:
    """The demonstrations in `path`, checked.

    Raises:
        DemosError: There is no such file, it is no `.npz` file, an array is missing or has another
            shape or type, a number is not finite, or the meta data cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        near = sorted(p.name for p in path.parent.glob("*.npz")) if path.parent.is_dir() else []
        raise DemosError(
            f"no demonstration file {path}; .npz files there: {', '.join(near) or 'none'}"
        )
    data = path.read_bytes()
    arrays = _arrays(path, data)
    missing = [name for name in ("meta", *REQUIRED) if name not in arrays]
    if missing:
        raise DemosError(
            f"{path}: missing {', '.join(missing)}; "
            f"the file has {', '.join(sorted(arrays)) or 'nothing'}"
        )
    try:
        meta: Meta = decode(Meta, loads(str(arrays["meta"])), "meta")
        return Demos(
            meta,
            **{name: arrays[name] for name in REQUIRED},
            poses=_poses(arrays, meta),
            points=arrays.get("points"),
            images=_named(arrays, IMAGE),
            vectors=_named(arrays, VECTOR),
            sha256=hashlib.sha256(data).hexdigest(),
        )
    except (JsonError, DemosError) as error:
        raise DemosError(f"{path}: {error}") from error


def _arrays(path: Path, data: bytes) -> dict[str, NDArray]:
    """Every array in the file; nothing is unpickled."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            if not isinstance(file, np.ndarray):
                return {name: file[name] for name in file.files}
    except _UNREADABLE as error:
        raise DemosError(f"{path}: not an .npz file of plain arrays ({error})") from error
    raise DemosError(f"{path}: a single array, not an .npz file of demonstrations")


def _named(arrays: Mapping[str, NDArray], prefix: str) -> dict[str, NDArray]:
    return {name[len(prefix) :]: rows for name, rows in arrays.items() if name.startswith(prefix)}


def _poses(arrays: Mapping[str, NDArray], meta: Meta) -> dict[str, NDArray]:
    """The poses; where the tip is not said to have been elsewhere, cameras had no delay."""
    poses = _named(arrays, POSE)
    tips = {name: poses["tip"] for name in meta.observation.tips if "tip" in poses}
    return tips | poses
