# SPDX-License-Identifier: MIT
"""What a module finds in place of `threading` and `time`: threads that are actors of a process."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tests.support.virtual.clock import Alarm, Process, Timeline
from tests.support.virtual.ros import NEVER

LOOK_NS = 10_000
"""Time between two looks whether a lock is free or a thread has ended [ns]."""


class VirtualLock:
    """A lock for actors."""

    def __init__(self, timeline: Timeline):
        self._timeline, self._held = timeline, False

    def __enter__(self) -> None:
        """Wait until nobody holds it."""
        while self._held:
            self._timeline.sleep(LOOK_NS)
        self._held = True

    def __exit__(self, *_: object) -> None:
        """Whoever waits may have it."""
        self._held = False


class VirtualEvent:
    """An event that actors wait for."""

    def __init__(self, timeline: Timeline, process: Process):
        self._timeline, self._alarm, self._set = timeline, Alarm(timeline, process), False
        self._times = 0

    def set(self) -> None:
        """Whoever waits goes on, even when it is cleared at once."""
        self._set = True
        self._times += 1
        self._alarm.ring()

    def clear(self) -> None:
        """It has not happened."""
        self._set = False

    def is_set(self) -> bool:
        """Whether it has happened."""
        return self._set

    def wait(self, timeout_s: float | None = None) -> bool:
        """Return when it has happened or the time is over; whether it has."""
        now_ns = self._timeline.now_ns
        until_ns = NEVER if timeout_s is None else now_ns + round(timeout_s * 1e9)
        times = self._times
        while not self._set and self._times == times and self._timeline.now_ns < until_ns:
            self._alarm.wait(until_ns)
        return self._set or self._times > times


class VirtualThread:
    """A thread of a process, that is one of its actors."""

    def __init__(
        self,
        timeline: Timeline,
        process: Process,
        *,
        target: Callable[[], object],
        name: str,
        daemon: bool,
    ):
        self._timeline, self._process, self._target = timeline, process, target
        self._alive = False

    def start(self) -> None:
        """It runs."""
        self._alive = True
        self._timeline.spawn(self._process, self._run)

    def is_alive(self) -> bool:
        """Whether it has not ended yet."""
        return self._alive

    def join(self, timeout_s: float) -> None:
        """Wait until it has ended, no longer than that [s]."""
        until_ns = self._timeline.now_ns + round(timeout_s * 1e9)
        while self._alive and self._timeline.now_ns < until_ns:
            self._timeline.sleep(LOOK_NS)

    def _run(self) -> None:
        self._target()
        self._alive = False


class VirtualThreads:
    """In place of the modules `threading` and `time`, within one process."""

    def __init__(self, timeline: Timeline, process: Process):
        self.Lock = partial(VirtualLock, timeline)
        self.Event = partial(VirtualEvent, timeline, process)
        self.Thread = partial(VirtualThread, timeline, process)
        self._timeline = timeline

    def current_thread(self) -> Any:
        """None of those that are waited for."""
        return None

    def monotonic(self) -> float:
        """The steady clock [s]."""
        return self._timeline.now_ns * 1e-9
