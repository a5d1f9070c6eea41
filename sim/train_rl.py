# SPDX-License-Identifier: MIT
"""`difftori train --method tdmpc|difftori_rl`: learn by reward in an environment of a suite."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence

import tyro

from difftori_models.network import RL_METHODS
from difftori_models.training.config import ConfigError
from difftori_models.training.resume import ResumeError
from difftori_models.training.rl.config import RLConfig
from difftori_models.training.rl.trainer import RLTrainer
from difftori_models.world_planning import CeilingError

from . import suites
from .rl_checkpoint import SUITE, write_checkpoint


def wants(argv: Sequence[str]) -> bool:
    """Whether the arguments of `difftori train` name a method of reinforcement learning."""
    return any(
        one in RL_METHODS or one.partition("=")[2] in RL_METHODS
        for one, before in zip(argv, ("", *argv), strict=False)
        if before == "--method" or one.startswith("--method=")
    )


def train_rl(config: RLConfig) -> RLTrainer:
    """The run is done: begun, or gone on with.

    Raises:
        ValueError: Suite, task or environment cannot be used.
        ResumeError: `config.out` holds another run, or a broken one.
        CeilingError: A value has reached what the paper's solver aims at.
    """
    with contextlib.closing(suites.make(config.suite, config.task, config.obs)) as env:
        trainer = RLTrainer(config, env)
        trainer.run()
    if config.suite == SUITE and config.obs == "state":
        write_checkpoint(config, config.out / "checkpoint")
    return trainer


def main(argv: Sequence[str] | None = None) -> int:
    """Train as the arguments say; 2 when they cannot be used, with one sentence that says why."""
    try:
        config = tyro.cli(RLConfig, args=argv, prog="difftori train", description=__doc__)
        train_rl(config)
    except (ConfigError, ResumeError, CeilingError, ImportError, ValueError) as error:
        sys.stderr.write(f"difftori train: {error}\n")
        return 2
    sys.stdout.write(f"run: {config.out}\nmetrics: {config.out / 'metrics.jsonl'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
