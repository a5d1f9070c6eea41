# SPDX-License-Identifier: MIT
"""What one stream shows besides its samples: content that repeats, stamps that are far off."""

from __future__ import annotations

import zlib
from collections import Counter, deque
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np

from difftori_ros.types import Cloud, Image

ARRIVALS = 10
"""Arrivals over which stamps are compared with our clock."""
ENOUGH = 5
"""Fewer arrivals than this say nothing."""
ROWS = 16384
"""About as many rows of a cloud or image are compared; of larger ones every second, third, ..."""


def content(sample: Any) -> int | None:
    """A number that is the same for the same content of a cloud or image; None for the rest.

    Measured joints and poses of things at rest may well repeat; a camera's noise never does.
    """
    if isinstance(sample, Image):
        arrays = (sample.rgb.reshape(-1, 3),)
    elif isinstance(sample, Cloud):
        arrays = (sample.xyz, sample.rgb)
    else:
        return None
    digest = 0
    for array in arrays:
        if array is None:
            continue
        some = array[:: max(1, len(array) // ROWS)]
        digest = zlib.crc32(np.ascontiguousarray(some).data, digest)
    return digest


class StreamHealth:
    """Counts of one stream. Called by the thread that receives; read by any."""

    def __init__(self, name: str, limit_s: float):
        """Watch the stream `name`, whose samples may be `limit_s` old [s]."""
        self.name, self.limit_s = name, limit_s
        self.identical = 1
        self._dropped: Counter[str] = Counter()
        self._content: int | None = None
        self._arrivals: deque[tuple[int, int]] = deque(maxlen=ARRIVALS)

    def arrived(self, stamp_ns: int, now_ns: int) -> None:
        """A message with this stamp is here at `now_ns`, whatever becomes of it."""
        if stamp_ns > 0:
            self._arrivals.append((now_ns, now_ns - stamp_ns))

    def kept(self, sample: Any) -> None:
        """Its content counts as new, or as the same once more."""
        digest = content(sample)
        if digest is None:
            return
        self.identical = self.identical + 1 if digest == self._content else 1
        self._content = digest

    def dropped(self, cause: str) -> None:
        """A message was not used on account of `cause`, one word."""
        self._dropped[cause] += 1

    def clear(self) -> None:
        """The clock or the world is another one; the counts go on."""
        self._arrivals.clear()
        self._content, self.identical = None, 1

    @property
    def drops(self) -> dict[str, int]:
        """Messages dropped, by cause."""
        return dict(self._dropped)

    def rhythm(self) -> tuple[float, float] | None:
        """Period of the stamps and delay of their arrival, medians of late [s]."""
        arrivals = list(self._arrivals)
        if len(arrivals) < ENOUGH:
            return None
        stamps = [now_ns - behind_ns for now_ns, behind_ns in arrivals]
        periods = [abs(b - a) for a, b in pairwise(stamps)]
        return median(periods) * 1e-9, median(behind for _, behind in arrivals) * 1e-9

    def next_ns(self) -> int | None:
        """When the next message will be here and half a period old [ns], by the rhythm of late."""
        rhythm = self.rhythm()
        if rhythm is None:
            return None
        return self._arrivals[-1][0] + round(1.5e9 * rhythm[0])

    def expected_ns(self, stamp_ns: int) -> int:
        """When a message with that stamp or a later one will be here [ns], by the same rhythm."""
        rhythm = self.rhythm()
        if rhythm is None:
            return stamp_ns
        period_ns, behind_ns = round(rhythm[0] * 1e9), round(rhythm[1] * 1e9)
        last_ns = self._arrivals[-1][0] - self._arrivals[-1][1]
        periods = -(-max(stamp_ns - last_ns, 0) // max(period_ns, 1))
        return last_ns + periods * period_ns + behind_ns

    def constant_offset(self) -> str | None:
        """The sentence that says so when every stamp of late is off by more than the age limit."""
        arrivals = list(self._arrivals)
        if len(arrivals) < ENOUGH:
            return None
        behind = sorted(offset_ns * 1e-9 for _, offset_ns in arrivals)
        median_s = behind[len(behind) // 2]
        if not (behind[0] > self.limit_s or behind[-1] < -self.limit_s):
            return None
        took_s = (arrivals[-1][0] - arrivals[0][0]) * 1e-9
        if took_s <= 0.0:
            return None
        rate_hz = (len(arrivals) - 1) / took_s
        side = "behind" if median_s > 0.0 else "ahead of"
        return (
            f"'{self.name}' arrives at {rate_hz:.3g} Hz but its stamps are {abs(median_s):.1f} s "
            f"{side} this clock"
        )
