# SPDX-License-Identifier: MIT
"""Why a run is not begun, or ends before its time."""

from __future__ import annotations

from difftori_models.errors import LearningError


class ConfigError(LearningError):
    """A setting makes no sense; the message names it."""


class ResumeError(LearningError, ValueError):
    """A run directory cannot be continued; the message says what differs or is broken."""


class DivergedError(LearningError, ArithmeticError):
    """A loss is not a finite number any more; the message says where."""
