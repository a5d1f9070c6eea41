# SPDX-License-Identifier: MIT
"""Suites of tasks: every one a module with `tasks()` and `make(task, variant)`, see `env.Suite`.

`open_suite` gives a `SuiteEnv`, in which policies that plan are demonstrated and evaluated.
`make_gym` gives the same environment as `gymnasium.Env`, to learn in by reward.
A suite's module is loaded when it is asked for, its packages when one of its tasks is made.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

from .env import VARIANTS, EnvironmentInfo, StepResult, Suite, SuiteEnv, SuiteEpisode, SuiteError

if TYPE_CHECKING:
    from . import arm_env, dmc, gymnasium_suite, maniskill, metaworld, robomimic
    from .gym_adapter import GymAdapter

    _: tuple[Suite, ...] = (arm_env, dmc, gymnasium_suite, maniskill, metaworld, robomimic)

__all__ = [
    "ARM",
    "OBSERVATIONS",
    "SUITES",
    "VARIANTS",
    "EnvironmentInfo",
    "StepResult",
    "Suite",
    "SuiteEnv",
    "SuiteEpisode",
    "SuiteError",
    "find_suite",
    "make_gym",
    "open_suite",
]

ARM = "robot"
"""Name of the suite that is this package's own simulated arm."""
SUITES = {
    "maniskill": "difftori_sim.suites.maniskill",
    "metaworld": "difftori_sim.suites.metaworld",
    "robomimic": "difftori_sim.suites.robomimic",
    "dmc": "difftori_sim.suites.dmc",
    "gymnasium": "difftori_sim.suites.gymnasium_suite",
    ARM: "difftori_sim.suites.arm_env",
}
"""Name on the command line -> module, a `Suite`. A new suite is one more line here."""
OBSERVATIONS = ("state", "rgb")
"""Variants that reinforcement learning can observe."""


def find_suite(name: str) -> Suite:
    """The suite of that name in `SUITES`.

    Raises:
        SuiteError: There is none, or its module cannot be imported or is no suite.
    """
    if name not in SUITES:
        raise SuiteError(f"unknown suite '{name}'; known: {', '.join(SUITES)}")
    try:
        module = importlib.import_module(SUITES[name])
    except ImportError as error:
        raise SuiteError(f"suite '{name}': {SUITES[name]} cannot be imported: {error}") from error
    missing = [part for part in ("tasks", "make") if not callable(getattr(module, part, None))]
    if missing:
        raise SuiteError(f"suite '{name}': {SUITES[name]} has no function {', '.join(missing)}")
    return cast("Suite", module)


def open_suite(suite: str, task: str, variant: str) -> SuiteEnv:
    """The environment of a task, for policies that plan.

    Args:
        suite: One of `SUITES`, except `ARM`.
        task: A task of the suite.
        variant: What is observed: `state`, `rgb` or `points`.

    Raises:
        SuiteError: The suite, the task or the variant is not known, or the packages or files that
            it needs are missing; the message says what exists.
    """
    if variant not in VARIANTS:
        raise SuiteError(f"unknown variant '{variant}'; there are: {', '.join(VARIANTS)}")
    if suite == ARM:
        raise SuiteError(
            f"the arm of '{task}' is driven through its own stages: take `difftori demos record` "
            "and `difftori evaluate`"
        )
    return find_suite(suite).make(task, variant)


def make_gym(suite: str, task: str, variant: str = "state") -> GymAdapter:
    """The environment of a task as `gymnasium.Env`, to learn in by reward.

    Raises:
        SuiteError: Suite, task or variant is not known, or packages or files are missing; the
            message says what exists.
    """
    if variant not in OBSERVATIONS:
        raise SuiteError(f"unknown observation '{variant}'; known: {', '.join(OBSERVATIONS)}")
    env = find_suite(suite).make(task, variant)
    from .gym_adapter import GymAdapter

    return GymAdapter(env)
