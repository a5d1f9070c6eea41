# SPDX-License-Identifier: MIT
"""`difftori train --method tdmpc|difftori_rl`: learn by reward in an environment of a suite.

`--preset ours` (the default) or `--preset paper`, the reference's solver with its numbers for the
task, changes the defaults of all other settings.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

from difftori_models.contract.network_settings import RL_METHODS
from difftori_models.errors import LearningError
from difftori_models.training.cli import parse_settings, preset_and
from difftori_models.training.rl.config import RLConfig, presets
from difftori_models.training.rl.trainer import RLTrainer
from difftori_models.training.validation import preset
from difftori_sim.suites import make_gym

from .rl_checkpoint import write_checkpoint


def wants(argv: Sequence[str]) -> bool:
    """Whether the arguments of `difftori train` name a method of reinforcement learning."""
    return any(
        one in RL_METHODS or one.partition("=")[2] in RL_METHODS
        for one, before in zip(argv, ("", *argv), strict=False)
        if before == "--method" or one.startswith("--method=")
    )


def parse(argv: Sequence[str]) -> RLConfig:
    """The settings that the arguments name; `--preset paper` changes what others default to.

    Raises:
        ConfigError: A setting or the preset makes no sense.
    """
    name, task, rest = preset_and(argv, "task", "")
    default = RLConfig("suite", task, Path(), **preset(name, presets(task)))
    return parse_settings(rest, default, ("suite", "task", "out"), __doc__)


def train_rl(config: RLConfig) -> RLTrainer:
    """The run is done: begun, or gone on with.

    Raises:
        ValueError: Suite, task or environment cannot be used.
        ResumeError: `config.out` holds another run, or a broken one.
        CeilingError: A value has reached what the paper's solver aims at.
    """
    with contextlib.closing(make_gym(config.suite, config.task, config.obs)) as env:
        trainer, info = RLTrainer.open(config, env), env.info
        trainer.run()
    if config.obs == "state":
        write_checkpoint(config, info, config.out / "checkpoint")
    return trainer


def main(argv: Sequence[str] | None = None) -> int:
    """Train as the arguments say; 2 when they cannot be used, with one sentence that says why."""
    try:
        config = parse(sys.argv[1:] if argv is None else argv)
        train_rl(config)
    except (LearningError, ImportError, ValueError) as error:
        sys.stderr.write(f"difftori train: {error}\n")
        return 2
    sys.stdout.write(f"run: {config.out}\nmetrics: {config.out / 'metrics.jsonl'}\n")
    if config.obs == "state":
        sys.stdout.write(f"checkpoint: {config.out / 'checkpoint'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
