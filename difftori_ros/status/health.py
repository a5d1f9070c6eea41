# SPDX-License-Identifier: MIT
"""How a node is doing, as plain data that becomes a diagnostic_msgs/DiagnosticStatus.

No clock of its own: every time is passed in, from the steady clock.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_left, insort
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from difftori_ros.types import Level, Reason

WINDOW_S = 5.0
"""Time over which rates are counted [s]."""

SAMPLES = 500
"""Plan times that percentiles are taken over."""

QUIET = (Reason.OK, Reason.WAITING, Reason.STOPPED)
"""Reasons that are no cause for worry."""


@dataclass(frozen=True)
class HealthStatus:
    """One report.

    Attributes:
        code: Name of the reason: stable, for programs.
        level: Severity.
        sentence: The reason in words.
        detail: What exactly, with numbers; may be empty.
        since_s: Time since the reason last changed [s].
        values: Everything else, as text.
    """

    code: str
    level: Level
    sentence: str
    detail: str
    since_s: float
    values: Mapping[str, str]

    @property
    def text(self) -> str:
        """The sentence, and the detail if there is one."""
        return f"{self.sentence}: {self.detail}" if self.detail else self.sentence


class Percentiles:
    """Percentiles over the newest values."""

    def __init__(self, size: int = SAMPLES):
        self._size = size
        self._values: deque[float] = deque()
        self._sorted: list[float] = []

    def add(self, value: float) -> None:
        """One more value counts; beyond `size`, the oldest does not any more."""
        if len(self._values) == self._size:
            del self._sorted[bisect_left(self._sorted, self._values.popleft())]
        self._values.append(value)
        insort(self._sorted, value)

    def __len__(self) -> int:
        return len(self._values)

    def at(self, percent: float) -> float:
        """The value that `percent` of the values do not exceed; NaN without any.

        Between two values it is on the straight line from one to the other.
        """
        if not self._sorted:
            return math.nan
        place, share = divmod(percent / 100.0 * (len(self._sorted) - 1), 1.0)
        low, high = self._sorted[int(place)], self._sorted[math.ceil(place + share)]
        return low + share * (high - low)


class Rate:
    """How often something happens, over a sliding window."""

    def __init__(self, window_s: float = WINDOW_S):
        self._window_s = window_s
        self._times: deque[float] = deque()

    def add(self, steady_s: float) -> None:
        """It has happened at `steady_s`."""
        self._times.append(steady_s)
        self._forget(steady_s)

    def hz(self, steady_s: float) -> float:
        """Events per second in the window that ends at `steady_s`; 0 with fewer than two."""
        self._forget(steady_s)
        if len(self._times) < 2:
            return 0.0
        return (len(self._times) - 1) / max(self._times[-1] - self._times[0], 1e-9)

    def age_s(self, steady_s: float) -> float | None:
        """Time since the last event [s]; None when the window holds none."""
        self._forget(steady_s)
        return steady_s - self._times[-1] if self._times else None

    def _forget(self, steady_s: float) -> None:
        while self._times and self._times[0] < steady_s - self._window_s:
            self._times.popleft()


class Health:
    """The present reason, plan times, rates and counts of one node. Any thread may call it."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}
        self._lock = threading.RLock()
        self._reason, self._level, self._detail = Reason.WAITING, Level.OK, ""
        self._since_s: float | None = None
        self._counts: Counter[str] = Counter()
        self._rates: dict[str, Rate] = {}
        self._plan_times = Percentiles()

    def set(
        self, reason: Reason, steady_s: float, *, level: Level | None = None, detail: str = ""
    ) -> bool:
        """`reason` is the present one; its time counts on when it was so already.

        Returns True when reason or level are new.

        Args:
            reason: What the node is doing or lacks.
            steady_s: The time [s].
            level: Severity; by default OK for the quiet reasons and ERROR for the others.
            detail: What exactly.
        """
        if level is None:
            level = Level.OK if reason in QUIET else Level.ERROR
        with self._lock:
            new = (reason, level) != (self._reason, self._level)
            if reason is not self._reason or self._since_s is None:
                self._since_s = steady_s
            self._reason, self._level, self._detail = reason, level, detail
            return new

    def note(self, **values: str) -> None:
        """More entries for the report; they never replace those made here."""
        with self._lock:
            self._values.update(values)

    def count(self, name: str, by: int = 1) -> None:
        """The count `name` is higher by `by`; with 0 it is at least there."""
        with self._lock:
            self._counts[name] += by

    def event(self, name: str, steady_s: float) -> None:
        """`name` has happened once more; its rate and age are reported."""
        self.events(name, (steady_s,))

    def events(self, name: str, times_s: Iterable[float]) -> None:
        """`name` has happened at each of these times."""
        with self._lock:
            rate = self._rates.setdefault(name, Rate())
            for steady_s in times_s:
                rate.add(steady_s)

    def plan(self, elapsed_s: float, steady_s: float) -> None:
        """A plan has been made, in `elapsed_s`."""
        with self._lock:
            self._plan_times.add(elapsed_s)
            self.count("plans")
            self.event("plan", steady_s)

    def status(self, steady_s: float) -> HealthStatus:
        """The report at `steady_s`."""
        with self._lock:
            values = dict(self._values)
            values |= {name: str(count) for name, count in sorted(self._counts.items())}
            for name, rate in self._rates.items():
                age_s = rate.age_s(steady_s)
                values[f"{name}_hz"] = f"{rate.hz(steady_s):.1f}"
                values[f"{name}_age_s"] = f"> {WINDOW_S:g}" if age_s is None else f"{age_s:.3f}"
            if len(self._plan_times):
                values["plan_ms_p50"] = f"{self._plan_times.at(50) * 1e3:.2f}"
                values["plan_ms_p99"] = f"{self._plan_times.at(99) * 1e3:.2f}"
            since_s = 0.0 if self._since_s is None else steady_s - self._since_s
            values["since_s"] = f"{since_s:.1f}"
            code, sentence = self._reason.name, self._reason.value
            return HealthStatus(code, self._level, sentence, self._detail, since_s, values)
