# SPDX-License-Identifier: MIT
"""Where the package's own files are: installed under share/, or in the checkout."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def share_dir() -> Path:
    """The folder that holds `config/`, `checkpoints/` and `launch/`.

    A checkout (or editable install) wins over installed files, so that what is edited is what
    runs.
    """
    checkout = Path(__file__).resolve().parents[2]
    candidates = [checkout]
    candidates += [
        Path(p) / "share" / "difftori_ros"
        for p in os.environ.get("AMENT_PREFIX_PATH", "").split(":")
        if p
    ]
    # <prefix>/lib/python3.x/site-packages/difftori_ros/paths.py, for pip and for colcon
    candidates += [
        parent / "share" / "difftori_ros" for parent in Path(__file__).resolve().parents
    ]
    candidates.append(Path(sys.prefix) / "share" / "difftori_ros")
    for candidate in candidates:
        if (candidate / "config" / "robots").is_dir():
            return candidate
    raise FileNotFoundError(
        "the difftori_ros share folder was not found beside: " + ", ".join(map(str, candidates))
    )


def config_dir() -> Path:
    """The folder of the YAML files."""
    return share_dir() / "config"


def checkpoint_dir() -> Path:
    """The folder of the checkpoints that ship with the package."""
    return share_dir() / "checkpoints"


def available_checkpoints() -> list[str]:
    """Names of the checkpoints that ship with the package."""
    return sorted(path.parent.name for path in checkpoint_dir().glob("*/card.json"))


def find_checkpoint(name: str) -> Path:
    """The folder of a checkpoint given by path or by the name of one that ships.

    Raises:
        FileNotFoundError: There is neither; the message names those that ship.
    """
    shipped = checkpoint_dir() / name
    for candidate in (Path(name).expanduser(), shipped) if name else ():
        if candidate.exists() and (candidate.is_file() or candidate.is_dir()):
            return candidate
    raise FileNotFoundError(
        f"no checkpoint '{name}': no such folder, and the shipped ones are "
        + ", ".join(available_checkpoints())
    )
