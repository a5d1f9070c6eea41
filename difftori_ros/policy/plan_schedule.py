# SPDX-License-Identifier: MIT
"""When to plan, from what has come: the same rule for a robot and for a bag."""

from __future__ import annotations

from difftori_ros.observation.stream_set import JOINTS, StreamSet

EARLY = 0.1
"""Share of the planning period by which joint states may be early to be planned from."""
SOONEST_S, LATEST_S = 0.001, 0.1
"""Time between two turns, unless something new comes, lies within these [s, steady clock]: what
was expected may come a little later, and the clock of the stamps may be set or stand still."""
READY_NS = 4_000_000
"""So long before its joint states are expected what a plan needs besides is prepared [ns]."""


class PlanTimes:
    """Due times of the next plan, on the clock of the stamps.

    Attributes:
        last_ns: Stamp of the newest observation that was planned from [ns].
        due_ns: The time to plan next [ns]; 0 when that is now or depends on what comes.
    """

    def __init__(self, streams: StreamSet, trigger: str, period_s: float):
        """Nothing has been planned yet.

        Args:
            streams: What has come.
            trigger: `timer`: every `period_s`, from joint states of the due time. `observation`:
                once for every stamp that all streams share.
            period_s: Time between two plans [s].
        """
        self._streams, self._by_observation = streams, trigger == "observation"
        self._period_ns, self._early_ns = round(period_s * 1e9), round(EARLY * period_s * 1e9)
        self.clear()

    def clear(self) -> None:
        """As when nothing had been planned, for the clock is another one now."""
        self.last_ns = self.due_ns = 0

    def time_ns(self, now_ns: int) -> int | None:
        """The time to plan at when the clock shows `now_ns` [ns], or None when it is not due."""
        if self._by_observation:
            common = self._streams.newest_common_ns()
            return None if common is None or common <= self.last_ns else max(now_ns, common)
        measured_ns = self._streams.newest_ns(JOINTS, now_ns)
        due = measured_ns is not None and measured_ns >= self.due_ns - self._early_ns
        return now_ns if due and measured_ns != self.last_ns else None

    def wanted_ns(self) -> int:
        """Stamp that joint states must have for the next plan [ns]; 0 when it waits for others."""
        return 0 if self._by_observation else self.due_ns - self._early_ns

    def observed(self, stamp_ns: int) -> bool:
        """An observation of that stamp is there; True when it is new and to be planned from."""
        if stamp_ns <= self.last_ns:
            return False
        self.last_ns = stamp_ns
        due_ns = self.due_ns + self._period_ns
        if due_ns <= stamp_ns:  # the first one, or the first one after a pause
            due_ns = stamp_ns + self._period_ns
        self.due_ns = max(due_ns, stamp_ns + self._period_ns // 2)
        return True

    def next_turn_s(self, now_ns: int, wanted_ns: int = 0) -> float:
        """Time until the next turn is due [s]: to plan, to prepare, or to say what is too old.

        Args:
            now_ns: The time now [ns].
            wanted_ns: Stamp of the joint states that something waits for, besides the plan [ns];
                0 when nothing does.
        """
        due_ns = self._streams.stale_ns()
        if wanted_ns:
            due_ns = min(due_ns, self._streams.expected_ns(JOINTS, wanted_ns))
        if stamp_ns := self.wanted_ns():
            plan_ns = self._streams.expected_ns(JOINTS, stamp_ns)
            early_ns = plan_ns - READY_NS
            due_ns = min(due_ns, plan_ns if early_ns <= now_ns else early_ns)
        return min(max((due_ns - now_ns) * 1e-9, SOONEST_S), LATEST_S)
