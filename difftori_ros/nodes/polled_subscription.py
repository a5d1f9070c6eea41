# SPDX-License-Identifier: MIT
"""A subscription that wakes nobody, and what its raw messages tell without being decoded.

Joint states come up to a thousand times a second, and few of them are ever needed. They wait in
the reader's queue until somebody takes them; of those taken only the needed ones are decoded.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import Any

ORDERS = {b"\x00\x00": ">", b"\x00\x01": "<"}
"""Byte order by the first two bytes of a message; there are other ways to encode one, unused."""
HEADER = {order: Struct(f"{order}4xiI") for order in ORDERS.values()}
"""The encapsulation, and the stamp of a `std_msgs` Header."""
AFTER_STAMP = 12
"""Bytes of encapsulation and stamp. Numbers are aligned as if the former were not there: it is 4
bytes long, so that for alignments up to 4 both counts agree."""
LAYOUTS = 16
"""Different beginnings of joint states that are known again; of more, the oldest goes."""


class PolledSubscription:
    """A subscription that no executor sees: its messages wait until they are taken.

    Make and destroy it in the thread that spins the node; take from any one thread.
    """

    def __init__(self, node: Any, kind: type, topic: str, qos: Any):
        """Subscribe.

        Args:
            node: The node (rclpy).
            kind: The message class.
            topic: Its topic, as for `create_subscription`.
            qos: A QoSProfile that keeps the last `depth` messages; older ones are lost.
        """
        self._node, self._kind, self._at_most = node, kind, max(1, qos.depth)
        self._subscription = node.create_subscription(kind, topic, _never, qos, raw=True)
        # it stands in the list until the executor looks at it next, which is this very thread
        node._subscriptions.remove(self._subscription)

    @property
    def topic_name(self) -> str:
        """The topic's full name."""
        return self._subscription.topic_name

    def take(self) -> list[bytes]:
        """What has come since the last time, serialized, in the order of its arrival."""
        return [raw for raw, _ in self.take_timed()]

    def take_timed(self) -> list[tuple[bytes, int]]:
        """As `take`, each with the time of its arrival [ns, system clock]; 0 when not known."""
        messages: list[tuple[bytes, int]] = []
        handle = self._subscription.handle
        with handle:
            while len(messages) < self._at_most:
                taken = handle.take_message(self._kind, True)
                if taken is None:
                    break
                messages.append((taken[0], taken[1]["received_timestamp"]))
        return messages

    def destroy(self) -> None:
        """Nothing is received any more."""
        self._node._subscriptions.append(self._subscription)
        self._node.destroy_subscription(self._subscription)


def stamp_ns(raw: bytes) -> int | None:
    """Stamp of a serialized message that begins with a Header [ns]; None when it has none."""
    order = ORDERS.get(raw[:2])
    if order is None or len(raw) < HEADER[order].size:
        return None
    sec, nanosec = HEADER[order].unpack_from(raw)
    return sec * 1_000_000_000 + nanosec


class JointNames:
    """Tells whose joints a serialized JointState holds. A beginning seen before costs 1 us."""

    def __init__(self) -> None:
        self._layouts: dict[bytes, _Layout] = {}

    def of(self, raw: bytes) -> tuple[bytes, ...] | None:
        """Names of the joints; None when they cannot be read."""
        for layout in self._layouts.values():
            if layout.fits(raw):
                return layout.names
        try:
            layout = _Layout(raw)
        except ValueError:
            return None
        while len(self._layouts) >= LAYOUTS:
            del self._layouts[next(iter(self._layouts))]
        self._layouts[layout.beginning] = layout
        return layout.names

    def newest_of_each(self, messages: Iterable[bytes]) -> list[bytes]:
        """Of the messages with the same joints, the one with the highest stamp.

        Of equal stamps it is the last to come. What cannot be read is all there, so that
        decoding it tells what is wrong.
        """
        newest: dict[Any, tuple[int, bytes]] = {}
        for k, raw in enumerate(messages):
            names, stamp = self.of(raw), stamp_ns(raw)
            if names is None or stamp is None:
                newest[k] = (0, raw)
            elif names not in newest or newest[names][0] <= stamp:
                newest[names] = (stamp, raw)
        return [raw for _, raw in newest.values()]


class _Layout:
    """How the joint states of one source begin: a frame, and names."""

    def __init__(self, raw: bytes):
        """Walk along a message.

        Raises:
            ValueError: It is no JointState.
        """
        order = ORDERS.get(raw[:2])
        if order is None:
            raise ValueError("unknown encoding")
        self._raw, self._number = raw, Struct(f"{order}I")
        self._code, self._at = f"{order}{AFTER_STAMP}x", AFTER_STAMP
        self._values: tuple[Any, ...] = ()
        self._text()
        self.names = tuple(self._text()[:-1] for _ in range(self._count()))
        self.beginning = raw[: self._at]
        self._struct = Struct(self._code)

    def fits(self, raw: bytes) -> bool:
        """Whether a message begins so; the bytes that only align others may be anything."""
        if len(raw) < self._struct.size or raw[:2] != self.beginning[:2]:
            return False
        return self._struct.unpack_from(raw) == self._values

    def _count(self) -> int:
        skipped = -self._at % 4
        self._at += skipped + 4
        if self._at > len(self._raw):
            raise ValueError("too short")
        (number,) = self._number.unpack_from(self._raw, self._at - 4)
        self._code, self._values = f"{self._code}{skipped}xI", (*self._values, number)
        return number

    def _text(self) -> bytes:
        size = self._count()
        text = self._raw[self._at : self._at + size]
        if len(text) < size:
            raise ValueError("too short")
        self._at += size
        self._code, self._values = f"{self._code}{size}s", (*self._values, text)
        return text


def _never(message: bytes) -> None:
    """Nobody calls it: no executor knows of the subscription."""
