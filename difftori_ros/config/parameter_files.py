# SPDX-License-Identifier: MIT
"""Parameters of a node as its files give them, for those who look at its work without ROS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from difftori_ros.errors import DifftoriError

from .parameter import Parameter

ANY = ("/**", "/*")
ROS = "ros__parameters"


class ParameterFileError(DifftoriError, ValueError):
    """A parameter file cannot be used; the message says why."""


def values_of(
    node: str, parameters: Sequence[Parameter], files: Sequence[str | Path] = ()
) -> dict[str, Any]:
    """The value of every parameter: its default, or what the last file that names it gives.

    Args:
        node: Name of the node, `policy_node`.
        parameters: Its parameters.
        files: ROS 2 parameter files, in the order in which they are laid over each other.

    Raises:
        ParameterFileError: A file is no parameter file, or gives a value that is not allowed.
        OSError: A file cannot be read.
    """
    known = {parameter.name: parameter for parameter in parameters}
    values: dict[str, Any] = {name: parameter.default for name, parameter in known.items()}
    for path in files:
        try:
            raw = yaml.safe_load(Path(path).read_text())
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ParameterFileError(f"{path} is no parameter file: {error}") from error
        for given in _sections(raw, node):
            for name, value in given.items():
                if name not in known:
                    continue  # `use_sim_time` and the like; the node itself refuses strangers
                if complaint := known[name].check(value):
                    raise ParameterFileError(f"{path}: {complaint}")
                values[name] = value
    return values


def _sections(raw: Any, node: str) -> Iterator[Mapping[str, Any]]:
    """The parameters that a file gives to `node`, in the file's order."""
    if not isinstance(raw, Mapping):
        return
    for key, part in raw.items():
        if key == ROS and isinstance(part, Mapping):
            yield part
        elif key in ANY or str(key).split("/")[-1] == node:
            yield from _sections(part, node)
