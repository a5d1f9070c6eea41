# SPDX-License-Identifier: MIT
"""What a setting may be stands beside it, in its type; here it is checked, for both trainers.

batch: Annotated[int, COUNT] = 128
loss: Annotated[str, OneOf("l1", "mse")] = "l1"
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, get_type_hints

from difftori_models.checkpoint import is_plain_name

from .errors import ConfigError


class Rule(Protocol):
    """What is asked of a setting."""

    def complaint(self, name: str, value: Any) -> str | None:
        """What is wrong with the value of the setting `name`; None when nothing is."""
        ...


@dataclass(frozen=True)
class Interval:
    """From `low` to `high`, both allowed unless they are open; NaN is never allowed."""

    low: float
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def complaint(self, name: str, value: float) -> str | None:
        """See `Rule`."""
        above = self.low < value if self.open_low else self.low <= value
        below = value < self.high if self.open_high else value <= self.high
        return None if above and below else f"{name} {self._wanted}, got {value}"

    @property
    def _wanted(self) -> str:
        if self.high < math.inf:
            left, right = "(" if self.open_low else "[", ")" if self.open_high else "]"
            return f"must lie in {left}{self.low:g}, {self.high:g}{right}"
        if self.low == 0:
            return "must be positive" if self.open_low else "must not be negative"
        return f"must be at least {self.low:g}"


COUNT = Interval(1)
NOT_NEGATIVE = Interval(0)
POSITIVE = Interval(0, open_low=True)
SHARE = Interval(0, 1)
SHARE_BELOW_ONE = Interval(0, 1, open_high=True)
SHARE_ABOVE_ZERO = Interval(0, 1, open_low=True)


class OneOf:
    """One of some words."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def complaint(self, name: str, value: str) -> str | None:
        """See `Rule`."""
        known = value in self.words
        return None if known else f"unknown {name} '{value}'; known: {', '.join(self.words)}"


class PlainName:
    """A name that a checkpoint can have."""

    def complaint(self, name: str, value: str) -> str | None:
        """See `Rule`."""
        if is_plain_name(value):
            return None
        return (
            f"{name} '{value}' is not a plain name: letters and digits, then also '_', '.' and '-'"
        )


class Device:
    """A device of PyTorch that is there."""

    def complaint(self, name: str, value: str) -> str | None:
        """See `Rule`."""
        if not value.startswith("cuda"):
            return None
        import torch  # not before it is asked for: settings are read where nothing is trained

        there = torch.cuda.is_available()
        return None if there else f"{name} '{value}': PyTorch finds no GPU here; use cpu"


def check_settings(config: Any) -> None:
    """Pass silently when every setting of a dataclass is what its type asks for.

    Raises:
        ConfigError: One is not; the message says what is wanted and what was given.
    """
    for name, hint in get_type_hints(type(config), include_extras=True).items():
        for rule in getattr(hint, "__metadata__", ()):
            require(rule, name, getattr(config, name))


def require(rule: Rule, name: str, value: Any) -> None:
    """Pass silently when a value is what the rule asks for.

    Raises:
        ConfigError: It is not.
    """
    complaint = rule.complaint(name, value)
    if complaint:
        raise ConfigError(complaint)


def preset(name: str, presets: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The settings that a preset gives others defaults for.

    Raises:
        ConfigError: There is no such preset.
    """
    require(OneOf(*presets), "preset", name)
    return dict(presets[name])
