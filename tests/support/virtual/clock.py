# SPDX-License-Identifier: MIT
"""Actors on one virtual clock. Nothing waits for the wall clock, and nothing depends on it.

An actor is a greenlet that runs until it sleeps; what only has to happen at a time is a call
without a stack of its own. Both belong to a process, which can be stopped and continued as by
SIGSTOP and SIGCONT at any instant, also where an actor has only just gone to sleep in the middle
of a callback, or be killed.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from functools import partial

from greenlet import GreenletExit, getcurrent, greenlet

MS = 1_000_000
BEGIN_NS = 1_000_000_000_000
"""The virtual time at which every run begins [ns]."""


class Process:
    """What is stopped, continued and killed together.

    Attributes:
        name: For stories.
        alive: False once it was killed or has ended.
        stopped_until_ns: It does nothing before that time.
        stops: How often it has been stopped so far.
        fuse: Sleeps of its actors until `burn` is called; None for never. So a process is struck
            between two steps of its work, however short the time between them is.
        burn: What happens then.
    """

    def __init__(self, name: str):
        self.name, self.alive = name, True
        self.stopped_until_ns = self.stops = 0
        self.fuse: int | None = None
        self.burn: Callable[[], None] | None = None

    def stop(self, until_ns: int) -> None:
        """It stands still until then."""
        self.stopped_until_ns = max(self.stopped_until_ns, until_ns)
        self.stops += 1

    def kill(self) -> None:
        """Nothing of it ever happens again."""
        self.alive = False


class Timeline:
    """The virtual clock, and what is due on it, in order; of equal times what was set first."""

    def __init__(self) -> None:
        self.now_ns = BEGIN_NS
        self._due: list[tuple[int, int, Process, Callable[[], object]]] = []
        self._order = itertools.count()
        self._hub = getcurrent()
        self._process = Process("nobody")
        self._end_ns = 0
        self._closed = False
        self._actors: list[greenlet] = []

    def at(self, when_ns: int, process: Process, call: Callable[[], object]) -> None:
        """`call` happens in a process at a time, or as soon as the process goes on."""
        heapq.heappush(self._due, (max(when_ns, self.now_ns), next(self._order), process, call))

    def every(self, period_ns: int, process: Process, call: Callable[[], object]) -> None:
        """`call` happens now and after every period."""

        def again() -> None:
            call()
            self.at(self.now_ns + period_ns, process, again)

        self.at(self.now_ns, process, again)

    def spawn(self, process: Process, run: Callable[[], object]) -> None:
        """`run` is an actor of a process from now on."""
        actor = greenlet(run, self._hub)
        self._actors.append(actor)
        self.at(self.now_ns, process, actor.switch)

    def sleep(self, length_ns: int) -> None:
        """The actor that calls this goes on so much later."""
        process = self._process
        if process.fuse is not None:
            process.fuse -= 1
            if process.fuse < 0:
                process.fuse = None
                assert process.burn is not None
                process.burn()
        until_ns = self.now_ns + max(int(length_ns), 0)
        alone = not self._due or self._due[0][0] > until_ns
        going = process.alive and process.stopped_until_ns <= until_ns
        if alone and going and until_ns <= self._end_ns and not self._closed:
            self.now_ns = until_ns
            return
        self.at(until_ns, process, getcurrent().switch)
        self.leave()

    def leave(self) -> None:
        """The actor that calls this stands still until somebody switches to it."""
        if self._closed:
            raise GreenletExit
        self._hub.switch()

    def run(self, length_ns: int) -> None:
        """Let that much time pass."""
        self._end_ns = end_ns = self.now_ns + length_ns
        due = self._due
        while due and due[0][0] <= end_ns:
            when_ns, order, process, call = heapq.heappop(due)
            if not process.alive:
                continue
            if process.stopped_until_ns > when_ns:
                heapq.heappush(due, (process.stopped_until_ns, order, process, call))
                continue
            self.now_ns, self._process = when_ns, process
            call()
        self.now_ns = end_ns

    def close(self) -> None:
        """Every actor has ended."""
        self._closed = True
        self._due.clear()
        for actor in self._actors:
            if actor and not actor.dead:
                actor.throw()


class Alarm:
    """An actor's wait that ends at a time, or before when somebody rings."""

    def __init__(self, timeline: Timeline, process: Process):
        self._timeline, self._process = timeline, process
        self._waiting: Callable[[], object] | None = None
        self._number = 0
        self._rung = False

    def wait(self, until_ns: int) -> None:
        """Return at that time, or when somebody rings, or has rung since the last wait."""
        if self._rung:
            self._rung = False
            return
        self._number += 1
        self._waiting = getcurrent().switch
        self._timeline.at(until_ns, self._process, partial(self._end, self._number))
        self._timeline.leave()

    def ring(self) -> None:
        """Whoever waits goes on; whoever does not will not wait the next time."""
        if self._waiting is None:
            self._rung = True
            return
        self._timeline.at(self._timeline.now_ns, self._process, partial(self._end, self._number))

    def _end(self, number: int) -> None:
        if self._waiting is None or number != self._number:
            return
        waiting, self._waiting = self._waiting, None
        waiting()
