# SPDX-License-Identifier: MIT
"""What a node finds beneath it instead of rclpy: readers, timers, clocks and an executor's order.

Looking at a clock and publishing take virtual time, so that a process can be stopped, or others
can act, between any two steps of a real callback.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from builtin_interfaces.msg import Time

from tests.support.virtual.clock import Alarm, Process, Timeline

NEVER = 1 << 62
"""Later than the end of every run [ns]."""
SOCKET = 400
"""Messages that a socket holds."""
WINDOW_NS = 1_000_000
"""Time that writing may take; what is written later was held up [ns]."""


class Reader:
    """A subscription's history of the newest `depth` messages."""

    def __init__(self, topic: str, callback: Callable[[Any], object] | None, depth: int):
        self.topic, self.callback = topic, callback
        self.history: deque[Any] = deque(maxlen=depth)


class Timer:
    """A node's timer of the steady clock.

    Attributes:
        due_ns: When it calls back next [ns]; `NEVER` once it is cancelled.
    """

    def __init__(self, machine: Machine, period_ns: int, callback: Callable[[], object]):
        self._machine, self._period_ns, self.callback = machine, period_ns, callback
        self.reset()

    def cancel(self) -> None:
        """It does not call back."""
        self.due_ns = NEVER

    def reset(self) -> None:
        """It calls back after a period."""
        self.due_ns = self._machine.timeline.now_ns + self._period_ns
        self._machine.expect(self)

    def call(self) -> None:
        """Call back if that is due; periods that have passed meanwhile are left out."""
        now_ns = self._machine.timeline.now_ns
        if self.due_ns > now_ns:
            return
        self.due_ns += (1 + (now_ns - self.due_ns) // self._period_ns) * self._period_ns
        self._machine.expect(self)
        self.callback()


@dataclass
class Named:
    """A node at the other end of a topic."""

    node_name: str
    node_namespace: str = "/"


class VirtualClock:
    """The clock of the stamps, or the steady one; a look at it takes time."""

    def __init__(self, machine: Machine, steady: bool):
        self._machine, self._steady = machine, steady
        self.nanoseconds = 0

    def now(self) -> VirtualClock:
        """The time, under `nanoseconds`."""
        machine = self._machine
        machine.work(machine.LOOK_MS)
        machine.writes_since = None
        self.nanoseconds = machine.timeline.now_ns
        if not self._steady:
            self.nanoseconds += machine.offset_ns()
        return self

    def create_jump_callback(self, threshold: Any, **_: Any) -> None:
        """Whoever sets the clock is found by comparing it with the steady one."""

    def to_msg(self) -> Time:
        """The time of the last look, as a message."""
        sec, nanosec = divmod(self.nanoseconds, 1_000_000_000)
        return Time(sec=sec, nanosec=nanosec)

    def sleep_for(self, duration: Any) -> bool:
        """Time passes."""
        self._machine.timeline.sleep(duration.nanoseconds)
        return True


class VirtualPublisher:
    """What is published reaches `sent`, after the time that writing it takes."""

    def __init__(self, machine: Machine, topic: str):
        self._machine, self.topic = machine, topic
        self.topic_name = topic if topic[0] in "/~" else f"/{topic}"

    def get_subscription_count(self) -> int:
        """Somebody takes everything but diagnostics."""
        return int(self.topic != "/diagnostics")

    def publish(self, message: Any) -> None:
        """Send it."""
        machine = self._machine
        now = machine.timeline.now_ns, machine.process.stops, machine.offset_ns()
        machine.writes_since = machine.writes_since or now
        machine.work(machine.WRITE_MS)
        machine.sent(self.topic, message)


class VirtualLog:
    """A logger that keeps what it is told."""

    def __init__(self, keep: Callable[[str], object]):
        self._keep = keep

    def info(self, text: str, **_: Any) -> None:
        """Keep it."""
        self._keep(text)

    warning = error = debug = info


class Machine:
    """One process of a node: its clocks, its costs, and the turns of its executor.

    Attributes:
        timeline: The virtual clock.
        process: What is stopped or killed.
        writes_since: Time, number of stops and offset of the clock when it began to write what it
            writes now, with no look at a clock since; None after a look.
    """

    LOOK_MS, WRITE_MS = 0.002, 0.03
    TURN_MS, CALL_MS = 0.15, 0.1
    """What a look at a clock, a write, a turn of the executor and a callback take at no load."""

    def __init__(
        self,
        timeline: Timeline,
        process: Process,
        work: Callable[[float], None],
        offset_ns: Callable[[], int],
        sent: Callable[[str, Any], None],
        by_arrival: bool,
    ):
        self.timeline, self.process = timeline, process
        self.work, self.offset_ns, self.sent = work, offset_ns, sent
        self.writes_since: tuple[int, int, int] | None = None
        self.readers: list[Reader] = []
        self.timers: list[Timer] = []
        self._by_arrival = by_arrival
        self._events: deque[Callable[[], object]] = deque()
        self._alarm = Alarm(timeline, process)

    def held_up(self) -> bool:
        """Whether the process was kept from writing while it wrote, and could not know of it."""
        assert self.writes_since is not None
        since_ns, stops, offset_ns = self.writes_since
        late = self.timeline.now_ns - since_ns > WINDOW_NS
        return late or (stops, offset_ns) != (self.process.stops, self.offset_ns())

    def deliver(self, topic: str, message: Any) -> None:
        """A message has reached the readers of its topic."""
        for reader in self.readers:
            if reader.topic == topic:
                reader.history.append(message)
                if reader.callback is not None:
                    self._notice(partial(_take, reader))

    def request(self, call: Callable[[], object]) -> None:
        """A request has reached a service, which answers by this call."""
        self._events.append(call)
        self._alarm.ring()

    def expect(self, timer: Timer) -> None:
        """The timer will be due."""
        if self._by_arrival:
            due = partial(self._due, timer, timer.due_ns)
            self.timeline.at(timer.due_ns, self.process, due)

    def _due(self, timer: Timer, due_ns: int) -> None:
        if timer.due_ns == due_ns:
            self._notice(timer.call)

    def _notice(self, call: Callable[[], object]) -> None:
        if self._by_arrival:
            self._events.append(call)
        self._alarm.ring()

    def spin(self, on_exception: Callable[[Exception], object]) -> None:
        """Call back for ever."""
        for call in self._arrivals() if self._by_arrival else self._rounds():
            self.work(self.CALL_MS)
            try:
                call()
            except Exception as error:
                on_exception(error)

    def _rounds(self) -> Iterator[Callable[[], object]]:
        """rclpy's SingleThreadedExecutor: of all that is ready first the timers, then one message
        of every subscription, then the services."""
        while True:
            now_ns = self.timeline.now_ns
            timers = [timer for timer in self.timers if timer.due_ns <= now_ns]
            readers = [one for one in self.readers if one.callback is not None and one.history]
            requests = len(self._events)
            if not (timers or readers or requests):
                self._alarm.wait(min(timer.due_ns for timer in self.timers))
                continue
            self.work(self.TURN_MS)
            yield from [timer.call for timer in timers]
            yield from [partial(_take, reader) for reader in readers]
            for _ in range(requests):
                yield self._events.popleft()

    def _arrivals(self) -> Iterator[Callable[[], object]]:
        """rclpy's EventsExecutor: whatever comes, in the order of its coming."""
        while True:
            while self._events:
                yield self._events.popleft()
            self._alarm.wait(self.timeline.now_ns + 1_000_000_000)


class Socket:
    """What is sent to a process waits here until its receiving thread takes it out, one message
    after the other, into the readers' histories; while the process is stopped neither happens."""

    def __init__(self, machine: Machine, drain_ns: Callable[[], int]):
        self._machine, self._drain_ns = machine, drain_ns
        self._waiting: deque[tuple[str, Any]] = deque()
        self._draining = False

    def arrive(self, topic: str, message: Any, reliable: bool) -> None:
        """A message has come; of too many the newest get lost, unless they are sent reliably."""
        if len(self._waiting) >= SOCKET and not reliable:
            return
        self._waiting.append((topic, message))
        self._drain_soon()

    def _drain_soon(self) -> None:
        if self._waiting and not self._draining:
            self._draining = True
            timeline, process = self._machine.timeline, self._machine.process
            timeline.at(timeline.now_ns + self._drain_ns(), process, self._drain)

    def _drain(self) -> None:
        self._draining = False
        topic, message = self._waiting.popleft()
        self._machine.deliver(topic, message)
        self._drain_soon()


def _take(reader: Reader) -> None:
    """Of messages that others have pushed out nothing is left to take."""
    if reader.history and reader.callback is not None:
        reader.callback(reader.history.popleft())
