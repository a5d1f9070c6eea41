# SPDX-License-Identifier: MIT
"""`difftori train imitation|rl`: the settings of a run are the options of its command.

`--preset ours` (the default) or `--preset paper`, what the released code of DiffTORI does, changes
what the other options default to; what is given on the command line counts in both.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import tyro
from rich.console import Console

from difftori_models.training.imitation.config import TrainConfig
from difftori_models.training.imitation.config import presets as imitation_presets
from difftori_models.training.rl.config import RLConfig
from difftori_models.training.rl.config import presets as rl_presets
from difftori_sim.suites import ARM

from .options import (
    Command,
    SuiteName,
    UsageError,
    Variant,
    needed_for,
    suite_folder,
)

Preset = Literal["ours", "paper"]


@dataclass(frozen=True)
class TrainImitation(TrainConfig, Command):
    """Train a checkpoint from demonstrations, or go on with a run that was killed."""

    demos: Path | None = None
    """Demonstrations, an .npz file made by `difftori demos`; with --task those of that task."""
    out: Path | None = None
    """Directory of the run; with --task one beside its demonstrations. An unfinished run with the
    same settings there goes on."""
    name: str | None = None
    """Name of the checkpoint, as it stands in the card; with --task SUITE.TASK.OBS."""
    suite: SuiteName = ARM
    """Suite of --task; robot is this package's own simulated arm."""
    task: str | None = None
    """Task whose files, those of `difftori demos record`, --demos, --out and --name default to."""
    obs: Variant = "state"
    """What is seen of --task."""
    preset: Preset = "ours"
    """What the other options default to: ours, as listed here, or what the paper's code does."""

    def __post_init__(self) -> None:
        """Nothing is refused before preset and files are known: see `config`."""

    def preset_defaults(self) -> TrainImitation | None:
        """The options with the preset's defaults; None when they are those of the class."""
        values = imitation_presets(self.method)[self.preset]
        return TrainImitation(**values) if values else None

    def config(self) -> TrainConfig:
        """The settings of the run.

        Raises:
            UsageError: There is a file that neither an option nor a task names.
            ConfigError: A setting makes no sense.
        """
        values = {one.name: getattr(self, one.name) for one in fields(TrainConfig)}
        if self.task is not None:
            folder = suite_folder(self.suite, self.task, self.obs)
            files = {"demos": folder / "demos.npz", "out": folder / "train", "name": folder.name}
            values |= {key: file for key, file in files.items() if values[key] is None}
        missing = [f"--{key}" for key in ("demos", "out", "name") if values[key] is None]
        if missing:
            raise UsageError(f"wanted {' and '.join(missing)}, or --task, got neither")
        return TrainConfig(**values)

    def run(self, console: Console) -> int:
        """Train; say where the checkpoint is."""
        config = self.config()
        with needed_for("training", "the extra `train`"):
            from difftori_models.training.imitation.trainer import Trainer
        folder = Trainer.open(config).run()
        _say(console, checkpoint=folder, curves=config.out / "curves.png")
        return 0


@dataclass(frozen=True)
class TrainRL(RLConfig, Command):
    """Train a checkpoint by reward in an environment of a suite, or go on with a killed run."""

    suite: SuiteName
    """Suite of the environment; robot is this package's own simulated arm."""
    preset: Preset = "ours"
    """What the other options default to: ours, as listed here, or the solver of the paper's code
    with its numbers for the task."""

    def __post_init__(self) -> None:
        """Nothing is refused before the preset is known: see `config`."""

    def preset_defaults(self) -> TrainRL | None:
        """The options with the preset's defaults; None when they are those of the class."""
        values = rl_presets(self.task)[self.preset]
        missing: Any = tyro.MISSING
        return TrainRL(missing, missing, missing, **values) if values else None

    def config(self) -> RLConfig:
        """The settings of the run.

        Raises:
            ConfigError: A setting makes no sense.
        """
        return RLConfig(**{one.name: getattr(self, one.name) for one in fields(RLConfig)})

    def run(self, console: Console) -> int:
        """Train; say where the metrics and the checkpoint are."""
        config = self.config()
        with needed_for("learning by reward", "its packages"):
            train_rl(config)
        _say(console, run=config.out, metrics=config.out / "metrics.jsonl")
        if config.obs == "state":
            _say(console, checkpoint=config.out / "checkpoint")
        return 0


def train_rl(config: RLConfig) -> Any:
    """The run is done: begun, or gone on with; returns its trainer.

    Raises:
        ValueError: Suite, task or environment cannot be used.
        ImportError: A package of the suite is not installed; the message names the extra.
        ResumeError: `config.out` holds another run, or a broken one.
        CeilingError: A value has reached what the paper's solver aims at.
    """
    from difftori_models.training.rl.trainer import RLTrainer
    from difftori_sim.suites import make_gym

    from .rl_checkpoint import write_checkpoint

    with contextlib.closing(make_gym(config.suite, config.task, config.obs)) as env:
        trainer, info = RLTrainer.open(config, env), env.info
        trainer.run()
    if config.obs == "state":
        write_checkpoint(config, info, config.out / "checkpoint")
    return trainer


def _say(console: Console, **lines: object) -> None:
    for key, value in lines.items():
        console.print(f"{key}: {value}", soft_wrap=True, markup=False, highlight=False)
