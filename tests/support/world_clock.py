# SPDX-License-Identifier: MIT
"""The clock of a simulated world at times of the wall clock, as far as its messages tell it."""

from __future__ import annotations

from collections import deque

PERIOD_NS = 10_000_000
"""Time between two joint states of the simulated robot [ns]."""
MESSAGES = 10_000
"""Joint states that are kept."""


class WorldClock:
    """Maps the wall clock, by which DDS stamps, to the world's clock, by which all is judged."""

    def __init__(self) -> None:
        self._known: deque[tuple[int, int]] = deque(maxlen=MESSAGES)

    def add(self, published_ns: int, stamp_ns: int) -> None:
        """A message of that stamp was published at that time of the wall clock [ns]."""
        self._known.append((published_ns, stamp_ns))

    def forget(self) -> None:
        """The world is gone; the next one has a time of its own."""
        self._known.clear()

    def at_ns(self, wall_ns: int) -> int:
        """The world's clock at a time of the wall clock [ns].

        It goes on from the last message by then, and stands still where the next is missing.
        Before the first message it is what that one says; 0 while there is none.
        """
        before = (one for one in reversed(self._known) if one[0] <= wall_ns)
        if (last := next(before, None)) is None:
            return self._known[0][1] if self._known else 0
        published_ns, stamp_ns = last
        return stamp_ns + min(wall_ns - published_ns, PERIOD_NS)
