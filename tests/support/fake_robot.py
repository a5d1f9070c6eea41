# SPDX-License-Identifier: MIT
"""A robot that stands still: joint states, poses and a cloud, published on demand."""

import numpy as np
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import JointState as JointStateMessage
from sensor_msgs.msg import PointCloud2, PointField

from difftori_ros import codecs
from difftori_ros.codecs import point_cloud as point_cloud_codec
from difftori_ros.robot.kinematics import Kinematics
from difftori_ros.robot.profile import load_profile
from difftori_ros.types import Cloud, JointState, Pose

PROFILE = load_profile("panda")
HOME = np.append(PROFILE.home, 0.04)


class FakeRobot:
    """Publishes a consistent set of messages with one stamp."""

    def __init__(self, node, *, points_topic="points", cloud_frame="camera_optical_frame"):
        self._node, self._cloud_frame = node, cloud_frame
        self._joints = node.create_publisher(JointStateMessage, "joint_states", 10)
        self._poses = {n: node.create_publisher(PoseStamped, n, 10) for n in ("goal", "object")}
        self._points = node.create_publisher(PointCloud2, points_topic, 10)
        tip = Kinematics(PROFILE).tip_pose(PROFILE.home)
        self._targets = {
            "goal": tip[:3] + np.array([0.05, 0.02, 0.05]),
            "object": np.array([tip[0], tip[1], 0.02]),
        }
        self._rng = np.random.default_rng(0)

    def publish(self, *, joints=True, poses=True, cloud=True, age_s=0.0) -> int:
        now_ns = self._node.get_clock().now().nanoseconds - round(age_s * 1e9)
        if joints:
            state = JointState(now_ns, PROFILE.joint_names, HOME, np.zeros(len(HOME)))
            message = JointStateMessage()
            codecs.encode_joint_state(state, message)
            self._joints.publish(message)
        if poses:
            for name, publisher in self._poses.items():
                xyz = self._targets[name]
                pose = Pose(now_ns, PROFILE.base_frame, np.array([*xyz, 0.0, 0.0, 0.0, 1.0]))
                message = PoseStamped()
                codecs.encode_pose(pose, message)
                publisher.publish(message)
        if cloud:
            # in front of the camera: half a metre ahead, spread over 40 cm
            xyz = self._rng.uniform([-0.2, -0.2, 0.4], [0.2, 0.2, 0.6], (2000, 3))
            rgb = np.full((2000, 3), 0.5, dtype=np.float32)
            message = PointCloud2()
            point_cloud_codec.encode_cloud(
                Cloud(now_ns, self._cloud_frame, xyz.astype(np.float32), rgb), message, PointField
            )
            self._points.publish(message)
        return now_ns
