# SPDX-License-Identifier: MIT
"""Notices that this process stood still, or that the clock of the stamps was set."""

from __future__ import annotations

from dataclasses import dataclass

from difftori_ros.status.clock_jump import ClockWatch

STALL_S = 0.2
"""Time between two looks after which this process has stood still [s, steady clock]."""
STEP_S = 0.005
"""A step of the clock of the stamps that counts [s]: the arm moves 10 mrad in that time."""


@dataclass(frozen=True)
class ClockReading:
    """What a look at the clocks has shown.

    Attributes:
        steady_s: The steady clock [s].
        now_ns: The clock of the stamps [ns].
        stalled_s: How long the process stood still until now [s]; 0 when it did not.
        step_ns: By how much the clock of the stamps was set since the last look [ns]; 0 for not.
    """

    steady_s: float
    now_ns: int
    stalled_s: float
    step_ns: int


class StallWatch:
    """Compares every look at the clocks with the one before."""

    def __init__(self) -> None:
        self._clock = ClockWatch(STEP_S, STEP_S, STEP_S / 4)
        self._looked_s: float | None = None

    def look(self, before_s: float, now_ns: int, after_s: float) -> ClockReading:
        """What has happened since the last look.

        Args:
            before_s: The steady clock just before the clock of the stamps was read [s]. What
                happens from then on is found by the next look.
            now_ns: The clock of the stamps [ns].
            after_s: The steady clock just after [s].
        """
        last_s, self._looked_s = self._looked_s, before_s
        stalled_s = 0.0 if last_s is None or before_s - last_s <= STALL_S else before_s - last_s
        step_s = self._clock.look(before_s, now_ns, after_s) or 0.0
        return ClockReading(before_s, now_ns, stalled_s, round(step_s * 1e9))
