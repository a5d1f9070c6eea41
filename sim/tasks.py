# SPDX-License-Identifier: MIT
"""The simulated tasks: environment, observation, action, and the seeds that keep their uses apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from difftori_models.contract import ActionSpec, ObservationSpec, PointSpec

from .experts import Expert, pick_cube, push_cube

TRAIN_SEEDS = range(0, 100_000)
"""Seeds of demonstrations."""
VALIDATION_SEEDS = range(100_000, 200_000)
"""Seeds for every choice that is made by looking at success: recipes, checkpoints, thresholds."""
TEST_SEEDS = range(200_000, 300_000)
"""Seeds of reported figures. Nothing is chosen by looking at them."""

TIP_DOWN = (1.0, 0.0, 0.0, 0.0)
"""Tip pointing straight down, fingers along the base's y axis; quaternion x y z w."""

PANDA_JOINTS = (*(f"panda_joint{k}" for k in range(1, 8)), "panda_finger_joint1")
FRAME = "panda_link0"

TIP_STEPS = ActionSpec(
    kind="ee_delta_pos",
    names=("x", "y", "z", "gripper"),
    scale=(0.03, 0.03, 0.03, 1.0),
    low=(-1.0, -1.0, -1.0, -1.0),
    high=(1.0, 1.0, 1.0, 1.0),
    dt_s=0.05,
    horizon=4,
    execute=2,
    tip_orientation=TIP_DOWN,
)
"""Tip displacements at 20 Hz, at most 0.6 m/s per axis, planned at 10 Hz."""


@dataclass(frozen=True)
class Task:
    """One simulated task.

    Attributes:
        name: Name used on command lines and in checkpoint cards.
        env_id: The ManiSkill environment.
        poses: Named actors whose pose is published, name -> attribute of the environment.
        state: Observation of the state variant.
        points: Observation of the point-cloud variant, or None when the cloud does not show the goal.
        action: What actions mean.
        expert: The scripted expert.
        max_steps: Actions after which an episode counts as failed.
    """

    name: str
    env_id: str
    poses: dict[str, str]
    state: ObservationSpec
    points: ObservationSpec | None
    action: ActionSpec
    expert: Callable[[], Expert]
    max_steps: int = 100

    def observation(self, variant: str) -> ObservationSpec:
        """The spec of variant `state` or `points`.

        Raises:
            ValueError: The task has no such variant; the message names those it has.
        """
        specs = {"state": self.state} | ({"points": self.points} if self.points else {})
        if variant not in specs:
            raise ValueError(
                f"task '{self.name}' has no variant '{variant}'; it has {', '.join(specs)}"
            )
        return specs[variant]


TASKS = {
    task.name: task
    for task in (
        Task(
            name="pick_cube",
            env_id="PickCube-v1",
            poses={"goal": "goal_site", "object": "cube"},
            state=ObservationSpec(
                frame=FRAME,
                joint_names=PANDA_JOINTS,
                poses=("goal", "object"),
                features=("position", "tip", "object-tip", "goal-tip", "goal-object"),
            ),
            points=ObservationSpec(
                frame=FRAME,
                joint_names=PANDA_JOINTS,
                poses=("goal",),
                features=("position", "tip", "goal-tip"),
                points=PointSpec(
                    frame=FRAME,
                    count=512,
                    color=True,
                    crop_min=(0.35, -0.30, 0.004),
                    crop_max=(0.90, 0.30, 0.50),
                ),
            ),
            action=TIP_STEPS,
            expert=pick_cube,
        ),
        Task(
            name="push_cube",
            env_id="PushCube-v1",
            poses={"goal": "goal_region", "object": "obj"},
            state=ObservationSpec(
                frame=FRAME,
                joint_names=PANDA_JOINTS,
                poses=("goal", "object"),
                features=("position", "tip", "object-tip", "goal-tip", "goal-object"),
            ),
            points=None,
            action=TIP_STEPS,
            expert=push_cube,
        ),
    )
}


def find_task(name: str) -> Task:
    """The task called `name`.

    Raises:
        ValueError: There is none; the message names those that exist.
    """
    if name not in TASKS:
        raise ValueError(f"unknown task '{name}'; known: {', '.join(TASKS)}")
    return TASKS[name]
