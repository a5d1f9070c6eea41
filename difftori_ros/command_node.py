# SPDX-License-Identifier: MIT
"""The ways in which a controller takes its commands; each is fed the trajectories to follow.

`trajectory` and `action` hand over a trajectory that ends at rest, so that the arm comes to rest
whatever dies on this side. Streaming hands over one set of numbers at a time: when the stream ends
it is the controller that must stop the arm. Only a position controller does so by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from difftori_ros.types import Trajectory

OUTPUTS = ("trajectory", "action", "position", "velocity")


class OutputError(RuntimeError):
    """The output that is wanted cannot be made; the message says what is missing."""


class Output(Protocol):
    """One controller's commands."""

    topic: str

    def send(self, trajectory: Trajectory) -> None:
        """The trajectory replaces what was sent before."""
        ...

    def tick(self, now_ns: int) -> None:
        """To be called at the guard's period."""
        ...

    def listeners(self) -> list[str]:
        """Names of the nodes that take the commands."""
        ...


class TrajectoryTopic:
    """A joint_trajectory_controller's topic."""

    def __init__(self, node: Any, topic: str, qos: Any, encode: Callable[[Trajectory], Any]):
        self._publisher, self._encode = node.create_publisher(JointTrajectory, topic, qos), encode
        self._node = node
        self.topic = self._publisher.topic_name

    def send(self, trajectory: Trajectory) -> None:
        """Publish it."""
        self._publisher.publish(self._encode(trajectory))

    def tick(self, now_ns: int) -> None:
        """Nothing: the controller follows the trajectory by itself."""

    def listeners(self) -> list[str]:
        """Names of the nodes that subscribe."""
        return _subscribers(self._node, self.topic)


class TrajectoryAction:
    """A joint_trajectory_controller's FollowJointTrajectory action: the newest goal counts."""

    def __init__(self, node: Any, topic: str, encode: Callable[[Trajectory], Any]):
        """Make the client.

        Raises:
            OutputError: control_msgs is not installed.
        """
        try:
            from control_msgs.action import FollowJointTrajectory
            from rclpy.action import ActionClient
        except ImportError as error:
            raise OutputError(
                "output 'action' needs control_msgs, which this ROS 2 lacks: install "
                "ros-$ROS_DISTRO-control-msgs, or take output 'trajectory'"
            ) from error
        name = topic.removesuffix("/joint_trajectory") + "/follow_joint_trajectory"
        self._goal, self._encode = FollowJointTrajectory.Goal, encode
        self._client = ActionClient(node, FollowJointTrajectory, name)
        self.topic = node.resolve_topic_name(name)

    def send(self, trajectory: Trajectory) -> None:
        """Send it as a goal; nobody waits for the answer, since the guard watches the joints."""
        self._client.send_goal_async(self._goal(trajectory=self._encode(trajectory)))

    def tick(self, now_ns: int) -> None:
        """Nothing: the controller follows the trajectory by itself."""

    def listeners(self) -> list[str]:
        """The action's name when its server is there."""
        return [self.topic] if self._client.server_is_ready() else []


class Stream:
    """A forward controller's topic: positions or velocities, one set at a time."""

    def __init__(self, node: Any, topic: str, qos: Any, velocity: bool):
        name = topic.removesuffix("/joint_trajectory") + "/commands"
        self._publisher = node.create_publisher(Float64MultiArray, name, qos)
        self._node = node
        self.topic, self._velocity = self._publisher.topic_name, velocity
        self._running: Trajectory | None = None

    def send(self, trajectory: Trajectory) -> None:
        """Follow it from the next tick on."""
        self._running = trajectory

    def tick(self, now_ns: int) -> None:
        """Publish what the trajectory says for now; once it has ended, its end one last time."""
        if self._running is None:
            return
        position, velocity = self._running.sample(now_ns)
        wanted = np.asarray(velocity if self._velocity else position)
        self._publisher.publish(Float64MultiArray(data=[float(value) for value in wanted]))
        if now_ns >= self._running.end_ns:
            self._running = None

    def listeners(self) -> list[str]:
        """Names of the nodes that subscribe."""
        return _subscribers(self._node, self.topic)


def _subscribers(node: Any, topic: str) -> list[str]:
    return [info.node_name for info in node.get_subscriptions_info_by_topic(topic)]


def make_output(
    kind: str, node: Any, topic: str, qos: Any, encode: Callable[[Trajectory], Any]
) -> Output:
    """The output of a kind for the controller that listens for trajectories on `topic`.

    Raises:
        OutputError: What the output needs is not installed.
    """
    if kind == "action":
        return TrajectoryAction(node, topic, encode)
    if kind in ("position", "velocity"):
        return Stream(node, topic, qos, velocity=kind == "velocity")
    return TrajectoryTopic(node, topic, qos, encode)
