# SPDX-License-Identifier: MIT
"""How a node's parameters are declared: as fields of dataclasses that know what they mean.

A field made by `parameter` is one ROS parameter; its default fixes the type, and a tuple is an
array. `scripts/generate_docs.py` writes the YAML files and the reference page from these fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

Value = str | bool | int | float | list[int] | list[float] | list[str]
Group = TypeVar("Group")
KEY = "parameter"
"""Where the metadata of a field holds what `parameter` was given."""


@dataclass(frozen=True)
class Parameter:
    """One declared ROS parameter.

    Attributes:
        name: Its name.
        default: Its default; also fixes its type.
        sentence: What it means.
        unit: Its unit; empty for none.
        low: Smallest value allowed, for numbers.
        high: Largest value allowed, for numbers.
        choices: Values allowed, for strings; empty for any.
        live: It can be set while the node runs; all others are read-only then.
    """

    name: str
    default: Value
    sentence: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    live: bool = False

    @property
    def description(self) -> str:
        """The sentence with the unit, for `ros2 param describe`."""
        return f"{self.sentence} [{self.unit}]" if self.unit else self.sentence

    def check(self, value: Value) -> str | None:
        """The sentence that says what is wrong with `value`, or None when it is allowed."""
        if self.choices and value not in self.choices:
            return (
                f"parameter '{self.name}': wanted one of {', '.join(self.choices)}, got '{value}'"
            )
        if self.low is not None and self.high is not None:
            numbers = value if isinstance(value, list) else [value]
            for number in numbers:
                if not isinstance(number, int | float) or not self.low <= number <= self.high:
                    limits = f"{self.low:g} to {self.high:g}"
                    return f"parameter '{self.name}': wanted {limits}, got {value}"
        return None


def parameter(
    default: Any,
    sentence: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    live: bool = False,
) -> Any:
    """A field of a dataclass that is a ROS parameter; the arguments are those of `Parameter`."""
    given = {"sentence": sentence, "unit": unit, "low": low, "high": high}
    return field(default=default, metadata={KEY: given | {"choices": choices, "live": live}})


def parameters_of(*groups: type[Any]) -> tuple[Parameter, ...]:
    """The parameters that the fields of dataclasses declare, in order."""
    found: list[Parameter] = []
    for one in (one for group in groups for one in fields(group) if KEY in one.metadata):
        default: Any = one.default
        default = list(default) if isinstance(default, tuple) else default
        found.append(Parameter(one.name, default, **one.metadata[KEY]))
    return tuple(found)


def group_of(group: type[Group], values: Mapping[str, Any]) -> Group:
    """A dataclass with the values of its parameters; its other fields have their defaults."""
    names = [one.name for one in parameters_of(group)]
    given = {name: values[name] for name in names}
    return group(**{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()})
