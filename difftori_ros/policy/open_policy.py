# SPDX-License-Identifier: MIT
"""What the `checkpoint` parameter stands for: a trained checkpoint, `hold`, or `replay:...`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from difftori_models.checkpoint import WEIGHTS, CheckpointError
from difftori_models.inference.backends.base import MANIFEST
from difftori_models.inference.graph_cache import ready_graphs
from difftori_models.inference.planner import BasePlanner, Planner
from difftori_ros.config.paths import find_checkpoint
from difftori_ros.robot.profile import RobotProfile

from .scripted import ScriptedPlanner, is_scripted, open_script


@dataclass(frozen=True)
class Source:
    """Where the plans come from.

    Attributes:
        planner: Ready to plan.
        where: Folder or file it was made from.
        sha256: Hash of the file that decides what is planned; empty when there is none.
        hashed: Name of that file.
        make: Makes another planner of the same kind, ready to plan.
    """

    planner: Planner | ScriptedPlanner
    where: Path
    sha256: str
    hashed: str
    make: Callable[[], Planner | ScriptedPlanner]


def open_policy(
    values: Mapping[str, Any],
    profile: RobotProfile,
    say: Callable[[str], object] | None = None,
) -> Source:
    """Load what the parameters name, check its hash, and warm it up.

    A trained checkpoint is exported to graphs where `auto` can take them: see `ready_graphs`. Its
    weights are then checked as ever, and their hash is the one that counts; graphs that lie in the
    checkpoint's own folder are pinned by the hash of their manifest.

    Args:
        values: Values of the policy node's parameters, by name.
        profile: The robot.
        say: Is told when an export begins and ends; None for Python's `logging`.

    Raises:
        CheckpointError: A checkpoint that cannot be used, or another hash than the wanted one.
        ScriptError: A recording that cannot be used.
        FileNotFoundError: There is no such checkpoint.
    """
    name = values["checkpoint"]
    if is_scripted(name):
        scripted, where = open_script(name, profile)
        hashed = where if where.is_file() else None

        def make() -> Planner | ScriptedPlanner:
            return open_script(name, profile)[0]

        first: Planner | ScriptedPlanner = scripted
    else:
        where = find_checkpoint(name)

        def load() -> tuple[Planner, Path | None]:
            device, backend = values["device"], values["backend"]
            graphs = ready_graphs(where, backend, device, say)
            return Planner(where, device, values["threads"], backend, graphs), graphs

        def make() -> Planner | ScriptedPlanner:
            planner, _ = load()
            planner.warm_up()
            return planner

        first, graphs = load()
        # The checkpoint's own graphs need no weights: their manifest holds the hash of each. Those
        # of the cache hold the weights' hash in the card that they were made from.
        own = first.backend == "onnx" and graphs is None
        hashed = where / (MANIFEST if own else WEIGHTS)
    sha256 = hashlib.sha256(hashed.read_bytes()).hexdigest() if hashed else ""
    _check_hash(values["checkpoint_sha256"], sha256, hashed)
    first.warm_up()
    return Source(first, where, sha256, hashed.name if hashed else "", make)


def refined(
    planner: Planner | ScriptedPlanner, refine: bool
) -> Planner | ScriptedPlanner | BasePlanner:
    """The planner, or what its base policy alone would do."""
    return BasePlanner(planner) if isinstance(planner, Planner) and not refine else planner


def _check_hash(wanted: str, got: str, file: Path | None) -> None:
    if not wanted or wanted.strip().lower() == got:
        return
    if file is None:
        raise CheckpointError(
            f"checkpoint_sha256 is {wanted}, but this policy has no file to compare it with"
        )
    raise CheckpointError(
        f"{file}: not the one that is wanted: checkpoint_sha256 is {wanted}, its sha256 is {got}"
    )
