# SPDX-License-Identifier: MIT
"""Suites by name: which there are, and the environment of a task."""

from __future__ import annotations

import importlib

from .env import VARIANTS, SuiteEnv, SuiteError

SUITES = {
    "maniskill": "maniskill",
    "metaworld": "metaworld",
    "robomimic": "robomimic",
    "dmc": "bridge",
    "gymnasium": "bridge",
}
"""Name on command lines -> the module that opens its tasks."""


def open_suite(suite: str, task: str, variant: str) -> SuiteEnv:
    """The environment of a task.

    Args:
        suite: One of `SUITES`.
        task: A task of the suite.
        variant: What is seen: `state`, `rgb` or `points`.

    Raises:
        SuiteError: The suite, the task or the variant is not known, or the packages or files that
            it needs are not there; the message says what is.
    """
    if suite not in SUITES:
        raise SuiteError(f"unknown suite '{suite}'; there are: {', '.join(SUITES)}")
    if variant not in VARIANTS:
        raise SuiteError(f"unknown variant '{variant}'; there are: {', '.join(VARIANTS)}")
    module = importlib.import_module(f"{__package__}.{SUITES[suite]}")
    if SUITES[suite] == "bridge":
        return module.open_env(suite, task, variant)
    return module.open_env(task, variant)
