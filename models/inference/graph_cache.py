# SPDX-License-Identifier: MIT
"""Exported graphs that are made when a checkpoint is first run, and kept in the user's cache.

An entry is keyed by all that its graphs are made from: the card with the weights' hash, the
versions of what exports them, and this package's own source. It is made by a process of its own,
in a folder beside its place, and renamed: it is complete or not there, and whoever runs the policy
needs no PyTorch. No torch here.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from difftori_models.checkpoint import CheckpointError, load_card, load_tensors
from difftori_models.contract.specs import Card
from difftori_models.contract.strict_json import dumps
from difftori_models.inference.backends.base import MANIFEST
from difftori_models.inference.backends.manifest import digest, read_graphs

LIMIT_S = 90.0
"""Time an export may take before PyTorch runs the policy [s]; it takes 5 to 10 s."""
KEPT = 64
"""Entries that are kept, those used last."""
ABANDONED_S = 3600.0
"""Age at which a folder in the making is one whose process was killed [s]."""
MAKERS = ("onnx", "onnxscript", "onnxruntime")
"""Modules that an export needs besides torch."""
VERSIONS = ("torch", "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu")
"""Packages whose versions are in the key."""
SOURCE = Path(__file__).parents[1]
"""The learning side's own code, which is in the key as well."""

_LOG = logging.getLogger(__name__)
_refused: dict[str, str] = {}
"""Why there are no graphs, by name of the entry: tried once in a process."""


class _NoGraphsError(Exception):
    """The graphs cannot be had; the message says why."""


def ready_graphs(
    checkpoint: str | Path,
    backend: str = "auto",
    device: str = "cpu",
    say: Callable[[str], object] | None = None,
) -> Path | None:
    """The folder with the graphs that `auto` takes for this checkpoint, made now if need be.

    None where there is nothing to take: another backend or device was asked for, the checkpoint's
    own folder holds graphs, PyTorch is missing, or the graphs cannot be made; the last is said in
    one sentence. Weights and card are checked as PyTorch's loader checks them.

    Args:
        checkpoint: A checkpoint's directory.
        backend: The backend asked for.
        device: The device asked for.
        say: Is told what happens; None for a warning of Python's `logging`.

    Raises:
        CheckpointError: The card or the weights cannot be used.
    """
    source, say = Path(checkpoint), say or _LOG.warning
    if backend != "auto" or device != "cpu" or importlib.util.find_spec("torch") is None:
        return None
    if (source / MANIFEST).is_file():
        return None
    card = load_card(source)
    load_tensors(source, card)
    name = _entry_name(card)
    try:
        if name in _refused:
            raise _NoGraphsError(_refused[name])
        return _entry(source, card, name, say)
    except (_NoGraphsError, OSError) as error:
        _refused[name] = str(error)
        say(f"{card.name}: PyTorch runs it, there are no exported graphs: {error}")
        return None


def cache_folder() -> Path | None:
    """Where the entries lie; None where neither XDG_CACHE_HOME nor HOME is an absolute path."""
    for variable, below in (("XDG_CACHE_HOME", ""), ("HOME", ".cache")):
        home = Path(os.environ.get(variable, ""))
        if home.is_absolute():
            return home / below / "difftori" / "graphs"
    return None


def _entry(source: Path, card: Card, name: str, say: Callable[[str], object]) -> Path:
    """The good entry of this name."""
    folder = cache_folder()
    if folder is None:
        raise _NoGraphsError("neither XDG_CACHE_HOME nor HOME names a folder for them")
    _check_ours(folder)
    entry = folder / name
    if _is_good(entry, card):
        with suppress(OSError):  # a cache that can only be read is good as well
            os.utime(entry)
        return entry
    missing = [module for module in MAKERS if importlib.util.find_spec(module) is None]
    if missing:
        raise _NoGraphsError(
            f"to make them {' and '.join(missing)} must be installed: "
            "pip install 'difftori_ros[export]'"
        )
    damaged = "those that are there are damaged; " if entry.exists() else ""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    say(f"{card.name}: {damaged}exporting it to graphs in {entry}, once; this takes some seconds")
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=".", suffix=".tmp", dir=folder) as scratch:
        made = Path(scratch) / "made"
        _export(source, made)
        if not _is_good(made, card):
            raise _NoGraphsError(f"{source} changed while it was exported")
        _put(made, entry, card)
        _tidy(folder, Path(scratch).stat().st_mtime)
    say(f"{card.name}: exported in {time.monotonic() - began_s:.1f} s")
    return entry


def _check_ours(folder: Path) -> None:
    """Pass silently where nobody else can have put graphs into `folder`."""
    if not folder.exists():
        return
    state = folder.stat()
    if state.st_uid != os.geteuid() or state.st_mode & 0o022:
        raise _NoGraphsError(f"others than this user may write to {folder}")


def _is_good(entry: Path, card: Card) -> bool:
    try:
        read_graphs(entry, card)
    except (CheckpointError, OSError):
        return False
    return True


def _export(source: Path, out: Path) -> None:
    """`out` holds the graphs of the checkpoint in `source`: exported and compared elsewhere."""
    command = [sys.executable, "-m", "difftori_models.inference.export", str(source), str(out)]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _NoGraphsError(f"the export took longer than {LIMIT_S:g} s") from None
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise _NoGraphsError(said[-1] if said else f"the export ended with {done.returncode}")


def _put(made: Path, entry: Path, card: Card) -> None:
    """`made` lies at `entry`, or another process has put an entry as good there."""
    for k in range(3):
        try:
            made.rename(entry)
            return
        except OSError:
            if _is_good(entry, card):
                return
            with suppress(OSError):  # what is damaged goes with the scratch folder
                entry.rename(made.with_name(f"damaged{k}"))
    made.rename(entry)


def _tidy(folder: Path, now_s: float) -> None:
    """Neither abandoned folders nor more than `KEPT` entries are there."""
    entries: list[tuple[float, Path]] = []
    for path in folder.iterdir():
        with suppress(OSError):
            changed_s = path.stat().st_mtime
            if path.suffix != ".tmp":
                entries.append((changed_s, path))
            elif now_s - changed_s > ABANDONED_S:
                shutil.rmtree(path, ignore_errors=True)
    for _, path in sorted(entries, reverse=True)[KEPT:]:
        shutil.rmtree(path, ignore_errors=True)


def _entry_name(card: Card) -> str:
    parts = {
        "card": digest(card),
        "versions": {name: _version(name) for name in VERSIONS},
        "source": _source(),
        "machine": platform.machine(),
    }
    return f"{card.name}-{hashlib.sha256(dumps(parts).encode()).hexdigest()[:32]}"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


@functools.cache
def _source() -> str:
    """SHA-256 of these modules: other code gives other graphs of the same weights."""
    total = hashlib.sha256()
    for path in sorted(SOURCE.rglob("*.py")):
        total.update(f"{path.relative_to(SOURCE)} {path.stat().st_size}\n".encode())
        total.update(path.read_bytes())
    return total.hexdigest()
