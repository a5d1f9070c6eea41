# SPDX-License-Identifier: MIT
"""`tf2_msgs/TFMessage` to plain data."""

from __future__ import annotations

from typing import Any, NamedTuple

from difftori_ros.rigid import pose_to_matrix
from difftori_ros.types import FloatArray

from .fields import CodecError, stamp_to_ns
from .pose import checked_pose


class StampedTransform(NamedTuple):
    """`matrix` (4, 4) maps points in `child` to `parent` at `stamp_ns` [ns]."""

    parent: str
    child: str
    stamp_ns: int
    matrix: FloatArray


def decode_transforms(msg: Any) -> list[StampedTransform]:
    """The transforms of a `tf2_msgs` TFMessage, in its order.

    Raises:
        CodecError: A frame has no name, a number is not finite, or a quaternion's norm is off by
            more than 1e-3.
    """
    found = []
    for item in msg.transforms:
        parent, child = str(item.header.frame_id), str(item.child_frame_id)
        what = f"transform from '{child}' to '{parent}'"
        if not parent or not child:
            raise CodecError(f"{what}: wanted two frame names, got an empty one")
        pose = checked_pose(item.transform.translation, item.transform.rotation, what)
        stamp = stamp_to_ns(item.header.stamp)
        found.append(StampedTransform(parent, child, stamp, pose_to_matrix(pose)))
    return found
