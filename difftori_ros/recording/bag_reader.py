# SPDX-License-Identifier: MIT
"""Bags: what was recorded on the topics, read without ROS, message by message in its order.

A bag is a folder of `ros2 bag record` (MCAP or sqlite3), or one `.mcap` or `.db3` file, such as
`difftori bag record` and the black box write.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from difftori_ros.errors import DifftoriError

CLOCK, TF, TF_STATIC = "/clock", "/tf", "/tf_static"


class BagError(DifftoriError, ValueError):
    """A bag cannot be used; the message names what was wanted, what came and what exists."""


@dataclass(frozen=True)
class Recorded:
    """One message: when it was recorded [ns, the recorder's clock], on which topic, and itself."""

    time_ns: int
    topic: str
    message: Any


class Bag:
    """An open bag; use as a context manager.

    Attributes:
        path: Folder or file.
        topics: Topic -> type (`sensor_msgs/msg/JointState`) of everything that holds messages.
        counts: Topic -> its number of messages.
        duration_s: From the first message to the last [s, the recorder's clock].
    """

    def __init__(self, path: str | Path):
        """Open a bag.

        Raises:
            BagError: There is none, it is damaged, or nothing here reads bags.
        """
        try:
            from rosbags.rosbag2 import Reader
            from rosbags.typesys import Stores, get_typestore
        except ImportError as error:
            raise BagError(f"reading bags needs rosbags (pip install rosbags): {error}") from error
        self.path = Path(path)
        if not self.path.exists():
            raise BagError(f"no bag at {self.path}: there is no such file or folder")
        try:
            self._reader = Reader(self.path)
            self._reader.open()
        except Exception as error:  # of a damaged file its parser may raise anything
            raise BagError(f"{self.path} cannot be read as a bag: {error!r}") from error
        self._types = get_typestore(Stores.ROS2_JAZZY)
        self.topics: Mapping[str, str] = {
            connection.topic: connection.msgtype
            for connection in self._reader.connections
            if connection.msgcount
        }
        self.counts: dict[str, int] = dict.fromkeys(self.topics, 0)
        for connection in self._reader.connections:
            if connection.msgcount:
                self.counts[connection.topic] += connection.msgcount
        self.duration_s = self._reader.duration * 1e-9 if self.topics else 0.0

    def __enter__(self) -> Bag:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    def topic(self, name: str, types: Sequence[str], remaps: Mapping[str, str]) -> str:
        """The topic on which `name` was recorded.

        Args:
            name: Name as the nodes know it; relative ones are looked for in the root namespace.
            types: Types that will do.
            remaps: Name -> topic of what was recorded under another name.

        Raises:
            BagError: It was not recorded, or has another type.
        """
        topic = remaps.get(name, name)
        topic = topic if topic.startswith("/") else f"/{topic}"
        kind = self.topics.get(topic)
        if kind in types:
            return topic
        there = f"holds {kind}" if kind else "holds nothing"
        others = [other for other in sorted(self.topics) if self.topics[other] in types]
        raise BagError(
            f"{self.path}: '{name}' ({' or '.join(types)}) is wanted on {topic}, which {there}; "
            f"topics of that type: {', '.join(others) or 'none'}; "
            f"all topics: {', '.join(sorted(self.topics)) or 'none'}"
        )

    def messages(self, topics: Sequence[str]) -> Iterator[Recorded]:
        """Messages of these topics, in the order in which they were recorded.

        Raises:
            BagError: The bag is damaged from here on.
        """
        wanted = [c for c in self._reader.connections if c.topic in topics]
        if not wanted:
            return
        try:
            for connection, time_ns, data in self._reader.messages(wanted):
                message = self._types.deserialize_cdr(data, connection.msgtype)
                yield Recorded(time_ns, connection.topic, message)
        except Exception as error:  # as above
            raise BagError(f"{self.path} is truncated or damaged: {error!r}") from error
