# SPDX-License-Identifier: MIT
"""The `difftori` command: one tree of commands, one sentence for what cannot be done.

A command is a frozen dataclass: its fields are the options, their docstrings the help. The exit
status is 0 when it did its work, 1 when it could not, 2 when its words make no sense.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Union

import tyro
from rich.console import Console
from tyro.conf import DisallowNone, OmitArgPrefixes, OmitSubcommandPrefixes, subcommand

from difftori_models.errors import LearningError
from difftori_models.training.errors import ConfigError
from difftori_ros.bringup.processes import interrupt_on_termination
from difftori_ros.errors import DifftoriError
from difftori_sim.arm.vulkan import use_shipped_driver

from .bag_commands import BagRecord, BagShow, Replay
from .checkpoint_commands import Export, Inspect
from .demos_commands import DemosRecord, DemosShow, ImportBag, ImportHdf5
from .episode_commands import Demo, Evaluate
from .options import Command, UsageError
from .train_commands import TrainImitation, TrainRL

TREE: Mapping[str, Any] = {
    "demo": Demo,
    "evaluate": Evaluate,
    "inspect": Inspect,
    "export": Export,
    "replay": Replay,
    "demos": (
        "Demonstrations: record them, import them, show a file of them.",
        {
            "record": DemosRecord,
            "import": (
                "Demonstrations from recordings of others.",
                {"bag": ImportBag, "hdf5": ImportHdf5},
            ),
            "show": DemosShow,
        },
    ),
    "train": (
        "Train a checkpoint, from demonstrations or by reward.",
        {"imitation": TrainImitation, "rl": TrainRL},
    ),
    "bag": (
        "Bags of a robot's topics: record one, show one.",
        {"record": BagRecord, "show": BagShow},
    ),
}
"""Word -> command, or a sentence and the commands below it."""

RENAMED = {
    "record": "difftori demos record",
    "collect": "difftori demos record --suite SUITE, difftori demos import bag FILES and "
    "difftori demos import hdf5 FILE",
    "train": "difftori train imitation and, by reward, difftori train rl",
    "bag": "difftori bag record",
}
"""Commands of 0.3 -> what they are called now."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status. Every failure is one sentence."""
    words = list(sys.argv[1:] if argv is None else argv)
    console, complaints = Console(), Console(stderr=True, soft_wrap=True)
    if words == ["--version"]:
        console.print(version(), markup=False, highlight=False)
        return 0

    def complain(sentence: object) -> None:
        complaints.print(f"difftori: {sentence}", style="red", markup=False, highlight=False)

    if now := new_spelling(words):
        complain(f"'difftori {words[0]}' is now {now}")
        return 2
    command = parse(words)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    use_shipped_driver()
    interrupt_on_termination()
    try:
        return command.run(console)
    except KeyboardInterrupt:
        complain("stopped")
        return 130
    except (UsageError, ConfigError) as error:
        complain(error)
        return 2
    except (DifftoriError, LearningError, OSError, ValueError, RuntimeError) as error:
        complain(error)
        return 1


def parse(words: Sequence[str]) -> Command:
    """The command that the words name; help and what makes no sense end the process.

    Where a preset changes what other options default to, the words are read once more with these.
    """
    command = _cli(words, None)
    if isinstance(command, TrainImitation | TrainRL) and (preset := command.preset_defaults()):
        return _cli(words, preset)
    return command


def new_spelling(words: Sequence[str]) -> str | None:
    """What a command of 0.3 is called now; None for the words of today."""
    first, second = (*words, "", "")[:2]
    today = TREE.get(first)
    below = today[1] if isinstance(today, tuple) else {}
    if first not in RENAMED or second in (*below, "-h", "--help") or (below and not second):
        return None
    return RENAMED[first]


def version() -> str:
    """Name, version and, in a checkout, the commit."""
    try:
        name = f"difftori {metadata.version('difftori_ros')}"
    except metadata.PackageNotFoundError:
        name = "difftori (not installed)"
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists():
        return name
    git = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(git, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return name
    return f"{name} (commit {done.stdout.strip()})"


def _cli(words: Sequence[str], default: Command | None) -> Command:
    return tyro.cli(
        _union(TREE, default),
        args=list(words),
        prog="difftori",
        description="Policies that optimise their actions, on simulated and real ROS 2 arms. "
        "`difftori --version` prints version and commit.",
        config=(DisallowNone, OmitArgPrefixes, OmitSubcommandPrefixes),
    )


def _union(tree: Mapping[str, Any], default: Command | None) -> Any:
    """The type that tyro reads: a union of commands, and of such unions."""
    branches = []
    for name, node in tree.items():
        if isinstance(node, tuple):
            sentence, below = node
            kind: Any = _union(below, default)
            branches.append(Annotated[kind, subcommand(name=name, description=sentence)])
        elif type(default) is node:
            branches.append(Annotated[node, subcommand(name=name, default=default)])
        else:
            branches.append(Annotated[node, subcommand(name=name)])
    return Union[tuple(branches)]  # noqa: UP007 (there is no operator for a computed list)


if __name__ == "__main__":
    sys.exit(main())
