# SPDX-License-Identifier: MIT
"""The newest samples of one topic, ordered by their stamps and readable from another thread."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
FOREVER = 2**62
"""A time after every stamp [ns]."""


@dataclass(frozen=True)
class StreamStats:
    """Counts since the stream was made.

    Attributes:
        received: Samples pushed, whatever became of them.
        duplicates: Of these, samples whose stamp was there already; the first one stays.
        refused: Of these, samples with a stamp of zero or less, or too far in the future.
        late: Of these, samples older than all that a full stream holds.
    """

    received: int = 0
    duplicates: int = 0
    refused: int = 0
    late: int = 0


@dataclass(frozen=True, slots=True)
class Unread(Generic[T]):
    """A sample of which so far only the stamp is known; it is read when somebody asks for it.

    Attributes:
        stamp_ns: Its stamp [ns].
        raw: The message.
        decode: Makes the sample of it; raises ValueError when it cannot.
    """

    stamp_ns: int
    raw: bytes
    decode: Callable[[bytes], T]


class StreamBuffer(Generic[T]):
    """A bounded buffer of samples by stamp. Any thread may push, any thread may read.

    Stamps and `now_ns` are on one clock: that of the message stamps, which may be simulated. When
    that clock jumps back, call `clear`: what is here then stems from another time.
    """

    def __init__(
        self,
        depth: int = 64,
        future_tolerance_s: float = 0.05,
        span_s: float = 0.0,
        unreadable: Callable[[int, str], None] = lambda stamp_ns, why: None,
    ):
        """Make an empty stream.

        Args:
            depth: Samples kept; the oldest go first.
            span_s: Samples are kept for this long before the newest one too, however many [s].
            future_tolerance_s: A stamp may be ahead of the clock by this much [s], for clocks of
                two machines never agree exactly.
            unreadable: Told of an `Unread` that cannot be read, with its stamp [ns]; it is
                forgotten, and the next sample is taken in its place.

        Raises:
            ValueError: `depth` is below 1 or the tolerance is negative.
        """
        if depth < 1 or not future_tolerance_s >= 0:
            raise ValueError(
                "wanted depth >= 1 and future_tolerance_s >= 0, "
                f"got {depth} and {future_tolerance_s}"
            )
        self._depth = depth
        self._tolerance_ns = round(future_tolerance_s * 1e9)
        self._span_ns = round(span_s * 1e9)
        self._lock = threading.Lock()
        self._stamps: list[int] = []
        self._values: list[T | Unread[T]] = []
        self._unreadable = unreadable
        self._received = self._duplicates = self._refused = self._late = 0

    def push(self, stamp_ns: int, value: T | Unread[T], now_ns: int) -> bool:
        """Put a sample in its place by stamp; True when it is kept.

        Args:
            stamp_ns: Stamp of the sample [ns].
            value: The sample.
            now_ns: The clock at its arrival [ns].
        """
        with self._lock:
            self._received += 1
            if stamp_ns <= 0 or stamp_ns > now_ns + self._tolerance_ns:
                self._refused += 1
                return False
            place = bisect_left(self._stamps, stamp_ns)
            if place < len(self._stamps) and self._stamps[place] == stamp_ns:
                self._duplicates += 1
                return False
            self._stamps.insert(place, stamp_ns)
            self._values.insert(place, value)
            kept = True
            while len(self._stamps) > self._depth and self._beyond(self._stamps[0]):
                del self._stamps[0], self._values[0]
                self._late += place == 0
                kept, place = kept and place > 0, place - 1
            return kept

    def latest_before(self, t_ns: int) -> tuple[int, T] | None:
        """Stamp and value of the newest sample stamped `t_ns` or earlier; None without one."""
        with self._lock:
            return self._last(t_ns)

    def around(
        self, t_ns: int, until_ns: int
    ) -> tuple[tuple[int, T] | None, tuple[int, T] | None]:
        """Stamp and value of the neighbours of `t_ns`: the newest not after it, the next one.

        Args:
            t_ns: The time in question [ns].
            until_ns: Samples stamped later than this are left out [ns].
        """
        with self._lock:
            before = self._last(min(t_ns, until_ns))
            place = bisect_right(self._stamps, min(t_ns, until_ns))
            after = None
            while after is None and place < len(self._stamps) and self._stamps[place] <= until_ns:
                after = self._read(place)
            return before, after

    def nearest(self, t_ns: int) -> tuple[int, T] | None:
        """Stamp and value of the sample nearest to `t_ns`, of two the older; None without one."""
        before, after = self.around(t_ns, FOREVER)
        if before is None or after is None:
            return before or after
        return before if t_ns - before[0] <= after[0] - t_ns else after

    def age_s(self, t_ns: int) -> float | None:
        """Age at `t_ns` of what `latest_before` gives [s]; None when that is None."""
        found = self.latest_before(t_ns)
        return None if found is None else (t_ns - found[0]) * 1e-9

    def newest_ns(self) -> int | None:
        """Stamp of the newest sample, read or not; None without one."""
        with self._lock:
            return self._stamps[-1] if self._stamps else None

    def _last(self, t_ns: int) -> tuple[int, T] | None:
        """The newest sample stamped `t_ns` or earlier."""
        found = None
        while found is None and (place := bisect_right(self._stamps, t_ns)):
            found = self._read(place - 1)
        return found

    def _read(self, place: int) -> tuple[int, T] | None:
        """Stamp and value there; None, and nothing is there any more, when it is unreadable."""
        stamp_ns, held = self._stamps[place], self._values[place]
        if not isinstance(held, Unread):
            return stamp_ns, held
        try:
            value: T = held.decode(held.raw)
        except ValueError as error:
            del self._stamps[place], self._values[place]
            self._unreadable(stamp_ns, str(error))
            return None
        self._values[place] = value
        return stamp_ns, value

    def _beyond(self, stamp_ns: int) -> bool:
        return stamp_ns < self._stamps[-1] - self._span_ns

    def clear(self) -> None:
        """Forget every sample; the counts go on."""
        with self._lock:
            self._stamps.clear()
            self._values.clear()

    @property
    def stats(self) -> StreamStats:
        """Counts since the stream was made."""
        with self._lock:
            return StreamStats(self._received, self._duplicates, self._refused, self._late)
