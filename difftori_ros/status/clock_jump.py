# SPDX-License-Identifier: MIT
"""Notices when somebody sets the system's clock, by comparing it with one that nobody can set."""

from __future__ import annotations

FORWARD_S = 1.0
"""A step forward by more than this is a jump [s]; network time may step by less."""
BACKWARD_S = 0.1
"""A step back by more than this is a jump [s]: stamps from before lie in the future then."""
PROMPT_S = 0.02
"""The clocks count as read at one time when reading them took no longer than this [s]."""
AHEAD_NS = 2_000_000_000
"""Simulated stamps further ahead of the clock than this are from before it went back [ns]."""


def shown_ns(now_ns: int, stamp_ns: int, simulated: bool) -> int:
    """The time [ns] when a message with that stamp is here and the clock shows `now_ns`.

    Simulated stamps and `/clock` have one source, and a message may be faster than `/clock`: then
    it is as late as the stamp says.
    """
    ahead_ns = stamp_ns - now_ns
    faster = simulated and (now_ns <= 0 or 0 < ahead_ns <= AHEAD_NS)
    return stamp_ns if faster else now_ns


class ClockWatch:
    """Compares the clock of the stamps with the steady clock, look by look."""

    def __init__(
        self,
        forward_s: float = FORWARD_S,
        backward_s: float = BACKWARD_S,
        prompt_s: float = PROMPT_S,
    ):
        """Compare nothing yet.

        Args:
            forward_s: A step forward by more than this is a jump [s].
            backward_s: A step back by more than this is a jump [s].
            prompt_s: Reading the clocks may take this long [s]; by half of it a step may be off.
        """
        self._forward_s, self._backward_s, self._prompt_s = forward_s, backward_s, prompt_s
        self._offset_s: float | None = None

    def look(self, before_s: float, now_ns: int, after_s: float) -> float | None:
        """By how much the clock has jumped since the last look [s]; None when it has not.

        Args:
            before_s: The steady clock just before the other was read [s].
            now_ns: The clock of the stamps [ns]; zero or less while it is not known.
            after_s: The steady clock just after [s]; a look that took long shows nothing.
        """
        if now_ns <= 0 or after_s - before_s > self._prompt_s:
            return None
        offset_s = now_ns * 1e-9 - 0.5 * (before_s + after_s)
        previous, self._offset_s = self._offset_s, offset_s
        if previous is None:
            return None
        jump_s = offset_s - previous
        return jump_s if jump_s > self._forward_s or jump_s < -self._backward_s else None
