# SPDX-License-Identifier: MIT
"""`trajectory_msgs/JointTrajectory` to plain data and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from difftori_ros.types import Trajectory

from .fields import SECOND_NS, CodecError, floats, joint_names, ns_to_stamp, stamp_to_ns


def decode_trajectory(msg: Any) -> Trajectory:
    """Trajectory with as many positions and velocities per point as there are joints.

    Only the shape is judged here. Numbers that are not finite and times that do not increase are
    kept for the guard, which reports them by name.

    Raises:
        CodecError: No joints, names given twice, no points, or a point with too few or too many
            numbers.
    """
    names = joint_names(msg.joint_names, "trajectory")
    if len(msg.points) == 0:
        raise CodecError("trajectory: wanted at least one point, got none")
    for key in ("positions", "velocities"):
        for k, point in enumerate(msg.points):
            got = len(getattr(point, key))
            if got != len(names):
                raise CodecError(
                    f"trajectory: wanted {len(names)} {key}, one per joint, in point {k}, "
                    f"got {got}"
                )
    ns = [stamp_to_ns(point.time_from_start) for point in msg.points]
    return Trajectory(
        stamp_ns=stamp_to_ns(msg.header.stamp),
        joint_names=names,
        times=np.array([value / SECOND_NS for value in ns], dtype=np.float64),
        positions=np.array([point.positions for point in msg.points], dtype=np.float64),
        velocities=np.array([point.velocities for point in msg.points], dtype=np.float64),
    )


def encode_trajectory(trajectory: Trajectory, msg: Any, point_cls: type) -> None:
    """Fill a `trajectory_msgs` JointTrajectory; times are rounded to the nanosecond.

    Args:
        trajectory: What to write. Its stamp becomes the header's.
        msg: The message to fill.
        point_cls: `trajectory_msgs.msg.JointTrajectoryPoint`.

    Raises:
        CodecError: A time is not finite or does not fit the message.
    """
    if not np.isfinite(trajectory.times).all():
        raise CodecError(f"trajectory: wanted finite times, got {trajectory.times.tolist()}")
    points = []
    rows = map(floats, (trajectory.times, trajectory.positions, trajectory.velocities))
    for time, position, velocity in zip(*rows, strict=True):
        point = point_cls(positions=position, velocities=velocity)
        ns_to_stamp(round(time * SECOND_NS), point.time_from_start)
        points.append(point)
    ns_to_stamp(trajectory.stamp_ns, msg.header.stamp)
    msg.joint_names = list(trajectory.joint_names)
    msg.points = points
