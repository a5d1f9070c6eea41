# SPDX-License-Identifier: MIT
"""A recording: what was heard on the topics, as a file that is written whole or not at all.

The file is MCAP with ROS 2's profile, so that Foxglove, `ros2 bag` and `difftori replay` read it.
"""

from __future__ import annotations

import importlib
import itertools
import os
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from mcap.exceptions import McapError
from mcap.reader import make_reader
from mcap.well_known import MessageEncoding, Profile, SchemaEncoding
from mcap.writer import CompressionType, Writer
from zstandard import ZstdError

from difftori_ros.errors import DifftoriError

PREFIX = "difftori_"
"""First letters of every file; others in the folder are never touched."""
MAGIC = b"\x89MCAP0\r\n"
"""First bytes of every MCAP file."""
NOTE = "difftori"
"""Name of the metadata record that says why the file was written."""
ABANDONED_S = 3600.0
"""Age after which an unfinished file is what a crash has left [s]."""
BASIC = {
    "boolean": "bool",
    "octet": "byte",
    "float": "float32",
    "double": "float64",
} | {name: name for name in ("string", "wstring", "int8", "uint8", "int16", "uint16", "int32")}
BASIC |= {name: name for name in ("uint32", "int64", "uint64")}
"""Names of the basic types: in IDL, as message classes know them, and in .msg files."""


@dataclass(frozen=True)
class Channel:
    """One topic that is recorded.

    Attributes:
        role: What it is to this package, whatever it was remapped to: `joint_states`, `plan`, ...
        topic: Its full name.
        type_name: Its type, as `sensor_msgs/msg/JointState`.
        definition: The text of the message definition with those of all parts.
    """

    role: str
    topic: str
    type_name: str
    definition: str


@dataclass(frozen=True)
class Heard:
    """One message: its channel's role, its bytes, and when it came [ns, steady clock]."""

    steady_ns: int
    role: str
    data: bytes


def definition(kind: Any) -> str:
    """The message definition of a message class, followed by those of its parts.

    Made from the class itself, so that it needs no installed .msg files; comments, constants and
    defaults are not in it, and no reader of recorded bytes needs them.
    """
    texts: dict[str, str] = {}

    def add(kind: Any) -> None:
        lines, parts = [], []
        for name, idl in kind.get_fields_and_field_types().items():
            part, text = _field(idl)
            lines.append(f"{text} {name}")
            parts.append(part)
        texts[_short_name(kind)] = "\n".join(lines)
        for part in parts:
            if part is not None and part not in texts:
                package, name = part.split("/")
                add(getattr(importlib.import_module(f"{package}.msg"), name))

    add(kind)
    first, *parts = texts.items()
    rule = "=" * 80
    return "\n".join([first[1], *(f"{rule}\nMSG: {name}\n{text}" for name, text in parts)]) + "\n"


def type_name(kind: Any) -> str:
    """`sensor_msgs/msg/JointState` for that class."""
    return _short_name(kind).replace("/", "/msg/")


def _short_name(kind: Any) -> str:
    return f"{kind.__module__.split('.')[0]}/{kind.__name__}"


def _field(idl: str) -> tuple[str | None, str]:
    """A field's type as in a .msg file; before it the part that it is made of, if it is one."""
    suffix = ""
    if sequence := re.fullmatch(r"sequence<(.+?)(?:, (\d+))?>", idl):
        idl, bound = sequence.groups()
        suffix = f"[<={bound}]" if bound else "[]"
    elif array := re.fullmatch(r"(.+)\[(\d+)\]", idl):
        idl, suffix = array[1], f"[{array[2]}]"
    if bounded := re.fullmatch(r"(w?string)<(\d+)>", idl):
        return None, f"{bounded[1]}<={bounded[2]}{suffix}"
    if idl in BASIC:
        return None, BASIC[idl] + suffix
    return idl, idl + suffix


def save(
    folder: Path,
    channels: Sequence[Channel],
    messages: Sequence[Heard],
    *,
    now_ns: int,
    steady_ns: int,
    note: Mapping[str, str],
    max_files: int,
) -> Path:
    """Write a file of its own, whole or not at all; return its path.

    Args:
        folder: Where; it is made if it is not there.
        channels: Every topic that may occur.
        messages: What was heard, in order.
        now_ns: The time now of the clock on the wall [ns]: what was heard gets its time from it.
        steady_ns: The same moment on the steady clock [ns].
        note: Why the file is written; `code` becomes part of its name.
        max_files: Files of this kind that may be there afterwards; the oldest are deleted.

    Raises:
        OSError: It cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    moment = datetime.fromtimestamp(now_ns * 1e-9, tz=timezone.utc)
    stem = f"{PREFIX}{moment:%Y%m%d-%H%M%S}_{note['code']}"
    path = _write_new(folder, stem, channels, messages, now_ns - steady_ns, note)
    _prune(folder, max_files, path, now_ns)
    return path


def _write_new(folder: Path, stem: str, *content: Any) -> Path:
    """Write a file under the first name with that stem that nobody has taken."""
    for number in itertools.count(1):
        path = folder / (f"{stem}.mcap" if number == 1 else f"{stem}-{number}.mcap")
        unfinished = path.with_suffix(".part")
        try:
            stream = unfinished.open("xb")
        except FileExistsError:  # another process is writing it, or a crash has left it
            continue
        try:
            with stream:
                if path.exists():
                    continue
                _write(stream, *content)
                stream.flush()
                os.fsync(stream.fileno())
            unfinished.rename(path)
            return path
        finally:
            unfinished.unlink(missing_ok=True)
    raise AssertionError("numbers do not end")


def _write(
    stream: Any,
    channels: Sequence[Channel],
    messages: Sequence[Heard],
    offset_ns: int,
    note: Mapping[str, str],
) -> None:
    writer, numbers = begin(stream, channels)
    for sequence, heard in enumerate(messages):
        time_ns = heard.steady_ns + offset_ns
        writer.add_message(numbers[heard.role], time_ns, heard.data, time_ns, sequence)
    writer.add_metadata(NOTE, dict(note))
    writer.finish()


def begin(stream: Any, channels: Sequence[Channel]) -> tuple[Writer, dict[str, int]]:
    """A writer of MCAP with ROS 2's profile, and its channel numbers by role."""
    writer = Writer(stream, compression=CompressionType.ZSTD)
    writer.start(profile=Profile.ROS2)
    schemas: dict[str, int] = {}
    numbers: dict[str, int] = {}
    for channel in channels:
        if channel.type_name not in schemas:
            schemas[channel.type_name] = writer.register_schema(
                channel.type_name, SchemaEncoding.ROS2, channel.definition.encode()
            )
        numbers[channel.role] = writer.register_channel(
            channel.topic,
            MessageEncoding.CDR,
            schemas[channel.type_name],
            {"role": channel.role},
        )
    return writer, numbers


def _prune(folder: Path, max_files: int, newest: Path, now_ns: int) -> None:
    """Delete the oldest files beyond `max_files`, never `newest`, and what crashes have left."""
    old = sorted(set(folder.glob(f"{PREFIX}*.mcap")) - {newest}, key=lambda path: path.stem)
    for path in old[: max(0, len(old) + 1 - max_files)]:
        path.unlink(missing_ok=True)
    for path in folder.glob(f"{PREFIX}*.part"):
        if now_ns - path.stat().st_mtime_ns > ABANDONED_S * 1e9:
            path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Entry:
    """One message of a file: its time [ns, clock on the wall], its role, type and bytes."""

    time_ns: int
    role: str
    type_name: str
    data: bytes


DAMAGE = (
    McapError,
    struct.error,
    ZstdError,
    ValueError,
    KeyError,
    OverflowError,
    OSError,  # a damaged offset may be one that no file has
)
"""What reading a damaged file may raise."""


class RecordingError(DifftoriError, ValueError):
    """A file cannot be shown; the message says why."""


def load(path: Path) -> tuple[dict[str, str], list[Entry]]:
    """The note and the messages of a file that `save` has written, in order.

    Raises:
        RecordingError: It is no MCAP file, is empty, damaged or truncated, or something else has
            written it.
        OSError: It cannot be opened.
    """
    if path.stat().st_size == 0:
        raise RecordingError(f"{path} is empty")
    with path.open("rb") as stream:
        if stream.read(len(MAGIC)) != MAGIC:
            raise RecordingError(f"{path} is no MCAP file")
        stream.seek(0)
        try:
            reader = make_reader(stream, validate_crcs=True)
            notes = [record.metadata for record in reader.iter_metadata() if record.name == NOTE]
            heard = [
                Entry(record.log_time, channel.metadata.get("role", ""), schema.name, record.data)
                for schema, channel, record in reader.iter_messages()
                if schema is not None
            ]
            summary = reader.get_summary()
        except DAMAGE as error:
            raise RecordingError(f"{path} is truncated or damaged: {error!r}") from error
    if not notes:
        topics = sorted(c.topic for c in summary.channels.values()) if summary else []
        raise RecordingError(
            f"{path} was not written by blackbox_node; its topics: {', '.join(topics) or 'none'}"
        )
    return notes[0], heard
