# SPDX-License-Identifier: MIT
"""Operates a simulated robot: starts its processes, and runs and records episodes by seed."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path as PathMessage
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from difftori_ros import bringup, codecs
from difftori_ros.codecs import camera_info as camera_info_codec
from difftori_ros.codecs import image as image_codec
from difftori_ros.errors import DifftoriError
from difftori_ros.nodes.node_base import LATCHED_QOS, STATUS_QOS
from difftori_ros.rigid import pose_to_matrix
from difftori_ros.robot.profile import load_profile
from difftori_ros.status.guard_report import GuardReport
from difftori_ros.types import Trajectory

from .isolated_domain import isolate_domain
from .service_retry import RetriedRequest

START_S = 120.0
"""Time the processes get to come up: loading, rendering for the first time, warming up [s]."""
ANSWER_S = 60.0
"""Time a service may take to be there, and to answer [s]."""
PATIENCE_S = 15.0
"""Time the policy may go without a usable observation before that is an error [s]."""
EPISODE_S = 300.0
"""Time an episode may take [s, steady clock]."""


class OperatorError(DifftoriError, RuntimeError):
    """The processes do not do their work; the message says which one and what it said last."""


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


class Operator:
    """Runs the simulated robot and the robot side as processes; use as a context manager."""

    def __init__(
        self,
        checkpoint: str,
        robot: str = "panda",
        clock: str = "lockstep",
        *,
        policy_parameters: Mapping[str, Any] | None = None,
        bridge_parameters: Mapping[str, Any] | None = None,
        remaps: Mapping[str, str] | None = None,
        logs: Path | None = None,
        domain: int | None = None,
    ):
        isolate_domain(domain)
        self.domain = os.environ["ROS_DOMAIN_ID"]
        self._logs = logs or Path(tempfile.mkdtemp(prefix="difftori_logs_"))
        self._logs.mkdir(parents=True, exist_ok=True)
        # what a guard holds outlives it, but not a simulated robot
        self._home = tempfile.TemporaryDirectory(prefix="difftori_home_")
        self._specs = bringup.sim_specs(
            checkpoint,
            robot,
            clock,
            parameters={"start": False} | dict(bridge_parameters or {}),
            policy_parameters=policy_parameters,
            remaps=remaps,
        )
        self.profile, self._lockstep = load_profile(robot), clock == "lockstep"
        self.processes: dict[str, subprocess.Popen[Any]] = {}
        self._context = Context()
        rclpy.init(context=self._context)
        self.node = rclpy.create_node("operator", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.policy: dict[str, str] = {}
        self.guard: GuardReport | None = None
        self.episode: dict[str, str] = {}
        self.current: RosEpisode | None = None
        self.now_ns = 0
        self._clients: dict[str, Any] = {}
        self._view_matrix: np.ndarray | None = None
        self._base_from_view: np.ndarray | None = None
        self._path = np.zeros((0, 3))
        self.on_plan: Callable[[dict[str, str]], None] = lambda values: None
        self._subscribe()

    def __enter__(self) -> Operator:
        """Start the processes and wait until the policy is active."""
        try:
            for spec in self._specs:
                with (self._logs / f"{spec.name}.log").open("wb") as log:
                    self.processes[spec.name] = bringup.start(
                        spec,
                        {"ROS_HOME": self._home.name},
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
            self.wait(
                lambda: (
                    bool(self.policy)
                    and self.policy["code"] != "STOPPED"
                    and self.guard is not None
                    and bool(self.episode)
                ),
                START_S,
                "the processes to come up",
            )
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> list[int]:
        """End every process; return their exit statuses in the order they were started."""
        codes = bringup.stop(list(self.processes.values()))
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()
        self._home.cleanup()
        return codes

    def run(self, seed: int, view: bool = False) -> RosEpisode:
        """Run the episode of `seed` to its end.

        Raises:
            OperatorError: A process ended, or the episode took too long.
        """
        self.begin(seed, view)
        self.wait(
            lambda: self.episode.get("state") in ("success", "failed"), EPISODE_S, "the episode"
        )
        assert self.current is not None
        episode = self.current
        # what was sent before the end may be handled after it: topics are not ordered
        channels = 2 if self.profile.gripper else 1
        followed = int(self.episode["commands"])
        self.wait(
            lambda: (
                len(episode.commands) >= followed
                and min(len(episode.actions), len(episode.statuses)) * channels >= followed
            ),
            10.0,
            "the last messages of the episode",
        )
        self.current.success = self.episode["state"] == "success"
        return self.current

    def begin(self, seed: int, view: bool = False) -> None:
        """Start the episode of `seed` and return at once."""
        self.trigger("policy_node/reset")
        self.trigger("guard_node/reset")
        self.set_bridge(seed=seed, view=view)
        self.current = RosEpisode(seed)
        self._path = np.zeros((0, 3))
        before = self.episode.get("start_ns")
        # requested once, or the episode would begin twice; that it has begun is the answer
        self._client(Trigger, "sim_bridge/reset").call_async(Trigger.Request())
        self.wait(
            lambda: self.episode["start_ns"] != before and self.episode["seed"] == str(seed),
            ANSWER_S,
            "the episode to start",
        )

    def wait(self, done: Callable[[], bool], limit_s: float, what: str) -> None:
        """Spin until `done()`.

        Raises:
            OperatorError: It did not come true in time, or a process ended.
        """
        deadline = time.monotonic() + limit_s
        usable_s = time.monotonic()
        while not done():
            self.spin()
            if self.policy.get("code", "OK") in (
                "OK",
                "STOPPED",
                "WAITING",
                "MISSING",
                "IK_FAILED",
            ):
                usable_s = time.monotonic()
            elif time.monotonic() - usable_s > PATIENCE_S:
                raise OperatorError(f"policy_node: {self.policy['message']}")
            for name, process in self.processes.items():
                if process.poll() is not None:
                    raise OperatorError(self.last_error(name))
            if time.monotonic() > deadline:
                guard = self.guard.reason.name if self.guard else None
                raise OperatorError(
                    f"waited {limit_s:g} s for {what}; policy: {self.policy.get('code')}, "
                    f"guard: {guard}, episode: {self.episode.get('state')}"
                )

    def spin(self, timeout_s: float = 0.05) -> None:
        """Handle what has arrived."""
        self._executor.spin_once(timeout_sec=timeout_s)

    def last_error(self, name: str) -> str:
        """The last error that a process logged, as one sentence."""
        lines = (self._logs / f"{name}.log").read_text(errors="replace").splitlines()
        errors = [k for k, line in enumerate(lines) if "[ERROR]" in line]
        if errors:
            text = [lines[errors[-1]].split("]: ", 1)[-1]]
            for line in lines[errors[-1] + 1 :]:
                if line.startswith("[") or line.startswith("Traceback"):
                    break
                text.append(line)
            return "\n".join(text)
        how = bringup.how_it_ended(self.processes[name].returncode)
        return f"{name} {how}; its log: {self._logs / name}.log"

    # services ------------------------------------------------------------------------------------

    def trigger(self, service: str) -> str:
        """Call a Trigger service and return its message."""
        return self._call(Trigger, service, Trigger.Request()).message

    def set_bridge(self, **values: int | bool) -> None:
        """Set live parameters of the bridge."""
        parameters: list[Parameter] = []
        for name, value in values.items():
            boolean = isinstance(value, bool)
            kind = ParameterType.PARAMETER_BOOL if boolean else ParameterType.PARAMETER_INTEGER
            given = ParameterValue(type=kind)
            if boolean:
                given.bool_value = bool(value)
            else:
                given.integer_value = int(value)
            parameters.append(Parameter(name=name, value=given))
        request = SetParameters.Request(parameters=parameters)
        for result in self._call(SetParameters, "sim_bridge/set_parameters", request).results:
            if not result.successful:
                raise OperatorError(f"sim_bridge refused {values}: {result.reason}")

    def _client(self, kind: Any, service: str) -> Any:
        """The client of a service that is ready; it stays, so that it is discovered once."""
        if service not in self._clients:
            self._clients[service] = self.node.create_client(kind, service)
        client = self._clients[service]
        self.wait(client.service_is_ready, ANSWER_S, f"service {service}")
        return client

    def _call(self, kind: Any, service: str, request: Any) -> Any:
        pending = RetriedRequest(self._client(kind, service), request)
        self.wait(pending.done, ANSWER_S, f"an answer from {service}")
        return pending.result()

    # topics --------------------------------------------------------------------------------------

    def _subscribe(self) -> None:
        subscribe = self.node.create_subscription
        subscribe(Clock, "/clock", self._on_clock, STATUS_QOS)
        subscribe(DiagnosticStatus, "policy_node/status", self._on_policy, STATUS_QOS)
        subscribe(DiagnosticStatus, "guard_node/status", self._on_guard, STATUS_QOS)
        subscribe(DiagnosticStatus, "sim_bridge/episode", self._on_episode, LATCHED_QOS)
        subscribe(JointTrajectory, "policy_node/actions", self._on_actions, STATUS_QOS)
        subscribe(PathMessage, "policy_node/path", self._on_path, STATUS_QOS)
        subscribe(Image, "sim_bridge/view/image_raw", self._on_view, STATUS_QOS)
        subscribe(CameraInfo, "sim_bridge/view/camera_info", self._on_view_info, STATUS_QOS)
        subscribe(PoseStamped, "sim_bridge/view/pose", self._on_view_pose, LATCHED_QOS)
        topics = [self.profile.topic]
        topics += [self.profile.gripper.topic] if self.profile.gripper else []
        for topic in topics:
            subscribe(JointTrajectory, topic, self._on_command, STATUS_QOS)

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
        self.episode = _values(message)

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
