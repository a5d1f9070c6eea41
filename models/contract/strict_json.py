# SPDX-License-Identifier: MIT
"""Frozen dataclasses to JSON and back, strictly: nothing is guessed or dropped.

What is left out has the default of its dataclass; where there is none, it is missing.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from difftori_models.errors import LearningError


class JsonError(LearningError, ValueError):
    """A value is not what was declared; the message starts with its place (`action.scale[2]`)."""


def encode(value: Any, where: str = "") -> Any:
    """Plain JSON data that `decode` turns back into an equal value.

    Raises:
        JsonError: Something is neither a dataclass, mapping, sequence, string, finite number, bool
            or None.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            f.name: encode(getattr(value, f.name), _join(where, f.name))
            for f in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise JsonError(f"{where or 'top level'}: key {key!r} is not a string")
        return {key: encode(item, _join(where, key)) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(item, f"{where}[{k}]") for k, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise JsonError(f"{where}: {value} is not a finite number")
    if value is None or type(value) in (str, int, float, bool):
        return value
    raise JsonError(f"{where}: a {type(value).__name__} cannot be written as JSON")


def decode(kind: Any, data: Any, where: str = "") -> Any:
    """The value of type `kind` that `data` describes; lists become tuples.

    A dataclass's entries that are left out have their defaults. A dataclass that is decoded
    already stays what it is.

    Raises:
        JsonError: A key is missing or unknown, or a value has another type.
    """
    origin = typing.get_origin(kind)
    if kind is Any:
        return _plain(data, where)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return data if isinstance(data, kind) else _decode_dataclass(kind, data, where)
    if origin in (typing.Union, types.UnionType):
        options = typing.get_args(kind)
        if data is None and type(None) in options:
            return None
        (only,) = (option for option in options if option is not type(None))
        return decode(only, data, where)
    if origin is tuple:
        return _decode_tuple(typing.get_args(kind), data, where)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        _require(isinstance(data, dict), "an object", data, where)
        item = typing.get_args(kind)[1]
        return {key: decode(item, value, _join(where, key)) for key, value in data.items()}
    if kind is float:
        _require(type(data) in (int, float), "a number", data, where)
        if not math.isfinite(data):
            raise JsonError(f"{where}: {data} is not a finite number")
        return float(data)
    wanted = {str: "a string", int: "an integer", bool: "true or false"}[kind]
    _require(type(data) is kind, wanted, data, where)
    return data


def dumps(value: Any) -> str:
    """Readable JSON text of `value`, ending in a newline; a flat list takes one line."""
    return _text(encode(value), "") + "\n"


def loads(text: str | bytes) -> Any:
    """Parse JSON text; NaN, Infinity and repeated keys are refused.

    Raises:
        JsonError: The text is not JSON; the message says where it breaks.
    """

    def constant(name: str) -> Any:
        raise JsonError(f"{name} is not a finite number")

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        for key, value in items:
            if key in entries:
                raise JsonError(f"key '{key}' appears twice")
            entries[key] = value
        return entries

    try:
        return json.loads(text, parse_constant=constant, object_pairs_hook=pairs)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise JsonError(f"not JSON: {error}") from error


def write_atomically(path: Path, data: bytes) -> None:
    """`path` holds `data`, or is what it was before: a crash leaves no half-written file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _text(data: Any, indent: str) -> str:
    inner = indent + "  "
    if isinstance(data, dict) and data:
        items = [f"{json.dumps(key)}: {_text(value, inner)}" for key, value in data.items()]
        return "{\n" + ",\n".join(inner + item for item in items) + "\n" + indent + "}"
    if isinstance(data, list) and any(isinstance(item, (dict, list)) for item in data):
        items = [inner + _text(item, inner) for item in data]
        return "[\n" + ",\n".join(items) + "\n" + indent + "]"
    return json.dumps(data, allow_nan=False)


def _decode_dataclass(kind: type, data: Any, where: str) -> Any:
    _require(isinstance(data, dict), "an object", data, where)
    hints = typing.get_type_hints(kind)
    fields = dataclasses.fields(kind)
    names = [f.name for f in fields]
    unknown = [key for key in data if key not in names]
    missing = [f.name for f in fields if f.name not in data and _is_required(f)]
    if unknown or missing:
        parts = [f"unknown {', '.join(unknown)}"] if unknown else []
        parts += [f"missing {', '.join(missing)}"] if missing else []
        raise JsonError(f"{where or 'top level'}: {'; '.join(parts)}")
    given = [name for name in names if name in data]
    return kind(**{name: decode(hints[name], data[name], _join(where, name)) for name in given})


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is field.default_factory is dataclasses.MISSING


def _decode_tuple(args: tuple[Any, ...], data: Any, where: str) -> tuple[Any, ...]:
    _require(isinstance(data, list), "a list", data, where)
    if len(args) == 2 and args[1] is Ellipsis:
        kinds = [args[0]] * len(data)
    else:
        kinds = list(args)
    if len(kinds) != len(data):
        raise JsonError(f"{where}: wanted {len(kinds)} entries, got {len(data)}")
    return tuple(
        decode(kind, item, f"{where}[{k}]")
        for k, (kind, item) in enumerate(zip(kinds, data, strict=True))
    )


def _plain(data: Any, where: str) -> Any:
    if isinstance(data, dict):
        return {key: _plain(value, _join(where, key)) for key, value in data.items()}
    if isinstance(data, list):
        return tuple(_plain(value, f"{where}[{k}]") for k, value in enumerate(data))
    if isinstance(data, float) and not math.isfinite(data):
        raise JsonError(f"{where}: {data} is not a finite number")
    return data


def _require(holds: bool, wanted: str, data: Any, where: str) -> None:
    if not holds:
        got = repr(data) if len(repr(data)) <= 40 else f"a {type(data).__name__}"
        raise JsonError(f"{where or 'top level'}: wanted {wanted}, got {got}")


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
