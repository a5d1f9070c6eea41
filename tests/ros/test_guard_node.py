# SPDX-License-Identifier: MIT
"""The guard's process passes on what is valid and names what it refuses."""

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from difftori_ros import codecs
from difftori_ros.base_node import COMMAND_QOS, STATUS_QOS, status_message
from difftori_ros.bringup import policy_specs
from difftori_ros.types import Trajectory
from tests.promises import assert_valid
from tests.ros.fake_robot import HOME, PROFILE, FakeRobot


class FakePolicy:
    """Sends plans and heartbeats as the policy node does."""

    def __init__(self, graph):
        self._graph = graph
        self._plan = graph.node.create_publisher(JointTrajectory, "policy_node/plan", COMMAND_QOS)
        self._status = graph.node.create_publisher(
            DiagnosticStatus, "policy_node/status", STATUS_QOS
        )

    def beat(self):
        self._status.publish(status_message("policy_node", 0, "", {"code": "OK"}))

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
        self._plan.publish(message)


def ready(graph):
    guard, _ = policy_specs("pick_cube_state", "panda")
    graph.start(guard)
    robot, policy = FakeRobot(graph.node), FakePolicy(graph)

    def alive():
        robot.publish(cloud=False)
        policy.beat()

    graph.until(lambda: bool(graph.status["guard_node"]), each=alive)
    return robot, policy, alive


def test_valid_plan_reaches_both_controllers_unchanged(graph):
    robot, policy, alive = ready(graph)
    graph.until(
        lambda: len(graph.commands) >= 2,
        each=lambda: (alive(), policy.send(robot.publish(cloud=False))),
    )
    arm = next(m for m in graph.commands if len(m.joint_names) == 7)
    command = codecs.decode_trajectory(arm)
    assert_valid(command, PROFILE)
    assert command.positions[-1][0] == np.float64(HOME[0] + 0.02)
    assert graph.newest("guard_node")["state"] == "TRACKING"


def test_plan_with_a_nan_is_refused_by_name_and_nothing_is_commanded(graph):
    robot, policy, alive = ready(graph)
    graph.until(
        lambda: graph.newest("guard_node").get("verdict_code") == "NON_FINITE",
        each=lambda: (alive(), policy.send(robot.publish(cloud=False), reach=float("nan"))),
    )
    assert graph.commands == []


def test_plan_that_does_not_end_at_rest_is_refused_by_name(graph):
    robot, policy, alive = ready(graph)
    graph.until(
        lambda: graph.newest("guard_node").get("verdict_code") == "NOT_AT_REST",
        each=lambda: (alive(), policy.send(robot.publish(cloud=False), last_velocity=0.1)),
    )
    assert graph.commands == []


def test_silent_policy_is_named_the_arm_braked_and_the_fault_latched_until_reset(graph):
    graph.rest_within_s = 2.5  # the plan of this test is longer than a checkpoint's
    from std_srvs.srv import Trigger

    robot, policy, alive = ready(graph)
    graph.until(
        lambda: len(graph.commands) >= 2,
        each=lambda: (alive(), policy.send(robot.publish(cloud=False), duration_s=2.0)),
    )
    heard = len(graph.commands)
    graph.until(
        lambda: graph.newest("guard_node").get("code") == "POLICY_LOST",
        each=lambda: robot.publish(cloud=False),
    )
    graph.until(lambda: len(graph.commands) > heard, each=lambda: robot.publish(cloud=False))
    brake = codecs.decode_trajectory(graph.commands[-1])
    assert np.all(brake.velocities[-1] == 0.0)
    graph.until(
        lambda: graph.newest("guard_node").get("verdict_code") == "FAULT_LATCHED",
        each=lambda: (alive(), policy.send(robot.publish(cloud=False))),
    )
    client = graph.node.create_client(Trigger, "guard_node/reset")
    graph.until(client.service_is_ready)
    answer = client.call_async(Trigger.Request())
    graph.until(answer.done, each=alive)
    graph.after_reset()
    graph.until(
        lambda: len(graph.commands) >= 2,
        each=lambda: (alive(), policy.send(robot.publish(cloud=False))),
    )
