# SPDX-License-Identifier: MIT
"""`difftori train`: from demonstrations to a checkpoint.

`--preset ours` (the default) or `--preset paper`, what the released code of DiffTORI does for
imitation, changes the defaults of all other settings. With --suite SUITE --task TASK [--obs OBS]
demonstrations, folder and name are those of that suite's task. --method difftori_rl and
--method tdmpc learn by reward and have settings of their own:
`difftori train --method difftori_rl --help`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro

from difftori_models.errors import LearningError
from difftori_models.training.imitation.config import TrainConfig, presets
from difftori_models.training.imitation.trainer import Trainer
from difftori_models.training.validation import preset


def train_main(argv: Sequence[str] | None = None) -> int:
    """Train as the arguments say, or go on with a run that was killed.

    Returns:
        0, or 2 when the arguments, the demonstrations or the run directory cannot be used; the
        reason is then one sentence on standard error.
    """
    try:
        config = parse(sys.argv[1:] if argv is None else argv)
        folder = Trainer.open(config).run()
    except LearningError as error:
        sys.stderr.write(f"difftori train: {error}\n")
        return 2
    sys.stdout.write(f"checkpoint: {folder}\ncurves: {config.out / 'curves.png'}\n")
    return 0


def parse(argv: Sequence[str]) -> TrainConfig:
    """The settings that the arguments name; `--preset NAME` changes what the others default to.

    Raises:
        ConfigError: A setting or the preset makes no sense.
    """
    name, method, rest = preset_and(argv, "method", TrainConfig.method)
    default = TrainConfig(Path(), Path(), "name", **preset(name, presets(method)))
    return parse_settings(rest, default, ("demos", "out", "name"), __doc__)


def preset_and(argv: Sequence[str], key: str, fallback: str) -> tuple[str, str, list[str]]:
    """The preset, the setting that it depends on, and the arguments without the preset."""
    look = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    look.add_argument("--preset", default="ours")
    chosen, rest = look.parse_known_args(argv)
    look.add_argument(f"--{key}", default=fallback)
    return chosen.preset, getattr(look.parse_known_args(argv)[0], key), rest


def parse_settings(
    argv: Sequence[str], default: Any, required: Sequence[str], description: str | None
) -> Any:
    """Settings of the kind of `default`; those that are `required` must be among the arguments."""
    for key in required:
        object.__setattr__(default, key, tyro.MISSING)
    return tyro.cli(
        type(default), args=argv, default=default, prog="difftori train", description=description
    )


main = train_main

if __name__ == "__main__":
    sys.exit(train_main())
