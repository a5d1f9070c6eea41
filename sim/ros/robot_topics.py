# SPDX-License-Identifier: MIT
"""What the simulated robot publishes, with the faults that are injected into its streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, JointState

from difftori_ros import codecs
from difftori_ros.nodes.node_base import LATCHED_QOS, STATUS_QOS, status_message
from difftori_ros.rigid import matrix_to_pose
from difftori_sim.arm.tasks import Task
from difftori_sim.arm.world import CAMERA_FRAME, World, cameras_of

from .camera_messages import camera_messages, camera_streams, view_messages
from .fault_injection import FaultInjector, StreamFault


def streams_of(task: Task) -> dict[str, Any]:
    """Message type of every stream that can have faults, known before a world is loaded."""
    streams: dict[str, Any] = {"clock": Clock, "joint_states": JointState}
    return streams | dict.fromkeys(task.poses, PoseStamped) | camera_streams(cameras_of(task))


class RobotTopics:
    """The publishers of one world.

    Attributes:
        start_ns: Start of the episode on the world's clock [ns]; faults count from there.
    """

    def __init__(self, node: Node, world: World, faults: Sequence[StreamFault]) -> None:
        self._node, self._world, self._faults = node, world, faults
        self._injector, self.start_ns = FaultInjector(faults), world.now_ns
        self._camera: Mapping[str, Any] = {}
        out = node.create_publisher
        self._streams = {
            name: out(kind, "/clock" if name == "clock" else name, STATUS_QOS)
            for name, kind in streams_of(world.task).items()
        }
        self._view = out(Image, "~/view/image_raw", STATUS_QOS)
        self._view_info = out(CameraInfo, "~/view/camera_info", STATUS_QOS)
        self._view_pose = out(PoseStamped, "~/view/pose", LATCHED_QOS)
        self._episode = out(DiagnosticStatus, "~/episode", LATCHED_QOS)
        self._transforms = _camera_transform(node, world)

    def begin(self) -> None:
        """An episode begins now: faults start anew, pictures of the last one are dropped."""
        self._injector, self.start_ns = FaultInjector(self._faults), self._world.now_ns
        self._camera = {}

    def publish_clock(self) -> None:
        """The world's time."""
        message = Clock()
        codecs.ns_to_stamp(self._world.now_ns, message.clock)
        self._send("clock", message)

    def publish_joints(self) -> None:
        """The measured joints."""
        message = JointState()
        codecs.encode_joint_state(self._world.joint_state(), message)
        self._send("joint_states", message)

    def publish_poses(self) -> None:
        """The poses of the task's objects."""
        for name, pose in self._world.poses().items():
            message = PoseStamped()
            codecs.encode_pose(pose, message)
            self._send(name, message)

    def publish_camera(self) -> None:
        """New pictures of all cameras, and the cloud."""
        self._camera = camera_messages(self._world)
        self.repeat_camera()

    def repeat_camera(self) -> None:
        """The last pictures once more."""
        for stream, message in self._camera.items():
            self._send(stream, message)

    def publish_view(self) -> None:
        """A picture for people, with where its camera stands."""
        pose, info, image = view_messages(self._world, self._world.profile.base_frame)
        self._view_pose.publish(pose)
        self._view_info.publish(info)
        self._view.publish(image)

    def publish_episode(self, state: str, commands: int) -> None:
        """The state of the episode, and the number of commands that were followed in it."""
        world, elapsed_s = self._world, self.elapsed_s
        values = {
            "state": state,
            "seed": str(world.seed),
            "start_ns": str(self.start_ns),
            "time_s": f"{elapsed_s:.2f}",
            "commands": str(commands),
            "joint_speed": f"{float(np.abs(world.joint_state().velocity).max()):.4f}",
        }
        message = f"seed {world.seed}: {state} after {elapsed_s:.2f} s"
        self._node.get_logger().info(message)
        self._episode.publish(status_message(self._node.get_name(), 0, message, values))

    @property
    def elapsed_s(self) -> float:
        """Time since the start of the episode on the world's clock [s]."""
        return (self._world.now_ns - self.start_ns) * 1e-9

    def _send(self, stream: str, message: Any) -> None:
        for name, sent in self._injector.apply(stream, message, self.elapsed_s):
            self._streams[name].publish(sent)


def _camera_transform(node: Node, world: World) -> Any:
    """The publisher of where the camera stands, where `tf2_msgs` is installed; it is latched."""
    try:
        from tf2_msgs.msg import TFMessage
    except ImportError:
        return None
    from geometry_msgs.msg import TransformStamped

    publisher = node.create_publisher(TFMessage, "/tf_static", LATCHED_QOS)
    message = TransformStamped(child_frame_id=CAMERA_FRAME)
    message.header.frame_id = world.profile.base_frame
    x, y, z, *quaternion = map(float, matrix_to_pose(world.camera().base_from_camera))
    translation, rotation = message.transform.translation, message.transform.rotation
    translation.x, translation.y, translation.z = x, y, z
    rotation.x, rotation.y, rotation.z, rotation.w = quaternion
    publisher.publish(TFMessage(transforms=[message]))
    return publisher
