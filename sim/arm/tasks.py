# SPDX-License-Identifier: MIT
"""The simulated tasks (`config/tasks/*.yaml`), and the seeds that keep their uses apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import yaml

from difftori_models.contract.specs import ActionSpec, Card, ObservationSpec
from difftori_models.contract.strict_json import JsonError, decode
from difftori_ros.config.paths import config_dir

TRAIN_SEEDS = range(0, 100_000)
"""Seeds of demonstrations."""
VALIDATION_SEEDS = range(100_000, 200_000)
"""Seeds for every choice that is made by looking at success: recipes, checkpoints, thresholds."""
TEST_SEEDS = range(200_000, 300_000)
"""Seeds of reported figures. Nothing is chosen by looking at them."""


@dataclass(frozen=True)
class Task:
    """One simulated task.

    Attributes:
        name: Name used on command lines and in checkpoint cards.
        env_id: The ManiSkill environment.
        max_steps: Actions after which an episode counts as failed.
        robot_uid: The robot's name in ManiSkill; `panda_wristcam` has a camera in its hand.
        poses: Actors whose pose is published, name -> attribute of the environment.
        state: Observation of the state variant.
        action: What actions mean.
        points: Observation of the point-cloud variant, or None when the cloud does not show
            enough.
        rgb: Observation of the variant with camera images, or None.
    """

    name: str
    env_id: str
    max_steps: int
    robot_uid: str
    poses: Mapping[str, str]
    state: ObservationSpec
    action: ActionSpec
    points: ObservationSpec | None = None
    rgb: ObservationSpec | None = None

    def observation(self, variant: str) -> ObservationSpec:
        """The spec of variant `state`, `points` or `rgb`.

        Raises:
            ValueError: The task has no such variant; the message names those it has.
        """
        every = {"state": self.state, "points": self.points, "rgb": self.rgb}
        specs = {name: spec for name, spec in every.items() if spec is not None}
        if variant not in specs:
            have = ", ".join(specs)
            raise ValueError(f"task '{self.name}' has no variant '{variant}'; it has {have}")
        return specs[variant]


def available_tasks() -> list[str]:
    """Names of the tasks that ship with the package."""
    return sorted(path.stem for path in (config_dir() / "tasks").glob("*.yaml"))


def find_task(name: str) -> Task:
    """The task called `name`.

    Raises:
        ValueError: There is none, or its file is defective; the message names what exists.
    """
    path = config_dir() / "tasks" / f"{name}.yaml"
    if name not in available_tasks():
        raise ValueError(f"unknown task '{name}'; known: {', '.join(available_tasks())}")
    try:
        return decode(Task, yaml.safe_load(path.read_text()))
    except (JsonError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: {error}") from error


def task_of(card: Card) -> Task:
    """The task that a checkpoint was trained for.

    Raises:
        ValueError: It is of a suite, or of a task that is not known.
    """
    if card.action.kind == "env":
        raise ValueError(
            f"checkpoint '{card.name}' was trained for '{card.task}' of a suite: no robot takes "
            "its actions; it is run by `difftori evaluate --suite`"
        )
    return find_task(card.task)
