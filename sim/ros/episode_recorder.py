# SPDX-License-Identifier: MIT
"""What a simulated robot and its policy publish: the newest statuses, and a record per episode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path as PathMessage
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image
from trajectory_msgs.msg import JointTrajectory

from difftori_ros import codecs
from difftori_ros.codecs import camera_info as camera_info_codec
from difftori_ros.codecs import image as image_codec
from difftori_ros.nodes.node_base import LATCHED_QOS, STATUS_QOS
from difftori_ros.rigid import pose_to_matrix
from difftori_ros.robot.profile import RobotProfile
from difftori_ros.status.guard_report import GuardReport
from difftori_ros.types import Trajectory


@dataclass
class RosEpisode:
    """One episode, as received from the topics.

    Attributes:
        seed: Its seed.
        success: Whether the task succeeded.
        statuses: Values of `policy_node/status` for every plan, by key.
        actions: Actions of every plan, each (H, A), in physical units.
        commands: Every trajectory that went to a controller.
        command_times_ns: The world's clock when each of them was published [ns]. In lockstep the
            world stands at the command's stamp then; else it is the time at which it was received.
        guard_reports: Every status of the guard.
        stops: Codes of the faults and refusals of the guard.
        views: Pictures for people (H, W, 3) with the path planned when each was taken, (K, 3) [m].
    """

    seed: int
    success: bool = False
    statuses: list[dict[str, str]] = field(default_factory=list)
    actions: list[np.ndarray] = field(default_factory=list)
    commands: list[Trajectory] = field(default_factory=list)
    command_times_ns: list[int] = field(default_factory=list)
    guard_reports: list[GuardReport] = field(default_factory=list)
    stops: set[str] = field(default_factory=set)
    views: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)


class EpisodeRecorder:
    """Subscribes to the topics of one simulated robot.

    Attributes:
        policy: Values of the last `policy_node/status`, by key.
        guard: The last status of the guard; None before there was one.
        bridge: Values of the last `sim_bridge/episode`, by key.
        current: The record of the episode that runs, or of the last one.
        now_ns: The world's clock [ns].
        on_plan: Called with the values of the policy's status after every new plan.
    """

    def __init__(self, node: Node, profile: RobotProfile, lockstep: bool) -> None:
        """Subscribe; `lockstep` says that the world stands at a command's stamp."""
        self._lockstep = lockstep
        self.policy: dict[str, str] = {}
        self.guard: GuardReport | None = None
        self.bridge: dict[str, str] = {}
        self.current: RosEpisode | None = None
        self.now_ns = 0
        self.on_plan: Callable[[dict[str, str]], None] = lambda values: None
        self._view_matrix: np.ndarray | None = None
        self._base_from_view: np.ndarray | None = None
        self._path = np.zeros((0, 3))
        subscribe = node.create_subscription
        subscribe(Clock, "/clock", self._on_clock, STATUS_QOS)
        subscribe(DiagnosticStatus, "policy_node/status", self._on_policy, STATUS_QOS)
        subscribe(DiagnosticStatus, "guard_node/status", self._on_guard, STATUS_QOS)
        subscribe(DiagnosticStatus, "sim_bridge/episode", self._on_episode, LATCHED_QOS)
        subscribe(JointTrajectory, "policy_node/actions", self._on_actions, STATUS_QOS)
        subscribe(PathMessage, "policy_node/path", self._on_path, STATUS_QOS)
        subscribe(Image, "sim_bridge/view/image_raw", self._on_view, STATUS_QOS)
        subscribe(CameraInfo, "sim_bridge/view/camera_info", self._on_view_info, STATUS_QOS)
        subscribe(PoseStamped, "sim_bridge/view/pose", self._on_view_pose, LATCHED_QOS)
        topics = [profile.topic]
        topics += [profile.gripper.topic] if profile.gripper else []
        for topic in topics:
            subscribe(JointTrajectory, topic, self._on_command, STATUS_QOS)

    def begin(self, seed: int) -> RosEpisode:
        """What comes from now on is of the episode of `seed`."""
        self.current, self._path = RosEpisode(seed), np.zeros((0, 3))
        return self.current

    def _on_clock(self, message: Clock) -> None:
        self.now_ns = codecs.stamp_to_ns(message.clock)

    def _on_policy(self, message: DiagnosticStatus) -> None:
        values = _values(message)
        fresh = values.get("stamp_ns") != self.policy.get("stamp_ns")
        self.policy = values
        if fresh and self.current is not None and "plan_ms" in values:
            self.current.statuses.append(values)
            self.on_plan(values)

    def _on_guard(self, message: DiagnosticStatus) -> None:
        self.guard = report = GuardReport.from_status(message)
        if self.current is not None:
            self.current.guard_reports.append(report)
            if report.state.has_stopped_the_arm:
                self.current.stops.add(report.reason.name)
            if report.verdict is not None and not report.verdict.accepted:
                self.current.stops.add(report.verdict.reason.name)

    def _on_episode(self, message: DiagnosticStatus) -> None:
        self.bridge = _values(message)

    def _on_actions(self, message: JointTrajectory) -> None:
        if self.current is not None:
            self.current.actions.append(codecs.decode_trajectory(message).positions)

    def _on_command(self, message: JointTrajectory) -> None:
        if self.current is not None:
            command = codecs.decode_trajectory(message)
            self.current.commands.append(command)
            at_ns = command.stamp_ns if self._lockstep else self.now_ns
            self.current.command_times_ns.append(at_ns)

    def _on_path(self, message: PathMessage) -> None:
        points = [pose.pose.position for pose in message.poses]
        self._path = np.array([[p.x, p.y, p.z] for p in points]).reshape(-1, 3)

    def _on_view_info(self, message: CameraInfo) -> None:
        self._view_matrix = camera_info_codec.decode_camera_info(message).k

    def _on_view_pose(self, message: PoseStamped) -> None:
        self._base_from_view = pose_to_matrix(codecs.decode_pose(message).pose)

    def _on_view(self, message: Image) -> None:
        if self.current is not None:
            self.current.views.append((image_codec.decode_image(message).copy(), self._path))

    @property
    def view_projection(self) -> np.ndarray | None:
        """Projection (3, 4) from the base frame to pixels of the pictures, once known."""
        if self._view_matrix is None or self._base_from_view is None:
            return None
        return self._view_matrix @ np.linalg.inv(self._base_from_view)[:3]


def _values(message: DiagnosticStatus) -> dict[str, str]:
    return {pair.key: pair.value for pair in message.values} | {"message": message.message}
