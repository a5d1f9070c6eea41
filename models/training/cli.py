# SPDX-License-Identifier: MIT
"""`difftori train`: from demonstrations to a checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import tyro

from ..checkpoint import CheckpointError
from ..dataset import DemosError
from .config import ConfigError, TrainConfig
from .resume import ResumeError
from .trainer import Trainer


def train_main(argv: Sequence[str] | None = None) -> int:
    """Train as the arguments say, or go on with a run that was killed.

    Returns:
        0, or 2 when the arguments, the demonstrations or the run directory cannot be used; the
        reason is then one sentence on standard error.
    """
    try:
        config = tyro.cli(TrainConfig, args=argv, prog="difftori train", description=__doc__)
        folder = Trainer(config).run()
    except (ConfigError, DemosError, ResumeError, CheckpointError) as error:
        sys.stderr.write(f"difftori train: {error}\n")
        return 2
    sys.stdout.write(f"checkpoint: {folder}\ncurves: {config.out / 'curves.png'}\n")
    return 0


main = train_main

if __name__ == "__main__":
    sys.exit(train_main())
