# SPDX-License-Identifier: MIT
"""`difftori bag record`: writes down what the policy sees and what the controllers are told."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import CameraInfo

from difftori_models.contract.specs import Card
from difftori_ros.config.parameter_files import values_of
from difftori_ros.config.parameters import POLICY
from difftori_ros.observation.image import info_topic
from difftori_ros.observation.input_topics import InputTopicError
from difftori_ros.recording.bag_reader import CLOCK, TF, TF_STATIC
from difftori_ros.recording.bag_writer import BagWriter
from difftori_ros.recording.mcap_file import Channel, definition, type_name
from difftori_ros.robot.profile import RobotProfile

from .blackbox_node import inputs
from .node_base import STATUS_QOS, StartupError, run

INPUT_QOS = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
STATIC_QOS = QoSProfile(
    depth=100,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)


def recorded(
    card: Card, profile: RobotProfile, values: Mapping[str, Any]
) -> dict[str, tuple[Any, str, QoSProfile]]:
    """What is written: role -> message class, topic, quality of service; see `inputs`."""
    found = {
        role: (kind, topic, INPUT_QOS if role in card.observation.streams else STATUS_QOS)
        for role, (kind, topic, _) in inputs(card, profile, values).items()
    }
    for camera in card.observation.images:
        topic = info_topic(camera)
        found[topic] = (CameraInfo, topic, INPUT_QOS)
    found["clock"] = (ClockMessage, CLOCK, INPUT_QOS)
    try:
        from tf2_msgs.msg import TFMessage
    except ImportError:
        return found
    found["tf"] = (TFMessage, TF, INPUT_QOS)
    found["tf_static"] = (TFMessage, TF_STATIC, STATIC_QOS)
    return found


class BagNode(Node):
    """Writes every message as the bytes it came as, from its start to its end."""

    def __init__(
        self,
        card: Card,
        profile: RobotProfile,
        path: Path,
        seconds: float | None = None,
        *,
        values: Mapping[str, Any] | None = None,
        **options: Any,
    ):
        """Listen.

        Args:
            card: Names the streams.
            profile: Names the controllers' topics.
            path: The file.
            seconds: Time after which it ends by itself [s, steady clock]; None for never.
            values: Parameters of the policy node, which say how images and points come; its
                defaults without.
            options: Of `rclpy.node.Node`.

        Raises:
            StartupError: The file cannot be written, or the streams cannot come in that way.
        """
        super().__init__("bag_node", **options)
        values = values or values_of("policy_node", POLICY)
        self._wall = Clock(clock_type=ClockType.SYSTEM_TIME)
        self.finished: int | None = None
        channels = []
        try:
            topics = recorded(card, profile, values)
        except InputTopicError as error:
            raise StartupError(str(error)) from error
        for role, (kind, topic, qos) in topics.items():
            heard = self.create_subscription(
                kind, topic, partial(self._on_message, role), qos, raw=True
            )
            channels.append(Channel(role, heard.topic_name, type_name(kind), definition(kind)))
        try:
            self._bag = BagWriter(path, channels)
        except OSError as error:
            raise StartupError(str(error)) from error
        if seconds is not None:
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            self.create_timer(seconds, self._end, clock=steady)
        self.get_logger().info(f"recording {len(channels)} topics to {path}")

    @property
    def counts(self) -> Mapping[str, int]:
        """Messages written, by role."""
        return self._bag.counts

    def stop(self) -> None:
        """The file is complete."""
        self._bag.close()
        heard = ", ".join(f"{n} {role}" for role, n in sorted(self.counts.items()) if n)
        self.get_logger().info(f"wrote {self._bag.path}: {heard or 'nothing was heard'}")

    def _on_message(self, role: str, data: bytes) -> None:
        self._bag.write(role, bytes(data), self._wall.now().nanoseconds)

    def _end(self) -> None:
        self.finished = 0


def record_bag(
    card: Card,
    profile: RobotProfile,
    path: Path,
    seconds: float | None = None,
    remaps: Mapping[str, str] | None = None,
    values: Mapping[str, Any] | None = None,
) -> int:
    """Record until SIGINT or SIGTERM, or for `seconds`; return the exit status."""
    arguments = ["--ros-args"]
    for name, topic in (remaps or {}).items():
        arguments += ["-r", f"{name}:={topic}"]
    return run(lambda: BagNode(card, profile, path, seconds, values=values), arguments)
