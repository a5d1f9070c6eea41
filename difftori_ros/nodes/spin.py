# SPDX-License-Identifier: MIT
"""What spins a node: the executor, the signals that end a wait, and memory that is left alone."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Callable

from rclpy.context import Context
from rclpy.executors import Executor, SingleThreadedExecutor

try:
    from rclpy.experimental.events_executor import EventsExecutor
except ImportError:  # an older rclpy
    EventsExecutor = None

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that end a node."""


def make_executor(context: Context | None = None) -> Executor:
    """The executor that costs least: it waits for events and builds no set of what to wait for.

    Spin it with a time limit only: without one, that of rclpy 7.1 hangs.
    """
    if EventsExecutor is None:
        return SingleThreadedExecutor(context=context)
    return EventsExecutor(context=context)


def lacks_executor() -> str:
    """One sentence for the log; empty when the executor is the one wanted."""
    if EventsExecutor is not None:
        return ""
    return "this rclpy has no EventsExecutor: SingleThreadedExecutor spins the node, at more cost"


def leave_memory_alone() -> None:
    """What is alive now is no longer looked through for garbage; what is garbage now is gone.

    A full collection looks at everything that Python holds: 16 ms with a graph loaded, 86 ms with
    torch, in the middle of a plan. What is made from now on is collected as before; it is little,
    and takes little time. `look_at_memory_again` before what was alive is to be freed.
    """
    gc.collect()
    gc.freeze()


def look_at_memory_again() -> None:
    """Everything is looked through as usual, with the next full collection."""
    gc.unfreeze()


class Signals:
    """Signals that end the process are noted, and a wait for something else is cut short.

    Python handles a signal between two steps of the main thread, which an executor that waits
    does not take. So a thread waits for the byte that Python writes at once, and wakes it.
    """

    def __init__(self, wake: Callable[[], object]):
        """Listen from now on.

        Args:
            wake: Ends the wait of the main thread; called in another one.
        """
        self._wake, self._come = wake, threading.Event()
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        for number in ENDING:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                signal.signal(number, _note)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._listen, name="signals", daemon=True)
        self._thread.start()

    def come(self) -> bool:
        """True when a signal has come."""
        return self._come.is_set()

    def close(self) -> None:
        """Nobody is woken any more; signals that still come are ignored."""
        signal.set_wakeup_fd(-1)
        os.close(self._writer)
        self._thread.join()
        os.close(self._reader)

    def _listen(self) -> None:
        while numbers := os.read(self._reader, 64):
            if not set(numbers).isdisjoint(ENDING):
                self._come.set()
                self._wake()


def _note(*_: object) -> None:
    """The byte in the pipe tells; with a handler the signal no longer ends the process."""
