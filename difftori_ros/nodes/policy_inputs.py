# SPDX-License-Identifier: MIT
"""The streams of the policy node: messages are stored, decoded where they are needed, no more.

Joint states come up to a thousand times a second. Where the loop knows when it needs them they
wait in the reader's queue until then; where it plans as soon as they are here, each one wakes it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo

from difftori_ros import codecs
from difftori_ros.observation import FrameError, Observer
from difftori_ros.observation.frame_tree import take_transforms
from difftori_ros.observation.input_topics import InputTopicError, InputTopics
from difftori_ros.observation.stream_buffer import Unread
from difftori_ros.observation.stream_set import CAMERA_KINDS, JOINTS, JOINTS_KEPT
from difftori_ros.status.clock_jump import shown_ns
from difftori_ros.status.health import Health
from difftori_ros.types import Reason

from .node_base import (
    LATCHED_QOS,
    SENSOR_QOS,
    StartupError,
    message_class,
    nobody_publishes,
)
from .polled_subscription import PolledSubscription, stamp_ns

JOINTS_QOS = QoSProfile(depth=JOINTS_KEPT, reliability=ReliabilityPolicy.BEST_EFFORT)
"""They are taken every 0.1 s or sooner: at 1 kHz none is lost."""


class PolicyInputs:
    """Subscriptions to the streams of an observation, from the first to `close`."""

    def __init__(
        self,
        node: Node,
        observer: Observer,
        health: Health,
        steady_s: Callable[[], float],
        wake: Callable[[], object] = lambda: None,
    ):
        """Listen.

        Args:
            node: The node; its parameters say how the streams come.
            observer: Takes what has come.
            health: Is told when something has come.
            steady_s: The steady clock [s].
            wake: Called when there is something new to plan from.

        Raises:
            StartupError: The streams cannot come in the way that the parameters say.
        """
        self._node, self._observer, self._streams = node, observer, observer.streams
        self._health, self._steady_s, self._wake = health, steady_s, wake
        ways = {name: _text(node, name) for name in ("image_transport", "points_from")}
        try:
            self._topics = InputTopics(observer.spec, ways)
        except InputTopicError as error:
            raise StartupError(str(error)) from error
        self._simulated = bool(node.get_parameter("use_sim_time").value)
        by_time = _text(node, "trigger") == "timer" and not self._simulated
        self._taking = threading.Lock()
        topic, self._joints_kind = self._source(JOINTS)
        self._polled: PolledSubscription | None = None
        # poses are looked at when it is time to plan; clouds and images are prepared before
        self._waking = {
            name
            for name in self._streams
            if not by_time or observer.spec.kind(name) in CAMERA_KINDS
        }
        subscribe = node.create_subscription
        self._open = [self._subscribe(name) for name in self._streams if name != JOINTS]
        if by_time:
            self._polled = PolledSubscription(node, self._joints_kind, topic, JOINTS_QOS)
        else:
            self._open.append(
                subscribe(self._joints_kind, topic, self._on_joints, SENSOR_QOS, raw=True)
            )
        self._open += map(self._subscribe_info, self._topics.calibrations)
        self._open += self._subscribe_transforms()

    def close(self) -> None:
        """Nothing is received any more."""
        with self._taking:
            if self._polled is not None:
                self._polled.destroy()
            self._polled = None
        while self._open:
            self._node.destroy_subscription(self._open.pop())

    def take(self) -> None:
        """The observer has what has come up to now. Any thread may call it."""
        with self._taking:
            if self._polled is None:
                return
            messages = self._polled.take_timed()
            now_ns, steady_s = self._node.get_clock().now().nanoseconds, self._steady_s()
            times_s = []
            for raw, arrival_ns in messages:
                arrived_ns = min(arrival_ns or now_ns, now_ns)
                times_s.append(steady_s - (now_ns - arrived_ns) * 1e-9)
                self._push_joints(raw, arrived_ns)
            self._health.events(JOINTS, times_s)

    def forget(self) -> None:
        """What has come up to now and was not taken yet is thrown away."""
        with self._taking:
            if self._polled is not None:
                self._polled.take()

    def topics(self) -> dict[str, str]:
        """Resolved topic of every stream."""
        resolve = self._node.resolve_topic_name
        return {name: resolve(topic) for name, topic in self._topics.topics.items()}

    def unpublished(self, silent_only: bool = False) -> list[str]:
        """A sentence for every stream that nobody publishes.

        Args:
            silent_only: Leave out streams that have delivered.
        """
        streams = self._streams.silent() if silent_only else self._streams
        sentences = [nobody_publishes(self._node, *self._source(name)) for name in streams]
        return [sentence for sentence in sentences if sentence]

    def _source(self, stream: str) -> tuple[str, Any]:
        """Relative topic and message class of a stream."""
        return self._topics.topics[stream], message_class(self._topics.types[stream])

    def _subscribe(self, stream: str) -> Any:
        topic, kind = self._source(stream)

        def callback(message: Any) -> None:
            try:
                sample = self._topics.decode(stream, message)
            except codecs.CodecError as error:
                self._streams.dropped(stream, self._complain(stream, error))
                return
            self._health.event(stream, self._steady_s())
            self._streams.push(stream, sample, self._arrival_ns(sample.stamp_ns))
            if stream in self._waking:
                self._wake()

        return self._node.create_subscription(kind, topic, callback, SENSOR_QOS)

    def _on_joints(self, raw: bytes) -> None:
        self._health.event(JOINTS, self._steady_s())
        self._push_joints(raw)
        self._wake()

    def _push_joints(self, raw: bytes, arrived_ns: int | None = None) -> None:
        """Store a message, decoded once it is needed; now, when its stamp cannot be read."""
        stamp = stamp_ns(raw)
        try:
            decode = self._decode_joints
            sample = decode(raw) if stamp is None else Unread(stamp, raw, decode)
        except codecs.CodecError as error:
            self._streams.dropped(JOINTS, str(error))
            return
        if arrived_ns is None:
            arrived_ns = self._arrival_ns(sample.stamp_ns)
        self._streams.push(JOINTS, sample, arrived_ns)

    def _decode_joints(self, raw: bytes) -> Any:
        try:
            return self._topics.decode(JOINTS, deserialize_message(raw, self._joints_kind))
        except (codecs.CodecError, RuntimeError) as error:  # the latter from the middleware
            raise codecs.CodecError(self._complain(JOINTS, error)) from error

    def _complain(self, stream: str, error: Exception) -> str:
        """Why a message cannot be used, also for the log."""
        self._node.get_logger().warning(
            f"{Reason.BAD_MESSAGE.value}: '{stream}': {error}", throttle_duration_sec=2.0
        )
        return str(error)

    def _subscribe_info(self, stream: str) -> Any:
        topic = self._topics.calibrations[stream]

        def callback(message: CameraInfo) -> None:
            try:
                self._topics.calibrate(stream, message, self._observer)
            except codecs.CodecError as error:
                self._node.get_logger().warning(
                    f"{Reason.BAD_MESSAGE.value}: '{topic}': {error}", throttle_duration_sec=2.0
                )

        return self._node.create_subscription(CameraInfo, topic, callback, SENSOR_QOS)

    def _subscribe_transforms(self) -> list[Any]:
        try:
            from tf2_msgs.msg import TFMessage
        except ImportError:
            return []

        def on_transforms(message: Any, static: bool) -> None:
            try:
                take_transforms(self._observer.frames, message, static)
            except (codecs.CodecError, FrameError) as error:
                self._node.get_logger().warning(f"/tf: {error}", throttle_duration_sec=2.0)

        subscribe = self._node.create_subscription
        return [
            subscribe(TFMessage, "/tf", lambda m: on_transforms(m, False), 100),
            subscribe(TFMessage, "/tf_static", lambda m: on_transforms(m, True), LATCHED_QOS),
        ]

    def _arrival_ns(self, stamp_ns: int) -> int:
        now_ns = self._node.get_clock().now().nanoseconds
        return shown_ns(now_ns, stamp_ns, self._simulated)


def _text(node: Node, parameter: str) -> str:
    return node.get_parameter(parameter).get_parameter_value().string_value
