# SPDX-License-Identifier: MIT
"""Faults injected on purpose between a publisher and the network.

Messages are taken by their attributes alone, so this module imports no ROS package. Time is passed
in, and chance is seeded: the same faults on the same messages give the same bytes.
"""

from __future__ import annotations

import copy
import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from difftori_ros.errors import DifftoriError

from .fault_kinds import KINDS, restamped, stamp_ns_of

MICROSECOND_NS = 1_000


class FaultError(DifftoriError, ValueError):
    """There is no such fault; says what was wanted, what came and what exists."""


@dataclass(frozen=True)
class StreamFault:
    """One fault of one stream: `kind` from `start_s` for `duration_s`, on the clock passed in."""

    stream: str
    kind: str
    start_s: float = 0.0
    duration_s: float = math.inf
    amount: float = math.nan

    def __post_init__(self) -> None:
        """Take the kind's own amount when none was given."""
        if self.kind not in KINDS:
            raise FaultError(f"unknown fault '{self.kind}'; there are {', '.join(KINDS)}")
        if math.isnan(self.start_s) or not self.duration_s > 0:
            raise FaultError(
                f"fault '{self.stream}:{self.kind}': wanted a start and a duration above 0, "
                f"got {self.start_s:g} and {self.duration_s:g} s"
            )
        if math.isnan(self.amount):
            object.__setattr__(self, "amount", KINDS[self.kind].amount)

    def active(self, now_s: float) -> bool:
        """Whether it is active at `now_s`."""
        return self.start_s <= now_s < self.start_s + self.duration_s


def parse(text: str, streams: Mapping[str, Any]) -> StreamFault:
    """The fault that `stream:kind:start_s:duration_s[:amount]` stands for.

    Args:
        text: As above.
        streams: The streams that exist, with their message types.

    Raises:
        FaultError: It is not of that form, or no such stream or kind exists, or the kind does not
            fit the stream's messages.
    """
    parts = text.split(":")
    if len(parts) not in (4, 5):
        raise FaultError(f"wanted stream:kind:start_s:duration_s[:amount], got '{text}'")
    stream, kind, *numbers = parts
    if stream not in streams:
        raise FaultError(f"'{text}': no stream '{stream}'; there are {', '.join(sorted(streams))}")
    try:
        fault = StreamFault(stream, kind, *(float(number) for number in numbers))
    except FaultError as error:
        raise FaultError(f"'{text}': {error}") from error
    except ValueError as error:
        raise FaultError(f"'{text}': wanted numbers, got {' '.join(numbers)}") from error
    if not fits(kind, streams[stream]):
        fitting = [name for name in KINDS if fits(name, streams[stream])]
        what = getattr(streams[stream], "__name__", str(streams[stream]))
        raise FaultError(
            f"'{text}': a {what} cannot have '{kind}'; it can have {', '.join(fitting)}"
        )
    return fault


def fits(kind: str, message_type: Any) -> bool:
    """Whether messages of that type can have that kind of fault."""
    needs = KINDS[kind].needs
    return not needs or any(hasattr(message_type, name) for name in needs)


@dataclass
class FaultInjector:
    """Applies faults to messages before they are published, and holds back those that come late.

    Attributes:
        faults: The faults, in the order in which they are applied.
        seed: Seed of what is drawn by chance.
    """

    faults: Sequence[StreamFault] = ()
    seed: int = 0
    _held: list[tuple[float, int, str, Any]] = field(default_factory=list)
    _kept: dict[StreamFault, Any] = field(default_factory=dict)
    _count: int = 0

    def __post_init__(self) -> None:
        """Seed the random numbers."""
        self._rng = np.random.default_rng(self.seed)

    def apply(self, stream: str, message: Any, now_s: float) -> list[tuple[str, Any]]:
        """What goes out now for a message that is given in: pairs of stream and message.

        Messages that were held back and are due come first. The message itself is never changed.
        """
        sent = self.due(now_s)
        messages = [message]
        for fault in self.faults:
            if fault.stream != stream:
                continue
            if fault.active(now_s):
                messages = [made for one in messages for made in self._faulty(fault, one, now_s)]
            else:
                self._kept.pop(fault, None)
        return sent + [(stream, made) for made in messages]

    def due(self, now_s: float) -> list[tuple[str, Any]]:
        """The messages that were held back until `now_s`: pairs of stream and message."""
        released = []
        while self._held and self._held[0][0] <= now_s:
            released.append(heapq.heappop(self._held)[2:])
        return released

    def _faulty(self, fault: StreamFault, message: Any, now_s: float) -> list[Any]:
        kind, amount = fault.kind, fault.amount
        if kind == "silence":
            return []
        if kind == "drop":
            return [] if self._rng.random() < amount else [message]
        if kind == "duplicate":
            return [message] * (1 + round(amount))
        if kind == "freeze":
            return [self._kept.setdefault(fault, message)]
        if kind == "stuck":
            return [restamped(self._kept.setdefault(fault, message), stamp_ns_of(message))]
        if kind in ("delay", "reorder"):
            late_s = amount * (self._rng.random() if kind == "reorder" else 1.0)
            self._hold(fault.stream, message, now_s + late_s)
            return []
        if kind == "burst":
            copies, stamp_ns = max(round(amount), 1), stamp_ns_of(message)
            for k in range(copies):
                older = restamped(message, stamp_ns - (copies - 1 - k) * MICROSECOND_NS)
                self._hold(fault.stream, older, fault.start_s + fault.duration_s)
            return []
        damage = KINDS[kind].damage
        assert damage is not None
        damaged = copy.deepcopy(message)
        damage(damaged, amount, self._rng)
        return [damaged]

    def _hold(self, stream: str, message: Any, until_s: float) -> None:
        self._count += 1  # messages that are due together leave in the order they came
        heapq.heappush(self._held, (until_s, self._count, stream, message))
