# SPDX-License-Identifier: MIT
"""`sensor_msgs/JointState` to plain data and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from difftori_ros.types import JointState

from .fields import CodecError, floats, joint_names, ns_to_stamp, stamp_to_ns


def decode_joint_state(msg: Any) -> JointState:
    """Joint state with finite positions and velocities (n,), float64, one per distinct name.

    Raises:
        CodecError: No joints, names given twice, positions or velocities missing or not finite.
            Velocities are required: the motion that is under way cannot be continued without them.
    """
    names = joint_names(msg.name, "joint state")
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
    msg.position = floats(state.position)
    msg.velocity = floats(state.velocity)
