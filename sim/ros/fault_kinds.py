# SPDX-License-Identifier: MIT
"""The kinds of faults that a stream of messages can have, and what each does to a message.

Messages are taken by their attributes alone, so this module imports no ROS package.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from difftori_ros.codecs.fields import ns_to_stamp, stamp_to_ns


def stamp_of(message: Any) -> Any:
    """The stamp in a message's header, or its clock."""
    return message.clock if hasattr(message, "clock") else message.header.stamp


def stamp_ns_of(message: Any) -> int:
    """The same [ns]."""
    return stamp_to_ns(stamp_of(message))


def restamped(message: Any, stamp_ns: int) -> Any:
    """A copy of the message with that stamp [ns]."""
    made = copy.deepcopy(message)
    ns_to_stamp(stamp_ns, stamp_of(made))
    return made


def _shift(message: Any, amount: float, rng: np.random.Generator) -> None:
    stamp = stamp_of(message)
    ns_to_stamp(max(stamp_to_ns(stamp) + round(amount * 1e9), 0), stamp)


def _unstamp(message: Any, amount: float, rng: np.random.Generator) -> None:
    ns_to_stamp(0, stamp_of(message))


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
            message.is_dense = True  # some drivers say so of any cloud

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
    """A kind of fault.

    Attributes:
        what: What it does.
        amount: Its usual amount.
        needs: Attributes of which a message must have one.
        damage: Changes a message in place; None where messages stay whole.
    """

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
    "frame": Kind("an unknown frame", 1.0, ("header",), _rename),
    "permute": Kind("joints in another order each time", 1.0, JOINTS, _permute),
    "missing": Kind("the joint of that index is not there", 0.0, JOINTS, _miss),
    "extra": Kind("one joint more, first, at that position", 0.0, JOINTS, _extra),
    "twice": Kind("one joint has the name of another", 1.0, JOINTS, _twice),
}
"""Every kind of fault that a stream can have."""
