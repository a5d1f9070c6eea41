# SPDX-License-Identifier: MIT
"""`geometry_msgs/PoseStamped` to plain data and back, and paths for people to look at."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from difftori_ros.types import QUATERNION_TOLERANCE, FloatArray, Pose

from .fields import CodecError, floats, ns_to_stamp, stamp_to_ns


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
    x, y, z, qx, qy, qz, qw = floats(pose.pose)
    position, orientation = msg.pose.position, msg.pose.orientation
    position.x, position.y, position.z = x, y, z
    orientation.x, orientation.y, orientation.z, orientation.w = qx, qy, qz, qw


def encode_path(xyz: FloatArray, stamp_ns: int, frame_id: str, msg: Any, pose_cls: type) -> None:
    """Fill a `nav_msgs` Path with positions (K, 3) [m]; `pose_cls` is PoseStamped."""
    msg.header.frame_id = frame_id
    ns_to_stamp(stamp_ns, msg.header.stamp)
    for point in xyz:
        pose = pose_cls(header=msg.header)
        pose.pose.position.x, pose.pose.position.y, pose.pose.position.z = floats(point)
        msg.poses.append(pose)
