# SPDX-License-Identifier: MIT
"""The planner's thread, and what becomes of one that does not come back: it is given up.

Nobody waits for a plan. A thread cannot be ended from outside, so one that hangs is left alone:
what it brings later is thrown away, and another thread with another planner takes its place.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

JOIN_S = 0.5
"""Time a turn gets to end when its thread is told to stop [s]."""
MAX_RESTARTS = 3
"""Workers given up in a row, or still hanging at one time, beyond which there is no other."""


Turn = Callable[["PlannerThread"], float | None]
"""One turn. It returns the time after which the next one is due [s]; None for when it is woken."""


class PlannerThread:
    """One thread that takes turn after turn until it is stopped or given up.

    Whatever a turn sends or reports goes through `permission`: when `stop` or `give_up` has
    returned, nothing more comes out.
    """

    def __init__(self, prepare: Callable[[PlannerThread], None], turn: Turn):
        """Make a worker that is not yet running.

        Args:
            prepare: Called once with the worker, first of all, in the thread.
            turn: Called again and again; see `Turn`.
        """
        self._prepare, self._turn = prepare, turn
        self._wake, self._stopped = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._since_s: float | None = None
        self._thread = threading.Thread(target=self._run, name="planner", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """There may be something to do."""
        self._wake.set()

    def give_up(self) -> None:
        """Nothing more comes out; what it is doing now is thrown away when it is done."""
        with self._lock:
            self._stopped.set()
        self._wake.set()

    def stop(self, timeout_s: float = JOIN_S) -> bool:
        """Nothing more comes out; True when the thread has ended within `timeout_s` [s]."""
        self.give_up()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @contextmanager
    def permission(self) -> Iterator[bool]:
        """Whether something may come out; `stop` waits until the block has ended."""
        with self._lock:
            yield not self._stopped.is_set()

    @property
    def alive(self) -> bool:
        """True while the thread runs."""
        return self._thread.is_alive()

    def busy_s(self) -> float:
        """How long the present turn has taken so far [s]; 0 between two turns."""
        since_s = self._since_s
        return 0.0 if since_s is None else time.monotonic() - since_s

    def _run(self) -> None:
        self._prepare(self)
        due_s: float | None = 0.0
        while not self._stopped.is_set():
            self._wake.wait(due_s)
            self._wake.clear()
            self._since_s = time.monotonic()
            try:
                due_s = self._turn(self)
            finally:
                self._since_s = None


class PlannerSupervisor:
    """Keeps one worker at work: one that hangs or dies is replaced, a limited number of times."""

    def __init__(
        self,
        renew: Callable[[PlannerThread], None],
        turn: Turn,
        timeout_s: Callable[[], float],
        max_restarts: int = MAX_RESTARTS,
    ):
        """Make a supervisor without a worker.

        Args:
            renew: Makes a new planner; called in the thread of every worker but the first, and
                handles its own exceptions.
            turn: See `Turn`; handles its own exceptions.
            timeout_s: Time after which a turn counts as hanging [s].
            max_restarts: See `MAX_RESTARTS`.
        """
        self._renew, self._turn, self._timeout_s = renew, turn, timeout_s
        self._max_restarts = max_restarts
        self._worker: PlannerThread | None = None
        self._given_up: list[PlannerThread] = []
        self._in_a_row = 0

    def start(self, renew: bool = False) -> None:
        """There is a worker at work; with `renew` it makes a new planner first. Waits for none."""
        self.stop(0.0)
        self._in_a_row = 0
        self._begin(renew)

    def stop(self, timeout_s: float = JOIN_S) -> None:
        """Nothing more comes out, and nobody is at work; returns within about `timeout_s` [s]."""
        worker, self._worker = self._worker, None
        if worker is not None and not worker.stop(timeout_s):
            self._given_up.append(worker)

    def wake(self) -> None:
        """There may be something to do."""
        if self._worker is not None:
            self._worker.wake()

    def finished_a_plan(self) -> None:
        """Called by the worker: it is not hanging any more."""
        self._in_a_row = 0

    @property
    def hanging(self) -> int:
        """Workers that were given up and still run."""
        self._given_up = [worker for worker in self._given_up if worker.alive]
        return len(self._given_up)

    def watch(self) -> str | None:
        """Give up a worker that hangs or has died; the sentence about it, or None.

        To be called often. Nobody is at work then until `replace` is called.
        """
        worker = self._worker
        if worker is None:
            return None
        limit_s = self._timeout_s()
        if not worker.alive:
            why = "the planner's thread has ended"
        elif (busy_s := worker.busy_s()) > limit_s:
            why = f"a plan has taken {busy_s:.2f} s, given up after {limit_s:.2f} s"
        else:
            return None
        worker.give_up()
        self._given_up.append(worker)
        self._worker = None
        self._in_a_row += 1
        if self.exhausted:
            return f"{why}; {self._in_a_row} in a row, no other planner is started"
        return f"{why}; planner {self._in_a_row + 1} is being started"

    def replace(self) -> None:
        """Another worker is at work in place of the one given up, unless there were too many."""
        if self._worker is None and not self.exhausted:
            self._begin(renew=True)

    @property
    def exhausted(self) -> bool:
        """True when too many workers were given up for another, until the next `start`."""
        if self._worker is not None or not self._in_a_row:
            return False
        return max(self._in_a_row, self.hanging) > self._max_restarts

    def _begin(self, renew: bool) -> None:
        self._worker = PlannerThread(self._renew if renew else _nothing, self._turn)
        self._worker.start()


def _nothing(worker: PlannerThread) -> None:
    """The planner is there already."""
