# SPDX-License-Identifier: MIT
"""The simulated arm: its tasks, its world in ManiSkill, its experts, its loop without ROS.

`tasks` reads `config/tasks` and keeps the ranges of seeds. `world` is the robot and its cameras,
`camera_perturbation` spoils them on purpose, `vulkan` finds a driver that draws them. `experts`
and `expert_rules` demonstrate; `direct_loop` runs a planner with the stages of the robot side.
"""

from .tasks import TEST_SEEDS, TRAIN_SEEDS, VALIDATION_SEEDS, Task, available_tasks, find_task

__all__ = [
    "TEST_SEEDS",
    "TRAIN_SEEDS",
    "VALIDATION_SEEDS",
    "Task",
    "available_tasks",
    "find_task",
]
