# SPDX-License-Identifier: MIT
"""What `--quick` makes of a study: a run of minutes in a folder of its own, which proves nothing.

No document and no kept line is touched by it.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STEPS = 30
"""Updates of each phase of a training."""


def add_quick(parser: argparse.ArgumentParser, sentence: str) -> None:
    """The flag, with what it runs."""
    parser.add_argument("--quick", action="store_true", help=f"{sentence}, into out/quick")


def folder_of(study: str) -> Path:
    """Where a quick run keeps all it makes; it is there."""
    folder = Path("out/quick") / study
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def lessened(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of `difftori train imitation` with few updates of few samples."""
    phases = [key for key in ("base_steps", "head_steps") if key in settings]
    return {**settings, **dict.fromkeys(phases, STEPS), "batch": 16}
