# SPDX-License-Identifier: MIT
"""The planner's thread, and what becomes of one that does not come back: it is given up.

Nobody waits for a plan. A thread cannot be ended from outside, so one that hangs is left alone:
what it brings later is thrown away, and another thread with another planner takes its place.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

JOIN_S = 0.5
"""Time a turn gets to end when its thread is told to stop [s]."""
MAX_RESTARTS = 3
"""Threads given up one after the other, or still hanging at one time, beyond which there is no
other."""


class Permit(Protocol):
    """What a turn needs of the thread that takes it."""

    def permission(self) -> AbstractContextManager[bool]:
        """Whether something may come out; it stays so until the block has ended."""
        ...

    def planned(self) -> None:
        """A plan has come out."""
        ...


class Turns(Protocol):
    """What a planner's thread does. Both handle their own exceptions."""

    def renew(self, permit: Permit) -> None:
        """Make a new planner; called once, first of all, by every thread but the first."""
        ...

    def turn(self, permit: Permit) -> float | None:
        """One turn; the time after which the next is due [s], None for when it is woken."""
        ...

    def timeout_s(self) -> float:
        """Time after which a turn counts as hanging [s]."""
        ...


class PlannerThread:
    """One thread that takes turn after turn until it is stopped or given up.

    Whatever a turn sends or reports goes through `permission`: when `stop` or `give_up` has
    returned, nothing more comes out.

    Attributes:
        has_planned: A plan has come out of it.
    """

    def __init__(self, turns: Turns, news: threading.Event, *, renew: bool = False):
        """Make a thread that is not yet running.

        Args:
            turns: What it does.
            news: Set when there may be something to do.
            renew: It makes a new planner first.
        """
        self._turns, self._news, self._renew = turns, news, renew
        self._stopped, self._lock = threading.Event(), threading.Lock()
        self._since_s: float | None = None
        self.has_planned = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name="planner", daemon=True)
        self._thread.start()

    def give_up(self) -> None:
        """Nothing more comes out; what it is doing now is thrown away when it is done."""
        with self._lock:
            self._stopped.set()
        self._news.set()

    def stop(self, timeout_s: float = JOIN_S) -> bool:
        """Nothing more comes out; True when the thread has ended within `timeout_s` [s]."""
        self.give_up()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)
        return not self.alive

    @contextmanager
    def permission(self) -> Iterator[bool]:
        """See `Permit`; `stop` waits until the block has ended."""
        with self._lock:
            yield not self._stopped.is_set()

    def planned(self) -> None:
        """See `Permit`."""
        self.has_planned = True

    @property
    def alive(self) -> bool:
        """True while the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def busy_s(self) -> float:
        """How long the present turn has taken so far [s]; 0 between two turns."""
        since_s = self._since_s
        return 0.0 if since_s is None else time.monotonic() - since_s

    def _run(self) -> None:
        if self._renew:
            self._turns.renew(self)
        due_s: float | None = 0.0
        while not self._stopped.is_set():
            self._news.wait(due_s)
            if self._stopped.is_set():
                return  # the news are for another thread
            self._news.clear()
            self._since_s = time.monotonic()
            try:
                due_s = self._turns.turn(self)
            finally:
                self._since_s = None


class PlannerSupervisor:
    """Keeps one thread at work: one that hangs or dies is replaced, a limited number of times."""

    def __init__(self, turns: Turns, news: threading.Event, max_restarts: int = MAX_RESTARTS):
        """Make a supervisor without a thread.

        Args:
            turns: What its threads do.
            news: Set when there may be something to do.
            max_restarts: See `MAX_RESTARTS`.
        """
        self._turns, self._news, self._max_restarts = turns, news, max_restarts
        self._thread: PlannerThread | None = None
        self._given_up: list[PlannerThread] = []
        self._consecutive = 0

    def start(self, renew: bool = False) -> None:
        """There is a thread at work; with `renew` it makes a new planner first. Waits for none."""
        self.stop(0.0)
        self._begin(renew)

    def stop(self, timeout_s: float = JOIN_S) -> None:
        """Nothing more comes out, and no thread is at work; returns in about `timeout_s` [s]."""
        thread, self._thread = self._thread, None
        self._consecutive = 0
        if thread is not None and not thread.stop(timeout_s):
            self._given_up.append(thread)

    @property
    def hanging(self) -> int:
        """Threads that were given up and still run."""
        self._given_up = [thread for thread in self._given_up if thread.alive]
        return len(self._given_up)

    def watch(self) -> str | None:
        """Give up a thread that hangs or has died; the sentence about it, or None.

        To be called often. No thread is at work then until `replace` is called.
        """
        thread = self._thread
        if thread is None:
            return None
        limit_s = self._turns.timeout_s()
        if not thread.alive:
            why = "the planner's thread has ended"
        elif (busy_s := thread.busy_s()) > limit_s:
            why = f"a plan has taken {busy_s:.2f} s, given up after {limit_s:.2f} s"
        else:
            return None
        thread.give_up()
        self._given_up.append(thread)
        self._thread = None
        self._consecutive = 1 if thread.has_planned else self._consecutive + 1
        if self.exhausted:
            return f"{why}; {self._consecutive} in a row, no other planner is started"
        return f"{why}; planner {self._consecutive + 1} is being started"

    def replace(self) -> None:
        """Another thread is at work in place of the one given up, unless there were too many."""
        if self._thread is None and not self.exhausted:
            self._begin(renew=True)

    @property
    def exhausted(self) -> bool:
        """True when too many threads were given up for another, until the next `start`."""
        if self._thread is not None or not self._consecutive:
            return False
        return max(self._consecutive, self.hanging) > self._max_restarts

    def _begin(self, renew: bool) -> None:
        self._thread = PlannerThread(self._turns, self._news, renew=renew)
        self._thread.start()
