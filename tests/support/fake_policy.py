# SPDX-License-Identifier: MIT
"""A policy that sends one simple plan after another, and a guard in front of a robot at rest."""

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from difftori_ros import codecs
from difftori_ros.bringup.node_specs import policy_specs
from difftori_ros.nodes.node_base import COMMAND_QOS, STATUS_QOS, status_message
from difftori_ros.types import Trajectory
from tests.support.fake_robot import HOME, PROFILE, FakeRobot


class FakePolicy:
    """Sends plans and heartbeats as the policy node does."""

    def __init__(self, graph):
        self._graph = graph
        self._plan = graph.node.create_publisher(JointTrajectory, "policy_node/plan", COMMAND_QOS)
        self._status = graph.node.create_publisher(
            DiagnosticStatus, "policy_node/status", STATUS_QOS
        )
        self._since_ns = 0
        self.code = "OK"

    def beat(self):
        values = {"code": self.code, "plans_since_ns": str(self._since_ns)}
        self._status.publish(status_message("policy_node", 0, "", values))

    def send(self, stamp_ns, *, reach=0.02, last_velocity=0.0, duration_s=0.4):
        """A move of the first joint by `reach` and back to rest."""
        times = np.linspace(0.0, duration_s, 21)
        phase = times / duration_s
        positions = np.tile(HOME, (21, 1))
        velocities = np.zeros_like(positions)
        positions[:, 0] += reach * (3 * phase**2 - 2 * phase**3)
        velocities[:, 0] = reach * (6 * phase - 6 * phase**2) / duration_s
        velocities[-1, 0] = last_velocity
        message = JointTrajectory()
        codecs.encode_trajectory(
            Trajectory(stamp_ns, PROFILE.joint_names, times, positions, velocities),
            message,
            JointTrajectoryPoint,
        )
        self._since_ns = self._since_ns or stamp_ns
        self._plan.publish(message)


def start_guard(graph, **parameters):
    """A guard is started; an earlier one must have ended."""
    guard, *_ = policy_specs("pick_cube_state", "panda", guard_parameters=parameters)
    graph.start(guard)


def ready(graph, **parameters):
    """The guard runs, and hears a robot at rest and a policy that lives."""
    start_guard(graph, **parameters)
    robot, policy = FakeRobot(graph.node), FakePolicy(graph)

    def alive():
        robot.publish(cloud=False)
        policy.beat()

    graph.until(lambda: bool(graph.status["guard_node"]), each=alive)
    return robot, policy, alive
