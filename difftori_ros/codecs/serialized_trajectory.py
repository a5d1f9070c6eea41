# SPDX-License-Identifier: MIT
"""A JointTrajectory in its serialized form, all points at once.

To fill, serialize and read again a message of 35 points takes rclpy more than a millisecond; here
it takes a tenth of that. The form is that of rclpy (CDR, little-endian), which the tests compare.
What a message has beyond ours (accelerations, another byte order) is left to rclpy.
"""

from __future__ import annotations

import struct

import numpy as np

from difftori_ros.types import Trajectory

from .fields import SECOND_NS, CodecError

LITTLE_ENDIAN = b"\x00\x01\x00\x00"
"""The encapsulation: CDR, little-endian. Numbers are aligned from its end on."""
MAX_JOINTS, MAX_TEXT = 64, 256
"""Messages with more joints or longer names are left to rclpy."""


def write_trajectory(trajectory: Trajectory) -> bytes:
    """The serialized `trajectory_msgs` JointTrajectory; times are rounded to the nanosecond.

    Raises:
        CodecError: A time is not finite or does not fit the message.
    """
    with np.errstate(invalid="ignore"):
        seconds = np.round(trajectory.times * SECOND_NS) / SECOND_NS
    if not (np.abs(seconds) < 2**31).all():
        raise CodecError(f"trajectory: wanted times that fit, got {trajectory.times.tolist()}")
    ns = np.round(trajectory.times * SECOND_NS).astype(np.int64)
    sec, nanosec = divmod(trajectory.stamp_ns, SECOND_NS)
    head = bytearray(struct.pack("<iIIx", sec, nanosec, 1))  # an empty frame_id
    _number(head, len(trajectory.joint_names))
    for name in trajectory.joint_names:
        text = name.encode() + b"\0"
        _number(head, len(text))
        head += text
    _number(head, len(ns))
    n = len(trajectory.joint_names)
    points = np.zeros(len(ns), _point(n))
    points["positions"], points["velocities"] = trajectory.positions, trajectory.velocities
    points["position_count"] = points["velocity_count"] = n
    points["sec"], points["nanosec"] = np.divmod(ns, SECOND_NS)
    body = points.tobytes()
    if len(head) % 8:  # the numbers of the first point are aligned without padding
        body = body[:4] + body[8:]
    return LITTLE_ENDIAN + bytes(head) + body


def read_trajectory(raw: bytes) -> Trajectory | None:
    """The trajectory that a serialized message holds; None when it is not of the form above.

    Only the form is judged, as in `decode_trajectory`.
    """
    try:
        return _read(raw)
    except (struct.error, UnicodeDecodeError, ValueError):
        return None


def _read(raw: bytes) -> Trajectory | None:
    if raw[:4] != LITTLE_ENDIAN:
        return None
    data = memoryview(raw)[4:]
    sec, nanosec, size = struct.unpack_from("<iII", data)
    _, at = _text(data, 8)
    count, at = _count(data, at)
    if not 0 < count <= MAX_JOINTS:
        return None
    names = []
    for _ in range(count):
        name, at = _text(data, at)
        names.append(name)
    size, at = _count(data, at)
    layout, padding = _point(count), 4 * (at % 8 == 4)
    length = size * layout.itemsize - padding
    if size == 0 or len(data) - at < length:  # rclpy leaves spare bytes at the end
        return None
    body = bytes(data[at : at + length])
    points = np.frombuffer(body[:4] + bytes(padding) + body[4:], layout)
    counts = points[["position_count", "velocity_count", "more"]]
    if (counts != np.array((count, count, 0), counts.dtype)).any() or len(set(names)) < count:
        return None
    ns = points["sec"].astype(np.int64) * SECOND_NS + points["nanosec"]
    return Trajectory(
        sec * SECOND_NS + nanosec,
        tuple(names),
        ns / SECOND_NS,
        points["positions"].astype(np.float64),
        points["velocities"].astype(np.float64),
    )


def _point(joints: int) -> np.dtype:
    """A point with two sequences of `joints` numbers and two empty ones."""
    return np.dtype(
        [
            ("position_count", "<u4"),
            ("padding", "<u4"),
            ("positions", "<f8", (joints,)),
            ("velocity_count", "<u4"),
            ("more_padding", "<u4"),
            ("velocities", "<f8", (joints,)),
            ("more", "<u8"),
            ("sec", "<i4"),
            ("nanosec", "<u4"),
        ]
    )


def _number(head: bytearray, value: int) -> None:
    head += bytes(-len(head) % 4) + struct.pack("<I", value)


def _count(data: memoryview, at: int) -> tuple[int, int]:
    """The number at the next place where one may stand, and the place after it."""
    at += -at % 4
    (value,) = struct.unpack_from("<I", data, at)
    return value, at + 4


def _text(data: memoryview, at: int) -> tuple[str, int]:
    size, at = _count(data, at)
    if not 0 < size <= MAX_TEXT or at + size > len(data):
        raise ValueError("no text of ours")
    return bytes(data[at : at + size - 1]).decode(), at + size
