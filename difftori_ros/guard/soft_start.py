# SPDX-License-Identifier: MIT
"""After a start plans run slowly at first, and then less and less so."""

from __future__ import annotations

SLOWEST = 0.2
"""Rate at which plans run right after a soft start [1]."""


class SoftStart:
    """The rate at which plans may run, which rises linearly after a start."""

    def __init__(self, length_s: float):
        """No plan has been judged since the start.

        Args:
            length_s: Time until plans run at their own rate [s, steady clock]; 0 for at once.
        """
        self._length_s = length_s
        self._begun_s: float | None = None

    def begin(self) -> None:
        """The start is yet to come: it is when the rate is next asked for."""
        self._begun_s = None

    def rate(self, steady_s: float) -> float:
        """Rate at which plans may run at `steady_s` [1]."""
        if self._begun_s is None:
            self._begun_s = steady_s
        passed_s = steady_s - self._begun_s
        if passed_s >= self._length_s:
            return 1.0
        return SLOWEST + (1 - SLOWEST) * passed_s / self._length_s
