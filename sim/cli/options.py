# SPDX-License-Identifier: MIT
"""What several commands share: choices, topics under other names, what a policy sees and does."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from tyro.conf import UseAppendAction
from tyro.extras import literal_type_from_choices

from difftori_models.contract.specs import Card
from difftori_models.inference.backends.base import BACKENDS
from difftori_ros.config.parameter_files import values_of
from difftori_ros.config.parameters import POLICY
from difftori_ros.config.paths import config_dir, find_checkpoint
from difftori_ros.errors import DifftoriError
from difftori_sim.arm.tasks import Task, available_tasks, find_task
from difftori_sim.suites import ARM, SUITES

if TYPE_CHECKING:
    SuiteName = TaskName = BackendName = str
else:
    SuiteName = literal_type_from_choices(SUITES)
    TaskName = literal_type_from_choices(available_tasks())
    BackendName = literal_type_from_choices(BACKENDS)
Variant = Literal["state", "points", "rgb"]
Clock = Literal["lockstep", "wall"]


class UsageError(DifftoriError):
    """The words of a command do not go together: wanted, got and known, exit status 2."""


class Command:
    """One leaf of the command tree; a subclass is a dataclass, and its fields are the options."""

    def run(self, console: Console) -> int:
        """Do it; return the exit status."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class PolicyTopics(Command):
    """Options of what listens to the topics of a policy, live or in a bag."""

    checkpoint: str | None = None
    """What is observed and done, by a checkpoint's folder or shipped name."""
    task: TaskName | None = None
    """The same, by one of this package's tasks."""
    obs: Variant = "state"
    """What is observed of --task."""
    robot: str = "panda"
    """Robot profile: shipped name or YAML file."""
    config_file: Path | None = None
    """Parameters of the policy node, laid over the shipped ones."""
    remap: UseAppendAction[tuple[str, ...]] = ()
    """A stream is on another topic, NAME:=TOPIC; may be given several times."""

    def card(self) -> Card:
        """The checkpoint's card, or that of demonstrations of the task.

        Raises:
            UsageError: Both or neither were named.
        """
        if (self.checkpoint is None) == (self.task is None):
            got = "neither" if self.task is None else "both"
            raise UsageError(f"wanted either --checkpoint or --task, got {got}")
        if self.checkpoint is not None:
            from difftori_models.checkpoint import load_card

            return load_card(find_checkpoint(self.checkpoint))
        from difftori_sim.demonstrations.record import expert_card

        task = find_task(str(self.task))
        card = expert_card(task, self.obs, self.robot)
        return dataclasses.replace(card, observation=task.observation(self.obs))


def policy_values(config_file: Path | None) -> dict[str, Any]:
    """Parameters of the policy node: the shipped ones, and a file laid over them."""
    files = [config_dir() / "policy.yaml", *([config_file] if config_file else [])]
    return values_of("policy_node", POLICY, files)


def remaps_of(words: Sequence[str]) -> dict[str, str]:
    """Name -> topic of words like `NAME:=TOPIC`.

    Raises:
        UsageError: A word is of another form.
    """
    pairs = [word.partition(":=") for word in words]
    for word, (name, sign, topic) in zip(words, pairs, strict=True):
        if not (name and sign and topic):
            raise UsageError(f"wanted --remap NAME:=TOPIC, got '{word}'")
    return {name: topic for name, _, topic in pairs}


def own_task(suite: str, name: str) -> Task | None:
    """The task of this package's own arm that a suite's task is; None when it is none.

    Raises:
        UsageError: The own arm has no such task.
    """
    if suite == ARM:
        if name not in available_tasks():
            known = ", ".join(available_tasks())
            raise UsageError(f"unknown task '{name}' of suite {ARM}; known: {known}")
        return find_task(name)
    if suite != "maniskill":
        return None
    from difftori_sim.suites.maniskill import own_task as of_maniskill

    return of_maniskill(name)


def suite_folder(suite: str, task: str, obs: str) -> Path:
    """The folder of a suite's task as it is seen: what is not named elsewhere lies there."""
    words = (re.sub(r"[^A-Za-z0-9_.-]", "-", word) for word in (suite, task, obs))
    return Path("out") / ".".join(words)


def require_episodes(count: int) -> None:
    """Refuse to run nothing."""
    if count < 1:
        raise ValueError(f"wanted at least one episode, got {count}")


@contextlib.contextmanager
def needed_for(what: str, package: str) -> Iterator[None]:
    """Imports inside need a package; without it the sentence says so.

    Raises:
        RuntimeError: It is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise RuntimeError(f"{what} needs {package}: {error}") from error
