# SPDX-License-Identifier: MIT
"""ROS messages to plain data and back, one module per message; no ROS package is imported.

Messages are taken by their attributes alone; encoders fill a message that the caller made. The
names below are those of joint states, trajectories and poses. Pictures, clouds and cameras are in
`image`, `depth_image`, `compressed_image`, `bayer`, `point_cloud` and `camera_info`; what a node
reads without building a message is in `serialized_trajectory`.
"""

from .fields import SECOND_NS, CodecError, ns_to_stamp, stamp_to_ns
from .joint_state import decode_joint_state, encode_joint_state
from .pose import decode_pose, encode_path, encode_pose
from .trajectory import decode_trajectory, encode_trajectory

__all__ = [
    "SECOND_NS",
    "CodecError",
    "decode_joint_state",
    "decode_pose",
    "decode_trajectory",
    "encode_joint_state",
    "encode_path",
    "encode_pose",
    "encode_trajectory",
    "ns_to_stamp",
    "stamp_to_ns",
]
