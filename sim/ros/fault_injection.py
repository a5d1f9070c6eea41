# SPDX-License-Identifier: MIT
"""Faults on purpose: what can go wrong on a wire, with a process, and inside a planner.

Messages are taken by their attributes alone, so this module imports no ROS package. Time is passed
in, and chance is seeded: the same faults on the same messages give the same bytes.
"""

from __future__ import annotations

import copy
import heapq
import math
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from difftori_models.contract.specs import Plan, PlanStatus
from difftori_ros.codecs.fields import ns_to_stamp, stamp_to_ns

MICROSECOND_NS = 1_000


class FaultError(ValueError):
    """A fault cannot be had; says what was wanted, what came and what exists."""


@dataclass(frozen=True)
class Fault:
    """One fault of one stream: `kind` from `start_s` for `duration_s`, on the clock passed in."""

    stream: str
    kind: str
    start_s: float = 0.0
    duration_s: float = math.inf
    amount: float = math.nan

    def __post_init__(self) -> None:
        """Take the kind's own amount when none was given."""
        if self.kind not in KINDS:
            raise FaultError(f"unknown fault '{self.kind}'; there are {', '.join(KINDS)}")
        if math.isnan(self.start_s) or not self.duration_s > 0:
            raise FaultError(
                f"fault '{self.stream}:{self.kind}': wanted a start and a duration above 0, "
                f"got {self.start_s:g} and {self.duration_s:g} s"
            )
        if math.isnan(self.amount):
            object.__setattr__(self, "amount", KINDS[self.kind].amount)

    def active(self, now_s: float) -> bool:
        """Whether it is there at `now_s`."""
        return self.start_s <= now_s < self.start_s + self.duration_s


def parse(text: str, streams: Mapping[str, Any]) -> Fault:
    """The fault that `stream:kind:start_s:duration_s[:amount]` stands for.

    Args:
        text: As above.
        streams: The streams that exist, with their message types.

    Raises:
        FaultError: It is not of that form, or no such stream or kind exists, or the kind does not
            fit the stream's messages.
    """
    parts = text.split(":")
    if len(parts) not in (4, 5):
        raise FaultError(f"wanted stream:kind:start_s:duration_s[:amount], got '{text}'")
    stream, kind, *numbers = parts
    if stream not in streams:
        raise FaultError(f"'{text}': no stream '{stream}'; there are {', '.join(sorted(streams))}")
    try:
        fault = Fault(stream, kind, *(float(number) for number in numbers))
    except FaultError as error:
        raise FaultError(f"'{text}': {error}") from error
    except ValueError as error:
        raise FaultError(f"'{text}': wanted numbers, got {' '.join(numbers)}") from error
    if not fits(kind, streams[stream]):
        fitting = [name for name in KINDS if fits(name, streams[stream])]
        what = getattr(streams[stream], "__name__", str(streams[stream]))
        raise FaultError(
            f"'{text}': a {what} cannot have '{kind}'; it can have {', '.join(fitting)}"
        )
    return fault


def fits(kind: str, message_type: Any) -> bool:
    """Whether messages of that type can have that kind of fault."""
    needs = KINDS[kind].needs
    return not needs or any(hasattr(message_type, name) for name in needs)


@dataclass
class Line:
    """What lies between a publisher and the wire: faults, and what they hold back."""

    faults: Sequence[Fault] = ()
    seed: int = 0
    _held: list[tuple[float, int, str, Any]] = field(default_factory=list)
    _kept: dict[Fault, Any] = field(default_factory=dict)
    _count: int = 0

    def __post_init__(self) -> None:
        """Start the dice."""
        self._rng = np.random.default_rng(self.seed)

    def apply(self, stream: str, message: Any, now_s: float) -> list[tuple[str, Any]]:
        """What goes out now for a message that is given in: pairs of stream and message.

        Messages that were held back and are due come first. The message itself is never changed.
        """
        sent = self.due(now_s)
        messages = [message]
        for fault in self.faults:
            if fault.stream != stream:
                continue
            if fault.active(now_s):
                messages = [made for one in messages for made in self._struck(fault, one, now_s)]
            else:
                self._kept.pop(fault, None)
        return sent + [(stream, made) for made in messages]

    def due(self, now_s: float) -> list[tuple[str, Any]]:
        """What was held back until `now_s`."""
        found = []
        while self._held and self._held[0][0] <= now_s:
            found.append(heapq.heappop(self._held)[2:])
        return found

    def _struck(self, fault: Fault, message: Any, now_s: float) -> list[Any]:
        kind, amount = fault.kind, fault.amount
        if kind == "silence":
            return []
        if kind == "drop":
            return [] if self._rng.random() < amount else [message]
        if kind == "duplicate":
            return [message] * (1 + round(amount))
        if kind == "freeze":
            return [self._kept.setdefault(fault, message)]
        if kind == "stuck":
            return [_stamped(self._kept.setdefault(fault, message), _stamp_ns(message))]
        if kind in ("delay", "reorder"):
            late_s = amount * (self._rng.random() if kind == "reorder" else 1.0)
            self._hold(fault.stream, message, now_s + late_s)
            return []
        if kind == "burst":
            copies, stamp_ns = max(round(amount), 1), _stamp_ns(message)
            for k in range(copies):
                older = _stamped(message, stamp_ns - (copies - 1 - k) * MICROSECOND_NS)
                self._hold(fault.stream, older, fault.start_s + fault.duration_s)
            return []
        damage = KINDS[kind].damage
        assert damage is not None
        damaged = copy.deepcopy(message)
        damage(damaged, amount, self._rng)
        return [damaged]

    def _hold(self, stream: str, message: Any, until_s: float) -> None:
        self._count += 1  # messages that are due together leave in the order they came
        heapq.heappush(self._held, (until_s, self._count, stream, message))


# damage: each changes a message in place ---------------------------------------------------------


def _stamp_of(message: Any) -> Any:
    return message.clock if hasattr(message, "clock") else message.header.stamp


def _stamp_ns(message: Any) -> int:
    return stamp_to_ns(_stamp_of(message))


def _stamped(message: Any, stamp_ns: int) -> Any:
    made = copy.deepcopy(message)
    ns_to_stamp(stamp_ns, _stamp_of(made))
    return made


def _shift(message: Any, amount: float, rng: np.random.Generator) -> None:
    stamp = _stamp_of(message)
    ns_to_stamp(max(stamp_to_ns(stamp) + round(amount * 1e9), 0), stamp)


def _unstamp(message: Any, amount: float, rng: np.random.Generator) -> None:
    ns_to_stamp(0, _stamp_of(message))


def _poison(value: float) -> Callable[[Any, float, np.random.Generator], None]:
    """That share of the numbers becomes `value`, at least one of them."""

    def damage(message: Any, amount: float, rng: np.random.Generator) -> None:
        if hasattr(message, "velocity"):
            for numbers in (message.position, message.velocity):
                count = max(round(amount * len(numbers)), 1)
                for k in rng.permutation(len(numbers))[:count]:
                    numbers[int(k)] = value
        elif hasattr(message, "pose"):
            message.pose.position.x = value
        else:
            points = np.frombuffer(message.data, np.uint8).reshape(-1, message.point_step)
            count = max(round(amount * len(points)), 1)
            # the first field: x, in every cloud that we publish
            column = message.fields[0].offset
            points[rng.permutation(len(points))[:count], column : column + 4] = np.frombuffer(
                np.float32(value).tobytes(), np.uint8
            )
            message.is_dense = True  # as a driver that lies does

    return damage


def _truncate(message: Any, amount: float, rng: np.random.Generator) -> None:
    name = "data" if hasattr(message, "data") else "velocity"
    values = getattr(message, name)
    setattr(message, name, values[: int(len(values) * (1.0 - amount))])


def _empty(message: Any, amount: float, rng: np.random.Generator) -> None:
    message.height, message.width, message.row_step = 1, 0, 0
    message.data = message.data[:0]


def _huge(message: Any, amount: float, rng: np.random.Generator) -> None:
    message.height = message.width = 2**32 - 1


def _recode(message: Any, amount: float, rng: np.random.Generator) -> None:
    message.encoding = "yuv422_yuy2"


def _retype(message: Any, amount: float, rng: np.random.Generator) -> None:
    message.fields[0].datatype = 3  # INT16


def _rename(message: Any, amount: float, rng: np.random.Generator) -> None:
    message.header.frame_id = "nowhere"


def _permute(message: Any, amount: float, rng: np.random.Generator) -> None:
    _take(message, [int(k) for k in rng.permutation(len(message.name))])


def _miss(message: Any, amount: float, rng: np.random.Generator) -> None:
    _take(message, [k for k in range(len(message.name)) if k != round(amount)])


def _take(message: Any, order: Sequence[int]) -> None:
    for name in ("name", "position", "velocity"):
        values = getattr(message, name)
        setattr(message, name, [values[k] for k in order])


def _extra(message: Any, amount: float, rng: np.random.Generator) -> None:
    message.name = ["wheel", *message.name]
    message.position = [amount, *message.position]
    message.velocity = [amount, *message.velocity]


def _twice(message: Any, amount: float, rng: np.random.Generator) -> None:
    message.name = [message.name[1], *list(message.name)[1:]]


@dataclass(frozen=True)
class Kind:
    """What it does, its usual amount, attributes of which a message has one, and the damage."""

    what: str
    amount: float = 1.0
    needs: tuple[str, ...] = ()
    damage: Callable[[Any, float, np.random.Generator], None] | None = None


JOINTS = ("velocity",)
NUMBERS = ("velocity", "pose", "point_step")

KINDS: Mapping[str, Kind] = {
    "silence": Kind("nothing comes"),
    "freeze": Kind("the first message again and again, with its old stamp"),
    "stuck": Kind("the first message's content again and again, with new stamps"),
    "delay": Kind("every message comes that much later [s]", 0.3),
    "reorder": Kind("every message comes by chance up to that much later [s]", 0.05),
    "duplicate": Kind("that many more of each, the same"),
    "drop": Kind("that share of the messages is lost", 0.5),
    "burst": Kind("all come at the end, that many of each, stamped 1 us apart"),
    "stamp": Kind("stamps are off by that much [s]", -10.0, (), _shift),
    "unstamped": Kind("stamps are zero", 1.0, (), _unstamp),
    "nan": Kind("that share of the numbers is NaN", 1.0, NUMBERS, _poison(math.nan)),
    "inf": Kind("that share of the numbers is Inf", 1.0, NUMBERS, _poison(math.inf)),
    "truncate": Kind("that share of the data is gone", 0.5, ("velocity", "data"), _truncate),
    "empty": Kind("a cloud without points", 1.0, ("point_step",), _empty),
    "huge": Kind("sizes that the data cannot have", 1.0, ("data",), _huge),
    "encoding": Kind("an image of an unknown encoding", 1.0, ("encoding",), _recode),
    "fields": Kind("the first field has another type", 1.0, ("fields",), _retype),
    "frame": Kind("a frame that nobody knows", 1.0, ("header",), _rename),
    "permute": Kind("joints in another order each time", 1.0, JOINTS, _permute),
    "missing": Kind("the joint of that index is not there", 0.0, JOINTS, _miss),
    "extra": Kind("one joint more, first, at that position", 0.0, JOINTS, _extra),
    "twice": Kind("one joint has the name of another", 1.0, JOINTS, _twice),
}
"""Every kind of fault that a stream can have."""


# processes ---------------------------------------------------------------------------------------

SIGNALS: Mapping[str, signal.Signals] = {
    "kill": signal.SIGKILL,
    "stop": signal.SIGSTOP,
    "continue": signal.SIGCONT,
    "interrupt": signal.SIGINT,
    "terminate": signal.SIGTERM,
}


def strike(processes: Mapping[str, subprocess.Popen[Any]], name: str, kind: str) -> None:
    """Send a process of a running stand the signal of that kind.

    Raises:
        FaultError: There is no such process or kind.
    """
    if name not in processes:
        raise FaultError(f"no process '{name}'; there are {', '.join(sorted(processes))}")
    if kind not in SIGNALS:
        raise FaultError(f"unknown process fault '{kind}'; there are {', '.join(SIGNALS)}")
    processes[name].send_signal(SIGNALS[kind])


# planners ----------------------------------------------------------------------------------------

SICKNESSES = ("diverge", "nan", "raise", "oom", "slow", "hang")
SLOW_S = 0.3
"""Time that a `slow` planner wastes [s]."""
HUNG_S = 0.1
"""Time between two looks whether a `hang` is over [s]."""


class SickPlanner:
    """A planner that falls ill when `ask()` names one of `SICKNESSES`."""

    def __init__(self, planner: Any, ask: Callable[[], str]):
        self._planner, self._ask = planner, ask
        self._never = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._planner, name)

    def plan(self, *given: Any, **named: Any) -> Plan:
        """The planner's plan, or what its sickness makes of it."""
        sickness = self._ask()
        if sickness and sickness not in SICKNESSES:
            raise FaultError(f"unknown sickness '{sickness}'; there are {', '.join(SICKNESSES)}")
        while sickness == "hang":  # until somebody heals it: a thread cannot be ended
            self._never.wait(HUNG_S)
            sickness = self._ask()
        if sickness == "slow":
            self._never.wait(SLOW_S)
        if sickness == "raise":
            raise RuntimeError("a solver that raises, on purpose")
        if sickness == "oom":
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB, on purpose")
        plan = self._planner.plan(*given, **named)
        if sickness == "diverge":
            return replace(plan, value_after=math.nan, status=PlanStatus.DIVERGED)
        if sickness == "nan":
            nothing = np.full_like(plan.actions, np.nan)
            return replace(plan, actions=nothing, status=PlanStatus.FAILED)
        if sickness == "slow":
            return replace(plan, elapsed_s=plan.elapsed_s + SLOW_S)
        return plan
