# SPDX-License-Identifier: MIT
"""Suites of tasks: every one a module with `tasks()` and `make(task, obs)`.

What `make` gives is a `gymnasium.Env` as `difftori_models.training.rl.environment` describes it:
a flat float32 state or a stack of uint8 frames, actions in [-1, 1], and episodes that their seed
decides. A suite's packages are imported when one of its tasks is made.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

SUITES = {
    "dmc": "dmc",
    "gymnasium": "gymnasium_env",
    "maniskill": "maniskill",
    "metaworld": "metaworld",
    "robomimic": "robomimic",
    "robot": "robot",
}
"""Name on the command line -> module. `robot` is this package's own simulated arm."""

OBSERVATIONS = ("state", "rgb")
"""What reinforcement learning can see."""


def find_suite(suite: str) -> ModuleType:
    """The module of a suite.

    Raises:
        ValueError: There is none; the message names those there are.
    """
    if suite not in SUITES:
        raise ValueError(f"unknown suite '{suite}'; known: {', '.join(SUITES)}")
    return importlib.import_module(f".{SUITES[suite]}", __name__)


def make(suite: str, task: str, obs: str = "state") -> Any:
    """The environment of a task.

    Raises:
        ValueError: Suite, task or kind of observation is not known; the message names what is.
        ImportError: A package of the suite is not installed; the message names the extra.
    """
    if obs not in OBSERVATIONS:
        raise ValueError(f"unknown observation '{obs}'; known: {', '.join(OBSERVATIONS)}")
    return find_suite(suite).make(task, obs)
