# SPDX-License-Identifier: MIT
"""Stamps, joint names, plain floats, and the one error of all codecs."""

from __future__ import annotations

from typing import Any

import numpy as np

from difftori_ros.errors import DifftoriError
from difftori_ros.types import FloatArray

SECOND_NS = 1_000_000_000


class CodecError(DifftoriError, ValueError):
    """A message cannot be read, or data not be written into one; says what was wanted and came."""


def stamp_to_ns(stamp: Any) -> int:
    """A `builtin_interfaces` Time or Duration as one integer [ns]."""
    return int(stamp.sec) * SECOND_NS + int(stamp.nanosec)


def ns_to_stamp(ns: int, stamp: Any) -> None:
    """Fill a `builtin_interfaces` Time or Duration.

    Raises:
        CodecError: The seconds do not fit into 32 bits.
    """
    sec, nanosec = divmod(int(ns), SECOND_NS)
    if not -(2**31) <= sec < 2**31:
        raise CodecError(f"wanted a time within 32 bits of seconds, got {sec} s")
    stamp.sec, stamp.nanosec = sec, nanosec


def joint_names(given: Any, what: str) -> tuple[str, ...]:
    """Joint names, at least one and each once.

    Raises:
        CodecError: There is none, or one is given twice; `what` begins the message.
    """
    names = tuple(str(name) for name in given)
    if not names:
        raise CodecError(f"{what}: wanted at least one joint name, got none")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CodecError(f"{what}: wanted each joint once, got twice: {', '.join(twice)}")
    return names


def floats(values: FloatArray) -> list[Any]:
    """Python floats: a numpy scalar in a message is sent as garbage without any complaint."""
    return np.asarray(values, dtype=np.float64).tolist()
