# SPDX-License-Identifier: MIT
"""A small graph for tests: node processes of ours, and one node in the test that talks to them."""

import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from rcl_interfaces.srv import GetParameters
from rclpy.executors import SingleThreadedExecutor
from trajectory_msgs.msg import JointTrajectory

from difftori_ros import bringup, codecs
from difftori_ros.nodes.node_base import COMMAND_QOS, STATUS_QOS
from difftori_ros.robot.profile import load_profile
from difftori_ros.status.guard_report import GuardReport
from difftori_sim.ros.service_retry import RetriedRequest
from tests.support.promises import REST_WITHIN_S, assert_promises


class Graph:
    """Processes under test and what they say; P1 to P4 are checked when the test ends."""

    rest_within_s = REST_WITHIN_S

    def __init__(self, environment: dict[str, str], folder: Path):
        self.environment, self._folder = environment, folder
        self.processes: dict[str, subprocess.Popen] = {}
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=int(environment["ROS_DOMAIN_ID"]))
        self.node = rclpy.create_node("test", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.status: dict[str, list[DiagnosticStatus]] = {"policy_node": [], "guard_node": []}
        self.plans: list[JointTrajectory] = []
        self.commands: list[JointTrajectory] = []
        self.published_ns: list[int] = []
        self._known: dict[tuple[str, int], Any] = {}
        subscribe = self.node.create_subscription
        for name, heard in self.status.items():
            subscribe(DiagnosticStatus, f"{name}/status", heard.append, STATUS_QOS)
        subscribe(JointTrajectory, "policy_node/plan", self.plans.append, COMMAND_QOS)
        for channel in ("arm", "gripper"):
            topic = f"/{channel}_controller/joint_trajectory"
            subscribe(JointTrajectory, topic, self._on_command, STATUS_QOS)

    def _on_command(self, message: JointTrajectory, info: dict[str, int]) -> None:
        self.commands.append(message)
        self.published_ns.append(self.node.get_clock().now().nanoseconds - late_ns(info))

    def assert_promises(self) -> None:
        """P1 to P4 hold for everything that was heard."""
        assert_promises(
            [codecs.decode_trajectory(message) for message in self.commands],
            self.published_ns,
            self.reports(),
            load_profile("panda"),
            rest_within_s=self.rest_within_s,
        )

    def after_reset(self) -> None:
        """The guard has been reset: what it commands now joins nothing from before."""
        self.assert_promises()
        self.commands.clear()
        self.published_ns.clear()

    def start(self, spec: bringup.NodeSpec) -> None:
        with (self._folder / f"{spec.name}.log").open("wb") as log:
            self.processes[spec.name] = bringup.start(
                spec,
                self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def log(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text(errors="replace")

    def spin(self) -> None:
        """Handle what is there; one at a time would fall behind what a test itself sends."""
        self._executor.spin_once(timeout_sec=0.05)
        for _ in range(20):
            self._executor.spin_once(timeout_sec=0.0)

    def until(self, done, limit_s: float = 60.0, each=None) -> None:
        """Spin until `done()`; fail with the logs when it does not come true in time."""
        end = time.monotonic() + limit_s
        while not done():
            self.spin()
            if each is not None:
                each()
            logs = "\n".join(f"--- {name}\n{self.log(name)[-2000:]}" for name in self.processes)
            assert time.monotonic() < end, f"not within {limit_s} s\n{logs}"

    def reports(self) -> list[GuardReport]:
        """What the guard has said."""
        return [GuardReport.from_status(message) for message in self.status["guard_node"]]

    def newest(self, name: str) -> dict[str, str]:
        """Values of the newest status of a node, with its sentence under `message`."""
        if not self.status[name]:
            return {}
        return values_of(self.status[name][-1])

    def ask(self, kind, name: str, request, each=None):
        """The answer of the service `node/what` of a process; it is asked once."""
        node = name.partition("/")[0]
        key = (name, self.processes[node].pid)
        if key not in self._known:
            self._known[key] = self.node.create_client(kind, name)
            # a server loses its answers to a client that it has not discovered; they are
            # discovered in order: when it answers one that was made later it knows this one
            later = self.node.create_client(GetParameters, f"{node}/get_parameters")
            self.until(later.service_is_ready, each=each)
            pending = RetriedRequest(later, GetParameters.Request(), 1.0)
            self.until(pending.done, each=each)
            self.node.destroy_client(later)
        client = self._known[key]
        self.until(client.service_is_ready, each=each)
        answer = client.call_async(request)
        self.until(answer.done, each=each)
        return answer.result()

    def exit_status(self, name: str, limit_s: float = 60.0) -> int:
        return self.processes[name].wait(limit_s)

    def close(self) -> list[int]:
        codes = bringup.stop(list(self.processes.values()))
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()
        return codes


def late_ns(info: dict[str, int]) -> int:
    """How long ago a message was published [ns], which this process may be busy to hear."""
    return time.time_ns() - info["source_timestamp"]


def values_of(message: DiagnosticStatus) -> dict[str, str]:
    return {pair.key: pair.value for pair in message.values} | {"message": message.message}


@pytest.fixture
def graph(ros_env, tmp_path):
    """An empty graph on a domain of its own."""
    made = Graph(ros_env, tmp_path)
    yield made
    made.close()
    made.assert_promises()
