# SPDX-License-Identifier: MIT
"""Joint states, poses, trajectories and stamps: ROS messages to plain data and back.

Messages are taken by their attributes alone, so this module imports no ROS package; encoders fill
a message that the caller made. Clouds, images and cameras have modules of their own.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from difftori_models.contract import FloatArray
from difftori_ros.types import JointState, Pose, Trajectory

SECOND_NS = 1_000_000_000
QUATERNION_TOLERANCE = 1e-3
"""A quaternion whose norm is further from 1 than this is a fault, not rounding [1]."""


class CodecError(ValueError):
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


def decode_joint_state(msg: Any) -> JointState:
    """Joint state with finite positions and velocities (n,), float64, one per distinct name.

    Raises:
        CodecError: No joints, names given twice, positions or velocities missing or not finite.
            Velocities are required: the motion that is under way cannot be continued without them.
    """
    names = _joint_names(msg.name, "joint state")
    columns = {"position": msg.position, "velocity": msg.velocity}
    arrays = {}
    for key, values in columns.items():
        if len(values) != len(names):
            raise CodecError(
                f"joint state: wanted {len(names)} entries in '{key}', one per name, "
                f"got {len(values)}"
            )
        arrays[key] = np.array(values, dtype=np.float64)
        bad = ~np.isfinite(arrays[key])
        if bad.any():
            which = ", ".join(f"{names[k]}={arrays[key][k]}" for k in np.flatnonzero(bad))
            raise CodecError(f"joint state: wanted finite numbers in '{key}', got {which}")
    return JointState(stamp_to_ns(msg.header.stamp), names, arrays["position"], arrays["velocity"])


def encode_joint_state(state: JointState, msg: Any) -> None:
    """Fill a `sensor_msgs` JointState with names, positions, velocities and stamp."""
    ns_to_stamp(state.stamp_ns, msg.header.stamp)
    msg.name = list(state.names)
    msg.position = _floats(state.position)
    msg.velocity = _floats(state.velocity)


def decode_pose(msg: Any) -> Pose:
    """Pose (7,) with a unit quaternion, in the frame of the header.

    Raises:
        CodecError: A number is not finite, or the quaternion's norm is off by more than 1e-3.
    """
    p, q = msg.pose.position, msg.pose.orientation
    pose = checked_pose(p, q, "pose")
    return Pose(stamp_to_ns(msg.header.stamp), str(msg.header.frame_id), pose)


def checked_pose(position: Any, quaternion: Any, what: str) -> FloatArray:
    """Pose (7,) from objects with x y z and x y z w, finite, quaternion normalised.

    Raises:
        CodecError: As in `decode_pose`; `what` begins the message.
    """
    xyz = [float(position.x), float(position.y), float(position.z)]
    xyzw = [float(quaternion.x), float(quaternion.y), float(quaternion.z), float(quaternion.w)]
    if not all(map(math.isfinite, xyz + xyzw)):
        raise CodecError(f"{what}: wanted finite numbers, got x y z {xyz}, quaternion {xyzw}")
    norm = math.hypot(*xyzw)
    if not abs(norm - 1.0) <= QUATERNION_TOLERANCE:
        raise CodecError(f"{what}: wanted a quaternion of norm 1, got {xyzw} of norm {norm:.6g}")
    return np.array([*xyz, *(value / norm for value in xyzw)])


def encode_pose(pose: Pose, msg: Any) -> None:
    """Fill a `geometry_msgs` PoseStamped."""
    ns_to_stamp(pose.stamp_ns, msg.header.stamp)
    msg.header.frame_id = pose.frame_id
    x, y, z, qx, qy, qz, qw = _floats(pose.pose)
    position, orientation = msg.pose.position, msg.pose.orientation
    position.x, position.y, position.z = x, y, z
    orientation.x, orientation.y, orientation.z, orientation.w = qx, qy, qz, qw


def decode_trajectory(msg: Any) -> Trajectory:
    """Trajectory with as many positions and velocities per point as there are joints.

    Only the shape is judged here. Numbers that are not finite and times that do not increase are
    kept for the guard, which reports them by name.

    Raises:
        CodecError: No joints, names given twice, no points, or a point with too few or too many
            numbers.
    """
    names = _joint_names(msg.joint_names, "trajectory")
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
    rows = map(_floats, (trajectory.times, trajectory.positions, trajectory.velocities))
    for time, position, velocity in zip(*rows, strict=True):
        point = point_cls(positions=position, velocities=velocity)
        ns_to_stamp(round(time * SECOND_NS), point.time_from_start)
        points.append(point)
    ns_to_stamp(trajectory.stamp_ns, msg.header.stamp)
    msg.joint_names = list(trajectory.joint_names)
    msg.points = points


def encode_path(xyz: FloatArray, stamp_ns: int, frame_id: str, msg: Any, pose_cls: type) -> None:
    """Fill a `nav_msgs` Path with positions (K, 3) [m]; `pose_cls` is PoseStamped."""
    msg.header.frame_id = frame_id
    ns_to_stamp(stamp_ns, msg.header.stamp)
    for point in xyz:
        pose = pose_cls(header=msg.header)
        pose.pose.position.x, pose.pose.position.y, pose.pose.position.z = _floats(point)
        msg.poses.append(pose)


def _joint_names(given: Any, what: str) -> tuple[str, ...]:
    names = tuple(str(name) for name in given)
    if not names:
        raise CodecError(f"{what}: wanted at least one joint name, got none")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CodecError(f"{what}: wanted each joint once, got twice: {', '.join(twice)}")
    return names


def _floats(values: FloatArray) -> list[Any]:
    """Python floats: a numpy scalar in a message is sent as garbage without any complaint."""
    return np.asarray(values, dtype=np.float64).tolist()
