# SPDX-License-Identifier: MIT
"""Suites of tasks: every one a module that makes its environments in two ways.

`open_env(task, variant)` gives a `SuiteEnv` (`env.py`), in which policies that plan are
demonstrated, trained and evaluated; `make(task, obs)` gives a `gymnasium.Env` as
`difftori_models.training.rl.environment` describes it, to learn in by reward. Either is made of
the other, by `as_gym.py` or `bridge.py`. A suite's packages are imported when one of its tasks is
made.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from .env import VARIANTS, SuiteEnv, SuiteError

SUITES = {
    "maniskill": "maniskill",
    "metaworld": "metaworld",
    "robomimic": "robomimic",
    "dmc": "dmc",
    "gymnasium": "gymnasium_env",
    "robot": "robot",
}
"""Name on the command line -> module. `robot` is this package's own simulated arm."""

OBSERVATIONS = ("state", "rgb")
"""What reinforcement learning can see."""


def find_suite(suite: str) -> ModuleType:
    """The module of a suite.

    Raises:
        SuiteError: There is none; the message names those there are.
    """
    if suite not in SUITES:
        raise SuiteError(f"unknown suite '{suite}'; known: {', '.join(SUITES)}")
    return importlib.import_module(f".{SUITES[suite]}", __name__)


def open_suite(suite: str, task: str, variant: str) -> SuiteEnv:
    """The environment of a task, for policies that plan.

    Args:
        suite: One of `SUITES`.
        task: A task of the suite.
        variant: What is seen: `state`, `rgb` or `points`.

    Raises:
        SuiteError: The suite, the task or the variant is not known, or the packages or files that
            it needs are not there; the message says what is.
    """
    if variant not in VARIANTS:
        raise SuiteError(f"unknown variant '{variant}'; there are: {', '.join(VARIANTS)}")
    return find_suite(suite).open_env(task, variant)


def make(suite: str, task: str, obs: str = "state") -> Any:
    """The environment of a task, to learn in by reward.

    Raises:
        ValueError: Suite, task or kind of observation is not known; the message names what is.
        ImportError: A package of the suite is not installed; the message names the extra.
    """
    if obs not in OBSERVATIONS:
        raise SuiteError(f"unknown observation '{obs}'; known: {', '.join(OBSERVATIONS)}")
    return find_suite(suite).make(task, obs)
