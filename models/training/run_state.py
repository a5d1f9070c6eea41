# SPDX-License-Identifier: MIT
"""The state of a run on disk: a killed run goes on and ends with the same weights, bit for bit.

Every random draw of update k of a phase is a function of (seed, phase, k), so no generator state
is stored. `state.json` names the tensor file it belongs to and is replaced last, in one step:
whenever the process dies, it points at a complete file.
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from difftori_models.contract.strict_json import JsonError, decode, dumps, loads, write_atomically
from difftori_models.errors import LearningError

_STATE = "state.json"


class ResumeError(LearningError, ValueError):
    """A run directory cannot be continued; the message says what differs or is broken."""


@dataclass(frozen=True)
class Progress:
    """How far a run is, without its tensors.

    Attributes:
        phase: `base`, `fold0`, `fold1`, `head` or `done`.
        step: Updates done in this phase.
        best: Lowest validation error so far in this phase (for the record; the last weights are
            exported).
        config: The settings as JSON text, and the hash of the demonstrations.
        demos_sha256: Hash of the demonstrations; empty where there are none.
        counts: What else a run counts, as JSON text.
        tensors: Name of the file with the tensors.
        tensors_sha256: Its hash.
    """

    phase: str
    step: int
    best: float | None
    config: str
    demos_sha256: str
    counts: str = ""
    tensors: str = ""
    tensors_sha256: str = ""


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Nobody else trains in `folder` meanwhile; the lock goes with its process, however that ends.

    Raises:
        ResumeError: Somebody does already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ResumeError(
                f"another process is training in {folder}; wait for it, or choose another out"
            ) from error
        yield


def draw_seed(seed: int, phase: str, step: int) -> int:
    """Seed of all random draws of one update."""
    return int.from_bytes(hashlib.sha256(f"{seed} {phase} {step}".encode()).digest()[:7], "big")


def difference(old: str, new: str) -> str:
    """In which settings, each as JSON text, two runs differ."""
    before, after = loads(old), loads(new)
    keys = [key for key in before | after if before.get(key) != after.get(key)]
    return ", ".join(f"{key} {before.get(key)} there, {after.get(key)} now" for key in keys)


def save_state(folder: Path, progress: Progress, tensors: dict[str, Tensor]) -> None:
    """The state lies in `folder`; older tensor files are gone."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{progress.phase}-{progress.step}.safetensors"
    temporary = folder / f".{name}.tmp"
    save_file(
        {key: value.detach().contiguous().cpu() for key, value in tensors.items()}, temporary
    )
    data = temporary.read_bytes()
    temporary.unlink()
    write_atomically(folder / name, data)
    full = Progress(
        **{
            **progress.__dict__,
            "tensors": name,
            "tensors_sha256": hashlib.sha256(data).hexdigest(),
        }
    )
    write_atomically(folder / _STATE, dumps(full).encode())
    for old in folder.glob("*.safetensors"):
        if old.name != name:
            old.unlink()


def load_state(folder: Path) -> tuple[Progress, dict[str, Tensor]] | None:
    """The state in `folder`, or None when there is none.

    Raises:
        ResumeError: There is one, and it is broken.
    """
    path = folder / _STATE
    if not path.is_file():
        return None
    try:
        progress: Progress = decode(Progress, loads(path.read_bytes()))
    except JsonError as error:
        raise ResumeError(f"{path}: {error}") from error
    file = folder / Path(progress.tensors).name
    if not file.is_file():
        raise ResumeError(f"{path} names {progress.tensors}, which is not there")
    if hashlib.sha256(file.read_bytes()).hexdigest() != progress.tensors_sha256:
        raise ResumeError(f"{file} is not the file that {path.name} was written for")
    with safe_open(file, framework="pt") as opened:
        tensors = {key: opened.get_tensor(key) for key in opened.keys()}
    return progress, tensors


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's tensors by name."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{key}": torch.as_tensor(value)
        for index, entry in state.items()
        for key, value in entry.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """The optimiser is as it was when `optimizer_tensors` gave `tensors`."""
    state = optimizer.state_dict()
    entries: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, key = name.split(".", 1)
        entries.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({**state, "state": entries})
