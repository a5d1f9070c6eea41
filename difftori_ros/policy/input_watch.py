# SPDX-License-Identifier: MIT
"""Why there is nothing to plan from, told while no plan is due."""

from __future__ import annotations

from difftori_ros.observation.stream_set import Refusal, StreamSet
from difftori_ros.types import Reason

STANDS_STILL_S = 1.0
"""Time after which a clock that does not move is reported [s, steady clock]."""


class InputWatch:
    """Watches the age of the streams, and the clock that it is measured by."""

    def __init__(self, streams: StreamSet, trigger: str):
        """Watch.

        Args:
            streams: What has come.
            trigger: With `timer` a clock that stands still is worth a word; whoever steps a
                simulation by `observation` may let it stand.
        """
        self._streams, self._by_time = streams, trigger == "timer"
        self._now_ns, self._moved_s = 0, 0.0

    def refusal(self, now_ns: int, steady_s: float) -> Refusal | None:
        """What has gone missing or old, if anything.

        Args:
            now_ns: The clock of the stamps [ns].
            steady_s: The steady clock [s].
        """
        if now_ns != self._now_ns:
            self._now_ns, self._moved_s = now_ns, steady_s
        if now_ns == 0:
            return Refusal(
                Reason.MISSING, "use_sim_time is set and '/clock' has not delivered yet"
            )
        still_s = steady_s - self._moved_s
        if still_s > STANDS_STILL_S and self._by_time:
            return Refusal(Reason.WAITING, f"the clock has stood still for {still_s:.1f} s")
        return self._streams.missing(now_ns)
