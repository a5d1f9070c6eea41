# SPDX-License-Identifier: MIT
"""The state of a run on disk: a killed run goes on and ends with the same weights, bit for bit.

Every random draw of update k of a phase is a function of (seed, phase, k), so no generator state
is stored. `state.json` names the tensor file it belongs to and is replaced last, in one step:
whenever the process dies, it points at a complete file.
"""

from __future__ import annotations

import fcntl
import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from difftori_models.contract.strict_json import JsonError, decode, dumps, loads, write_atomically

from .errors import ResumeError
from .run_log import RunLog

_STATE = "state.json"


@dataclass(frozen=True)
class Progress:
    """How far a run is, without its tensors.

    Attributes:
        phase: What it is doing: `base`, `head` or `done` of imitation, `rl`.
        step: Updates done in this phase, or steps of the run.
        settings: What the run depends on, as JSON text.
        rows: Lines of its log.
        seconds: Time that the run has taken [s].
        counts: What else a run counts.
        tensors: Name of the file with the tensors.
        tensors_sha256: Its hash.
    """

    phase: str
    step: int
    settings: str
    rows: int = 0
    seconds: float = 0.0
    counts: Mapping[str, Any] = field(default_factory=dict)
    tensors: str = ""
    tensors_sha256: str = ""


class RunState:
    """A run in its directory, begun or gone on with.

    Attributes:
        folder: The directory.
        progress: How far the run is.
        tensors: What was saved with that; empty for a new run.
        log: The lines of the run, while it is written.
    """

    log: RunLog

    def __init__(self, folder: Path, progress: Progress, tensors: dict[str, Tensor]) -> None:
        self.folder, self.progress, self.tensors = folder, progress, tensors

    @classmethod
    def open(
        cls,
        folder: Path,
        settings: Mapping[str, Any],
        phase: str,
        counts: Mapping[str, Any] | None = None,
    ) -> RunState:
        """The state in `folder`, or that of a new run that begins with `phase` and `counts`.

        Raises:
            ResumeError: There is one of a run with other settings, or a broken one.
        """
        text = dumps({key: str(value) for key, value in settings.items()})
        found = load_state(folder / "state")
        if found is None:
            return cls(folder, Progress(phase, 0, text, counts=counts or {}), {})
        progress, tensors = found
        if progress.settings != text:
            raise ResumeError(
                f"{folder} holds a run with other settings "
                f"({difference(progress.settings, text)}); choose another out"
            )
        return cls(folder, progress, tensors)

    @contextmanager
    def writing(self) -> Iterator[RunLog]:
        """The run is this process's alone; its log is open, without the lines past the state.

        Raises:
            ResumeError: Another process is training there, or the log cannot be read.
        """
        with sole_writer(self.folder):
            self._began = time.monotonic() - self.progress.seconds
            self.log = RunLog(self.folder, self.progress.rows)
            yield self.log

    @property
    def seconds(self) -> float:
        """Time that the run has taken [s]."""
        return round(time.monotonic() - self._began, 2)

    def save(self, tensors: dict[str, Tensor], name: str = "state", **changes: Any) -> None:
        """The run goes on from here; `changes` are of its progress.

        Another `name` keeps the tensors beside the state.
        """
        now = {"rows": len(self.log.rows), "seconds": self.seconds}
        self.progress = replace(self.progress, **now, **changes)
        save_state(self.folder / name, self.progress, tensors)


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """No other process trains in `folder`; the lock goes with its process, however that ends.

    Raises:
        ResumeError: Another process does already.
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


def seed_draws(seed: int, phase: str, step: int) -> int:
    """PyTorch's next draws are those of `draw_seed`, which is returned for other generators."""
    drawn = draw_seed(seed, phase, step)
    torch.manual_seed(drawn)
    return drawn


def draw_seed(seed: int, phase: str, step: int) -> int:
    """Seed of all random draws of one update."""
    return int.from_bytes(hashlib.sha256(f"{seed} {phase} {step}".encode()).digest()[:7], "big")


def difference(old: str, new: str) -> str:
    """In which settings, each as JSON text, two runs differ."""
    before, after = loads(old), loads(new)
    keys = [key for key in before | after if before.get(key) != after.get(key)]
    return ", ".join(f"{key} {before.get(key)} there, {after.get(key)} now" for key in keys)


def save_state(folder: Path, progress: Progress, tensors: dict[str, Tensor]) -> None:
    """Progress and tensors lie in `folder`; older tensor files are gone."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{progress.phase}-{progress.step}.safetensors"
    temporary = folder / f".{name}.tmp"
    save_file(
        {key: value.detach().contiguous().cpu() for key, value in tensors.items()}, temporary
    )
    data = temporary.read_bytes()
    temporary.unlink()
    write_atomically(folder / name, data)
    digest = hashlib.sha256(data).hexdigest()
    full = replace(progress, tensors=name, tensors_sha256=digest)
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


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with `prefix` before their names."""
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def of_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, which is taken off."""
    return {
        name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)
    }


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
