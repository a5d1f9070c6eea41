# SPDX-License-Identifier: MIT
"""What other threads have for the loop, kept until its next turn."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Protocol

from difftori_ros.status.guard_report import GuardReport
from difftori_ros.types import Trajectory

KEPT = 16
"""Verdicts of the guard that are kept; the oldest go first."""


class GuardMailbox(Protocol):
    """Takes what the guard says."""

    def guard_reported(self, report: GuardReport, steady_s: float) -> None:
        """The guard's status has come, at that time [s, steady clock]."""
        ...

    def plan_replaced(self, trajectory: Trajectory) -> None:
        """The guard has sent this in place of the plan with the same stamp."""
        ...


@dataclass
class Orders:
    """What has come since the last turn.

    Attributes:
        changes: Parameters with their new values, in order.
        replaced: What the guard has sent in place of plans.
        refused_ns: Stamps of the plans that it has refused [ns].
        accepted_ns: Stamp of the newest plan that it has accepted [ns]; 0 for none.
        guard_active: Whether it follows the last plan; None when it has said nothing.
        guard_received_s: When it has said so [s, steady clock].
        guard_stopped: It has stopped the arm at some time.
        reset: A new episode begins.
        clock_jumped: The clock of the stamps is another one.
    """

    changes: list[tuple[str, Any]] = field(default_factory=list)
    replaced: deque[Trajectory] = field(default_factory=lambda: deque(maxlen=KEPT))
    refused_ns: deque[int] = field(default_factory=lambda: deque(maxlen=KEPT))
    accepted_ns: int = 0
    guard_active: bool | None = None
    guard_received_s: float = 0.0
    guard_stopped: bool = False
    reset: bool = False
    clock_jumped: bool = False


NO_ORDERS = Orders()
"""What `take` gives when nothing has come; to be read only."""


class Mailbox:
    """Orders from any thread; the planner's thread takes them, and sleeps until it is woken.

    Attributes:
        news: Set when there may be something to do.
    """

    def __init__(self) -> None:
        """Nothing has come."""
        self.news = threading.Event()
        self._lock = threading.Lock()
        self._orders: Orders | None = None

    def wake(self) -> None:
        """There may be something to do."""
        self.news.set()

    def guard_reported(self, report: GuardReport, steady_s: float) -> None:
        """See `GuardMailbox`. A guard that has stopped the arm has refused all plans at once."""
        active = report.state.follows_plans
        with self._lock:
            orders = self._pending()
            orders.guard_active, orders.guard_received_s = active, steady_s
            orders.accepted_ns = max(orders.accepted_ns, report.accepted_ns or 0)
            if not active:
                orders.guard_stopped = True
            elif report.refused_ns is not None:
                orders.refused_ns.append(report.refused_ns)

    def plan_replaced(self, trajectory: Trajectory) -> None:
        """See `GuardMailbox`."""
        with self._lock:
            self._pending().replaced.append(trajectory)

    def change(self, name: str, value: Any) -> None:
        """The parameter has this value from the next plan on."""
        with self._lock:
            self._pending().changes.append((name, value))
        self.wake()

    def reset(self, *, clock_jumped: bool = False) -> None:
        """A new episode begins; with `clock_jumped` on another clock of the stamps."""
        with self._lock:
            orders = self._pending()
            orders.reset = True
            orders.clock_jumped |= clock_jumped

    @property
    def reset_waits(self) -> bool:
        """A reset has come that the loop has not taken yet."""
        orders = self._orders
        return orders is not None and orders.reset

    def take(self) -> Orders:
        """What has come since the last call."""
        if self._orders is None:
            return NO_ORDERS
        with self._lock:
            taken, self._orders = self._orders, None
        return taken

    def _pending(self) -> Orders:
        """What the next `take` gives; with the lock held."""
        if self._orders is None:
            self._orders = Orders()
        return self._orders
