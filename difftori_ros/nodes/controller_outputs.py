# SPDX-License-Identifier: MIT
"""The ways in which a controller takes its commands; each is fed the trajectories to follow.

`trajectory` and `action` hand over a trajectory that ends at rest, so that the arm comes to rest
whatever dies on this side. Streaming hands over one set of numbers at a time: when the stream ends
it is the controller that must stop the arm. Only a position controller does so by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import numpy as np
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from difftori_ros.codecs.serialized_trajectory import write_trajectory
from difftori_ros.errors import DifftoriError
from difftori_ros.guard.motion_under_way import put_off, start_ns
from difftori_ros.motion.trajectory import Reference, split
from difftori_ros.robot.profile import RobotProfile
from difftori_ros.types import FloatArray, Trajectory

from .node_base import trajectory_message

LATE_PERIODS, LATE_NS = 1.5, 5_000_000
"""Periods of the guard between two sets of a stream after which the second one is late, and the
least time for that [ns]."""
OUTPUTS = ("trajectory", "action", "position", "velocity")


class OutputError(DifftoriError, RuntimeError):
    """The output that is wanted cannot be made; the message says what is missing."""


class Output(Protocol):
    """One controller's commands."""

    topic: str

    def prepare(self, trajectory: Trajectory) -> Callable[[], object]:
        """What sends the trajectory in place of the one before, with nothing left to do first."""
        ...

    def tick(self, now_ns: int) -> None:
        """To be called at the guard's period."""
        ...

    def catch_up(self, now_ns: int) -> int:
        """A motion whose sets come late is put off; returns by how much [ns]."""
        ...

    def stands(self) -> Reference | None:
        """Where a controller stands that was left alone in mid-stream; its stream is over then.

        None for one that has followed its trajectory by itself, or has nothing to follow.
        """
        ...

    def shift(self, step_ns: int) -> None:
        """The clock of the stamps was set by `step_ns` [ns]."""
        ...

    def busy(self) -> bool:
        """Whether sets are still to be sent."""
        ...

    def end(self) -> None:
        """No set is sent any more; a velocity controller is told to stand."""
        ...

    def listeners(self) -> list[str]:
        """Names of the nodes that take the commands."""
        ...


class _TrajectoryFollower:
    """A controller that is handed whole trajectories needs nothing in between."""

    def tick(self, now_ns: int) -> None:
        """Nothing is sent."""

    def catch_up(self, now_ns: int) -> int:
        """Nothing is put off."""
        return 0

    def stands(self) -> Reference | None:
        """It has gone on by itself."""
        return None

    def shift(self, step_ns: int) -> None:
        """It has a clock of its own."""

    def busy(self) -> bool:
        """It needs nothing more."""
        return False

    def end(self) -> None:
        """It finishes what it follows."""


class TrajectoryTopic(_TrajectoryFollower):
    """A joint_trajectory_controller's topic."""

    def __init__(self, node: Any, topic: str, qos: Any):
        self._publisher, self._node = node.create_publisher(JointTrajectory, topic, qos), node
        self.topic = self._publisher.topic_name

    def prepare(self, trajectory: Trajectory) -> Callable[[], object]:
        """The serialized message, to be published."""
        return partial(self._publisher.publish, write_trajectory(trajectory))

    def listeners(self) -> list[str]:
        """Names of the nodes that subscribe."""
        return _subscribers(self._node, self.topic)


class TrajectoryAction(_TrajectoryFollower):
    """A joint_trajectory_controller's FollowJointTrajectory action: the newest goal counts."""

    def __init__(self, node: Any, topic: str):
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
        self._goal = FollowJointTrajectory.Goal
        self._client = ActionClient(node, FollowJointTrajectory, name)
        self.topic = node.resolve_topic_name(name)

    def prepare(self, trajectory: Trajectory) -> Callable[[], object]:
        """The goal, to be sent; no one waits for the answer: the guard watches the joints."""
        goal = self._goal(trajectory=trajectory_message(trajectory))
        return partial(self._client.send_goal_async, goal)

    def listeners(self) -> list[str]:
        """The action's name when its server is there."""
        return [self.topic] if self._client.server_is_ready() else []


class CommandStream:
    """A forward controller's topic: positions or velocities, one set at a time.

    Between two sets a position controller stays at the last one, and a velocity controller goes on
    at it. After a set that was late the motion goes on from there, put off, instead of where it
    would be by now. Until its first point a trajectory leaves the one before it under way.
    """

    def __init__(self, node: Any, topic: str, qos: Any, velocity: bool, period_s: float):
        name = topic.removesuffix("/joint_trajectory") + "/commands"
        self._publisher = node.create_publisher(Float64MultiArray, name, qos)
        self._node = node
        self.topic, self._velocity = self._publisher.topic_name, velocity
        self._period_ns = round(period_s * 1e9)
        self._running: Trajectory | None = None
        self._before: Trajectory | None = None
        self._ticked_ns: int | None = None
        self._last: Reference | None = None

    def prepare(self, trajectory: Trajectory) -> Callable[[], object]:
        """The trajectory, to be followed from the next tick on."""
        return partial(self._follow, trajectory)

    def tick(self, now_ns: int) -> None:
        """Publish what the trajectory says for now; once it has ended, its end one last time."""
        if self._running is None:
            return
        before = self._before if now_ns < start_ns(self._running) else None
        position, velocity = (before or self._running).sample(now_ns)
        self._send(velocity if self._velocity else position)
        still = np.zeros_like(velocity)
        self._last = Reference(position, velocity if self._velocity else still, still)
        self._ticked_ns = now_ns
        if now_ns >= self._running.end_ns:
            self._over()

    def catch_up(self, now_ns: int) -> int:
        """The next set is one period after the last one on the motion, however late it comes."""
        if self._running is None:
            return 0
        if self._ticked_ns is None:
            self._ticked_ns = start_ns(self._running)
        if now_ns - self._ticked_ns <= max(LATE_PERIODS * self._period_ns, LATE_NS):
            return 0
        late_ns = now_ns - self._ticked_ns - self._period_ns
        self._running, self._ticked_ns = put_off(self._running, late_ns), now_ns - self._period_ns
        self._before = self._before and put_off(self._before, late_ns)
        return late_ns

    def stands(self) -> Reference | None:
        """At the last set, or still moving at its velocities; before the first one at rest."""
        last, running = self._last, self._running
        if last is None and running is not None:
            still = np.zeros_like(running.velocities[0])
            last = Reference(running.positions[0], still, still)
        self._over()
        return last

    def shift(self, step_ns: int) -> None:
        """What is followed is stamped by that clock."""
        self._running, self._before = (
            part and replace(part, stamp_ns=part.stamp_ns + step_ns)
            for part in (self._running, self._before)
        )
        if self._ticked_ns is not None:
            self._ticked_ns += step_ns

    def busy(self) -> bool:
        """Until its trajectory has ended."""
        return self._running is not None

    def end(self) -> None:
        """The last set of velocities is zero, whatever was reached."""
        if self._velocity and self._running is not None:
            self._send(np.zeros_like(self._running.velocities[0]))
        self._over()

    def _follow(self, trajectory: Trajectory) -> None:
        self._before, self._running = self._running, trajectory

    def _send(self, wanted: FloatArray) -> None:
        self._publisher.publish(Float64MultiArray(data=[float(value) for value in wanted]))

    def _over(self) -> None:
        self._running = self._before = self._ticked_ns = self._last = None

    def listeners(self) -> list[str]:
        """Names of the nodes that subscribe."""
        return _subscribers(self._node, self.topic)


def _subscribers(node: Any, topic: str) -> list[str]:
    return [info.node_name for info in node.get_subscriptions_info_by_topic(topic)]


def make_output(kind: str, node: Any, topic: str, qos: Any, period_s: float) -> Output:
    """The output of a kind for the controller that listens for trajectories on `topic`.

    Args:
        kind: One of `OUTPUTS`.
        node: The node.
        topic: The controller's topic of trajectories, from which other names are derived.
        qos: For topics.
        period_s: Time between two ticks [s].

    Raises:
        OutputError: What the output needs is not installed.
    """
    if kind == "action":
        return TrajectoryAction(node, topic)
    if kind in ("position", "velocity"):
        return CommandStream(node, topic, qos, kind == "velocity", period_s)
    return TrajectoryTopic(node, topic, qos)


class ControllerOutputs:
    """The outputs of a robot: the arm's first, then the gripper's if there is one."""

    def __init__(self, kind: str, node: Any, profile: RobotProfile, qos: Any, period_s: float):
        """Make them; the arguments are those of `make_output`.

        Raises:
            OutputError: What they need is not installed.
        """
        channels = {profile.arm_joints: profile.topic}
        if profile.gripper:
            channels[(profile.gripper.joint,)] = profile.gripper.topic
        self._node = node
        self._of = {
            joints: make_output(kind, node, topic, qos, period_s)
            for joints, topic in channels.items()
        }

    @property
    def topics(self) -> str:
        """Names of the topics, for people."""
        return ", ".join(output.topic for output in self._of.values())

    def prepare(self, channels: tuple[Trajectory, ...]) -> list[Callable[[], object]]:
        """All that can be done before it is known whether the trajectories are to be sent."""
        return [
            output.prepare(split(trajectory, joints))
            for trajectory in channels
            for joints, output in self._of.items()
            if set(joints) <= set(trajectory.joint_names)
        ]

    def tick(self, now_ns: int) -> None:
        """To be called at the guard's period."""
        for output in self._of.values():
            output.tick(now_ns)

    def catch_up(self, now_ns: int) -> list[int]:
        """Motions whose sets come late are put off; returns by how much, arm and gripper [ns]."""
        return self._arm_and_gripper([o.catch_up(now_ns) for o in self._of.values()], 0)

    def stands(self) -> list[Reference | None]:
        """Where arm and gripper stand that were left alone in mid-stream; it is over then."""
        return self._arm_and_gripper([output.stands() for output in self._of.values()], None)

    @staticmethod
    def _arm_and_gripper(values: list[Any], otherwise: Any) -> list[Any]:
        return [*values, otherwise][:2]

    def busy(self) -> bool:
        """Whether sets are still to be sent."""
        return any(output.busy() for output in self._of.values())

    def end(self) -> None:
        """No set is sent any more; velocity controllers are told to stand."""
        for output in self._of.values():
            output.end()

    def shift(self, step_ns: int) -> None:
        """The clock of the stamps was set by `step_ns` [ns]."""
        for output in self._of.values():
            output.shift(step_ns)

    def listeners(self) -> list[str]:
        """Names of the nodes that take the arm's commands."""
        return next(iter(self._of.values())).listeners()

    def other_commanders(self) -> list[str]:
        """A sentence for every other node that publishes a command; a namesake is another."""
        own, sentences = (self._node.get_name(), self._node.get_namespace()), []
        for output in self._of.values():
            found = self._node.get_publishers_info_by_topic(output.topic)
            others = [(other.node_name, other.node_namespace) for other in found]
            if own in others:
                others.remove(own)
            sentences += [
                f"{namespace.rstrip('/')}/{node} publishes '{output.topic}'"
                for node, namespace in others
            ]
        return sentences
