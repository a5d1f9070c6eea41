# SPDX-License-Identifier: MIT
"""Bags for tests, written by another hand than ours."""

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from difftori_ros.robot.profile import load_profile

PANDA = load_profile("panda")
TYPES = get_typestore(Stores.ROS2_JAZZY)
STEPS, PERIOD_NS, FIRST_NS = 100, 10_000_000, 2_000_000_000
JOINTS, POSE = "sensor_msgs/msg/JointState", "geometry_msgs/msg/PoseStamped"
TRAJECTORY, STREAM = "trajectory_msgs/msg/JointTrajectory", "std_msgs/msg/Float64MultiArray"
STREAM_TOPIC = "/gripper_controller/commands"
CHANNELS = {
    "/joint_states": JOINTS,
    "/goal": POSE,
    "/object": POSE,
    f"/{PANDA.gripper.topic}": TRAJECTORY,
    STREAM_TOPIC: STREAM,
}


def header(stamp_ns, frame=PANDA.base_frame):
    kind, time = TYPES.types["std_msgs/msg/Header"], TYPES.types["builtin_interfaces/msg/Time"]
    return kind(stamp=time(*divmod(stamp_ns, 10**9)), frame_id=frame)


def joints(stamp_ns, position):
    kind = TYPES.types[JOINTS]
    zeros = np.zeros(len(position))
    return kind(header(stamp_ns), list(PANDA.joint_names), position, zeros, zeros)


def pose(stamp_ns):
    t = TYPES.types
    point = t["geometry_msgs/msg/Point"](0.5, 0.1, 0.2)
    quaternion = t["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 1.0)
    return t[POSE](header(stamp_ns), t["geometry_msgs/msg/Pose"](point, quaternion))


def gripper_trajectory(stamp_ns, target):
    t = TYPES.types
    duration = t["builtin_interfaces/msg/Duration"](0, 500_000_000)
    none = np.zeros(0)
    point = t["trajectory_msgs/msg/JointTrajectoryPoint"](
        np.array([target]), none, none, none, duration
    )
    return t[TRAJECTORY](header(stamp_ns), [PANDA.gripper.joint], [point])


def streamed(target):
    t = TYPES.types
    layout = t["std_msgs/msg/MultiArrayLayout"]([], 0)
    return t[STREAM](layout, np.array([target]))


def written(path, plugin=StoragePlugin.MCAP, prefix="", without=(), gripper=None, pause_at=None):
    """A bag of joint states at 100 Hz and poses at 20 Hz, of an arm that turns its first joint.

    With `gripper`, `trajectory` or `stream`, the hand is told to close half way through; before
    step `pause_at` nothing comes for a second.
    """
    with Writer(path, version=9, storage_plugin=plugin) as writer:
        connections = {
            name: writer.add_connection(prefix + name, kind, typestore=TYPES)
            for name, kind in CHANNELS.items()
            if name not in without
        }
        for k in range(STEPS):
            pause_ns = 10**9 if pause_at is not None and k >= pause_at else 0
            stamp_ns = FIRST_NS + k * PERIOD_NS + pause_ns
            position = np.append(PANDA.home, 0.04)
            position[0] += 1e-3 * k
            out = {"/joint_states": (joints(stamp_ns, position), JOINTS)}
            if k % 5 == 0:
                out |= {name: (pose(stamp_ns), POSE) for name in ("/goal", "/object")}
            target = PANDA.gripper.open if k < STEPS // 2 else PANDA.gripper.closed
            if k % 10 == 0 and gripper == "trajectory":
                # without a stamp, and without velocities: as a hand controller of others sends it
                out[f"/{PANDA.gripper.topic}"] = gripper_trajectory(0, target), TRAJECTORY
            elif k % 10 == 0 and gripper == "stream":
                out[STREAM_TOPIC] = streamed(target), STREAM
            for name, (message, kind) in out.items():
                if name in connections:
                    data = TYPES.serialize_cdr(message, kind)
                    writer.write(connections[name], stamp_ns + 1_000_000, data)
    return path
