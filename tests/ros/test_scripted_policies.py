# SPDX-License-Identifier: MIT
"""What needs no network can be tried first: the same node holds a pose or replays a motion."""

import json

import numpy as np
import pytest
from sensor_msgs.msg import JointState as JointStateMessage

from difftori_ros import codecs
from difftori_ros.bringup.node_specs import policy_specs
from difftori_ros.types import JointState
from tests.support.fake_robot import HOME, PROFILE

TIMES = np.linspace(0.0, 1.0, 21)
FIRST = HOME + np.append(np.eye(7)[0] * 0.3, 0.0)
MOTION = FIRST + 0.2 * np.sin(np.pi * TIMES)[:, None] ** 2 * np.append(np.ones(7), 0.0)


class Arm:
    """An arm that is wherever the newest command wants it to be."""

    def __init__(self, graph, pose):
        self._graph, self.pose = graph, np.array(pose)
        self._joints = graph.node.create_publisher(JointStateMessage, "joint_states", 10)

    def publish(self):
        now_ns = self._graph.node.get_clock().now().nanoseconds
        commands = [codecs.decode_trajectory(message) for message in self._graph.commands[-10:]]
        for command in commands:
            columns = [PROFILE.joint_names.index(name) for name in command.joint_names]
            self.pose[columns] = command.sample(now_ns)[0]
        state = JointState(now_ns, PROFILE.joint_names, self.pose, np.zeros(8))
        message = JointStateMessage()
        codecs.encode_joint_state(state, message)
        self._joints.publish(message)


def start(graph, checkpoint, pose, **parameters):
    # a loaded machine shall not be taken for a fault here
    slow = {"joint_states_max_age_s": 0.5, "planner_timeout_s": 10.0, "deadline_s": 1.0}
    for spec in policy_specs(checkpoint, "panda", parameters=slow | parameters):
        graph.start(spec)
    return Arm(graph, pose)


def test_hold_commands_the_measured_pose_through_the_guard(graph):
    arm = start(graph, "hold", FIRST)
    graph.until(lambda: len(graph.commands) >= 6, each=arm.publish)
    for message in graph.commands:
        command = codecs.decode_trajectory(message)
        columns = [PROFILE.joint_names.index(name) for name in command.joint_names]
        np.testing.assert_allclose(
            command.positions, np.tile(FIRST[columns], (len(command.times), 1)), atol=1e-3
        )
    assert "hold" in graph.log("policy_node")


@pytest.fixture
def recording(tmp_path):
    data = {
        "joint_names": list(PROFILE.joint_names),
        "times": TIMES.tolist(),
        "positions": MOTION.tolist(),
    }
    (tmp_path / "trajectory.json").write_text(json.dumps(data))
    return f"replay:{tmp_path}"


def test_replay_begins_only_near_its_first_point_then_goes_through_and_holds_its_end(
    graph, recording
):
    arm = start(graph, recording, HOME)
    graph.until(lambda: graph.newest("policy_node").get("code") == "START_POSE", each=arm.publish)
    said = graph.newest("policy_node")["message"]
    assert "panda_joint1 is 0.300 rad away from the recording's first point" in said
    assert graph.plans == []
    arm.pose[:7] = FIRST[:7] + 0.01

    def went_through():
        arms = [codecs.decode_trajectory(m) for m in graph.commands if len(m.joint_names) == 7]
        return any(command.positions[:, 0].max() > FIRST[0] + 0.15 for command in arms)

    graph.until(went_through, each=arm.publish)
    graph.until(lambda: np.abs(arm.pose[:7] - MOTION[-1, :7]).max() < 5e-3, each=arm.publish)
    settled = len(graph.plans)
    graph.until(lambda: len(graph.plans) > settled + 5, each=arm.publish)
    np.testing.assert_allclose(arm.pose[:7], MOTION[-1, :7], atol=5e-3)


def test_far_from_home_there_is_no_plan_when_home_is_asked_for(graph):
    arm = start(graph, "hold", FIRST, start_pose_tolerance_rad=0.1)
    graph.until(lambda: graph.newest("policy_node").get("code") == "START_POSE", each=arm.publish)
    assert "home pose" in graph.newest("policy_node")["message"]
    assert graph.plans == []
    arm.pose[:] = HOME
    graph.until(lambda: len(graph.plans) >= 1, each=arm.publish)
