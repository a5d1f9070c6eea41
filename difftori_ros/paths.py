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
    checkout = Path(__file__).resolve().parent.parent
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
