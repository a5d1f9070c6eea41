# SPDX-License-Identifier: MIT
"""What the policy node hears: every message is decoded and stored, and nothing else is done."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo as CameraInfoMessage
from sensor_msgs.msg import CompressedImage, Image, PointCloud2
from sensor_msgs.msg import JointState as JointStateMessage
from trajectory_msgs.msg import JointTrajectory

from difftori_ros import codecs, codecs_camera, codecs_cloud
from difftori_ros.base_node import (
    COMMAND_QOS,
    LATCHED_QOS,
    SENSOR_QOS,
    STATUS_QOS,
    StartupError,
    nobody_publishes,
)
from difftori_ros.clock_watch import shown_ns
from difftori_ros.frames import FrameError, FrameTree, take_transforms
from difftori_ros.health import Health
from difftori_ros.image import (
    decode_compressed_picture,
    decode_picture,
    image_topic,
    info_topic,
)
from difftori_ros.observe import Observer
from difftori_ros.policy_loop import PolicyLoop
from difftori_ros.rectify import decode_lens
from difftori_ros.types import CameraInfo, Cloud, Reason

MESSAGES: dict[str, tuple[Any, Any]] = {
    "joint_states": (JointStateMessage, codecs.decode_joint_state),
    "points": (PointCloud2, codecs_cloud.decode_cloud),
    "pose": (PoseStamped, codecs.decode_pose),
}
"""Message type and decoder of every kind of stream that comes in one way alone, or as it does by
default."""


class Inputs:
    """Subscriptions of the policy node, from `open` to `close`."""

    def __init__(
        self,
        node: Node,
        observer: Observer,
        frames: FrameTree,
        loop: PolicyLoop,
        health: Health,
        steady_s: Callable[[], float],
    ):
        self._node, self._observer, self._frames = node, observer, frames
        self._loop, self._health, self._steady_s = loop, health, steady_s
        self._compressed = _text(node, "image_transport") == "compressed"
        self._from_depth = _text(node, "points_from") == "depth"
        self._depth_cameras: dict[str, CameraInfo] = {}
        points = observer.spec.points
        if self._from_depth and points is not None and points.color:
            raise StartupError(
                "points_from is 'depth', which has no colour, and the checkpoint wants xyz + rgb"
            )
        self._simulated = bool(node.get_parameter("use_sim_time").value)
        subscribe = node.create_subscription
        self._open = [self._subscribe(name) for name in observer.streams]
        for camera, spec in observer.spec.images.items():
            if spec.rectify:
                self._open.append(self._subscribe_info(camera, partial(self._take_lens, camera)))
        for stream in observer.spec.clouds if self._from_depth else ():
            take = partial(self._take_depth_camera, stream)
            self._open.append(self._subscribe_info(stream, take))
        self._open += [
            subscribe(DiagnosticStatus, "guard_node/status", self._on_guard, STATUS_QOS),
            subscribe(JointTrajectory, "guard_node/changed", self._on_changed, COMMAND_QOS),
            *self._subscribe_transforms(),
        ]

    def close(self) -> None:
        """Nothing is heard any more."""
        while self._open:
            self._node.destroy_subscription(self._open.pop())

    def topics(self) -> dict[str, str]:
        """Resolved topic of every stream."""
        resolve = self._node.resolve_topic_name
        return {name: resolve(self._codec(name)[0]) for name in self._observer.streams}

    def unpublished(self, silent_only: bool = False) -> list[str]:
        """A sentence for every stream that nobody publishes.

        Args:
            silent_only: Leave out streams that have delivered.
        """
        streams = self._observer.silent() if silent_only else self._observer.streams
        sentences = [nobody_publishes(self._node, *self._codec(name)[:2]) for name in streams]
        return [sentence for sentence in sentences if sentence]

    def _codec(self, stream: str) -> tuple[str, Any, Any]:
        """Relative topic, message type and decoder of a stream."""
        kind = self._observer.spec.kind(stream)
        if kind == "image" and self._compressed:
            return f"{image_topic(stream)}/compressed", CompressedImage, decode_compressed_picture
        if kind == "image":
            return image_topic(stream), Image, decode_picture
        if kind == "points" and self._from_depth:
            return f"{stream}/image_rect_raw", Image, partial(self._depth_cloud, stream)
        return stream, *MESSAGES[kind]

    def _depth_cloud(self, stream: str, message: Image) -> Cloud:
        if stream not in self._depth_cameras:
            raise codecs.CodecError(f"depth image: nothing on '{info_topic(stream)}' yet")
        return codecs_camera.decode_depth_cloud(message, self._depth_cameras[stream])

    def _subscribe(self, stream: str) -> Any:
        topic, kind, decode = self._codec(stream)

        def callback(message: Any) -> None:
            try:
                sample = decode(message)
            except codecs.CodecError as error:
                self._observer.dropped(stream, str(error))
                self._node.get_logger().warning(
                    f"{Reason.BAD_MESSAGE.value}: '{stream}': {error}", throttle_duration_sec=2.0
                )
                return
            self._health.event(stream, self._steady_s())
            self._observer.push(stream, sample, self._arrival_ns(sample.stamp_ns))
            self._loop.wake()

        return self._node.create_subscription(kind, topic, callback, SENSOR_QOS)

    def _subscribe_info(self, stream: str, take: Callable[[Any], None]) -> Any:
        topic = info_topic(stream)

        def callback(message: CameraInfoMessage) -> None:
            try:
                take(message)
            except codecs.CodecError as error:
                self._node.get_logger().warning(
                    f"{Reason.BAD_MESSAGE.value}: '{topic}': {error}", throttle_duration_sec=2.0
                )

        return self._node.create_subscription(CameraInfoMessage, topic, callback, SENSOR_QOS)

    def _take_lens(self, camera: str, message: CameraInfoMessage) -> None:
        self._observer.set_lens(camera, decode_lens(message))

    def _take_depth_camera(self, stream: str, message: CameraInfoMessage) -> None:
        self._depth_cameras[stream] = codecs_camera.decode_camera_info(message)

    def _subscribe_transforms(self) -> list[Any]:
        try:
            from tf2_msgs.msg import TFMessage
        except ImportError:
            return []

        def on_transforms(message: Any, static: bool) -> None:
            try:
                take_transforms(self._frames, message, static)
            except (codecs.CodecError, FrameError) as error:
                self._node.get_logger().warning(f"/tf: {error}", throttle_duration_sec=2.0)

        subscribe = self._node.create_subscription
        return [
            subscribe(TFMessage, "/tf", lambda m: on_transforms(m, False), 100),
            subscribe(TFMessage, "/tf_static", lambda m: on_transforms(m, True), LATCHED_QOS),
        ]

    def _on_guard(self, message: DiagnosticStatus) -> None:
        values = {pair.key: pair.value for pair in message.values}
        verdict, stamp_ns = values.get("verdict"), int(values.get("verdict_stamp_ns", "0"))
        self._loop.guard_said(
            values.get("state", "INACTIVE"),
            stamp_ns if verdict == "refused" else None,
            stamp_ns if verdict == "accepted" else 0,
        )

    def _on_changed(self, message: JointTrajectory) -> None:
        try:
            self._loop.replaced(codecs.decode_trajectory(message))
        except codecs.CodecError as error:
            self._node.get_logger().warning(
                f"'guard_node/changed': {error}", throttle_duration_sec=2.0
            )

    def _arrival_ns(self, stamp_ns: int) -> int:
        now_ns = self._node.get_clock().now().nanoseconds
        return shown_ns(now_ns, stamp_ns, self._simulated)


def _text(node: Node, parameter: str) -> str:
    return node.get_parameter(parameter).get_parameter_value().string_value
