# SPDX-License-Identifier: MIT
"""What the settings of both trainers are asked, so that both answer in the same words."""

from __future__ import annotations

from typing import Any

import torch

from difftori_models.checkpoint import is_plain_name
from difftori_models.errors import LearningError


class ConfigError(LearningError):
    """A setting makes no sense; the message names it."""


class DivergedError(LearningError, ArithmeticError):
    """A loss is not a finite number any more; the message says where."""


def require_known(config: Any, **known: tuple[str, ...]) -> None:
    """Every named setting is one of the words that are known for it."""
    for key, words in known.items():
        given = getattr(config, key)
        if given not in words:
            raise ConfigError(f"unknown {key} '{given}'; known: {', '.join(words)}")


def require_at_least(config: Any, least: int, *keys: str) -> None:
    """Every named setting is `least` or more."""
    for key in keys:
        if not getattr(config, key) >= least:
            wanted = "must not be negative" if least == 0 else f"must be at least {least}"
            raise ConfigError(f"{key} {wanted}, got {getattr(config, key)}")


def require_within(config: Any, low: float, top: float, *keys: str) -> None:
    """Every named setting lies between two numbers, both allowed."""
    for key in keys:
        if not low <= getattr(config, key) <= top:
            raise ConfigError(f"{key} must be {low} to {top}, got {getattr(config, key)}")


def require_positive(config: Any, *keys: str) -> None:
    """Every named setting is above zero."""
    for key in keys:
        if not getattr(config, key) > 0:
            raise ConfigError(f"{key} must be positive, got {getattr(config, key)}")


def require_plain_name(name: str) -> None:
    """The name can be a checkpoint's."""
    if not is_plain_name(name):
        raise ConfigError(
            f"name '{name}' is not a plain name: letters and digits, then also '_', '.' and '-'"
        )


def require_device(device: str) -> None:
    """The device is there."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"device '{device}': PyTorch finds no GPU here; use cpu")
