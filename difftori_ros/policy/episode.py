# SPDX-License-Identifier: MIT
"""What the loop remembers of an episode from one turn to the next."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .mailbox import Orders

GUARD_SILENT_S = 0.5
"""Silence of the guard after which nobody knows what it has passed on [s, steady clock]; it speaks
every 0.1 s."""


@dataclass
class EpisodeState:
    """Read and written by the planner's thread alone.

    Attributes:
        begun_ns: Stamp of the last observation before the episode, or before the guard has
            stopped the arm [ns].
        accepted_ns: Stamp of the newest plan that the guard has accepted [ns]; 0 for none.
        plans_since_ns: Stamp of the first plan that was sent [ns]; 0 before.
        guard_active: The guard follows the last plan, as far as it has said.
        guard_received_s: When it has said so [s, steady clock].
    """

    begun_ns: int = 0
    accepted_ns: int = 0
    plans_since_ns: int = 0
    guard_active: bool = False
    guard_received_s: float = -math.inf

    def receive(self, orders: Orders) -> None:
        """Take in what the guard has said."""
        self.accepted_ns = max(self.accepted_ns, orders.accepted_ns)
        if orders.guard_active is not None:
            self.guard_active = orders.guard_active
            self.guard_received_s = orders.guard_received_s

    def begin(self, last_ns: int) -> None:
        """A new episode begins after the observation of that stamp [ns]."""
        self.begun_ns, self.accepted_ns, self.plans_since_ns = last_ns, 0, 0

    def motion_begun(self) -> bool:
        """Whether a plan of this episode, or since the last stop, has been passed on."""
        return self.accepted_ns > self.begun_ns

    def guard_is_silent(self, steady_s: float) -> bool:
        """Whether it is unknown what the guard has passed on, at that time [s, steady clock]."""
        return steady_s - self.guard_received_s > GUARD_SILENT_S
