# SPDX-License-Identifier: MIT
"""Who may stop the arm, and how the guard's commands reach a controller."""

import numpy as np
import pytest
from std_msgs.msg import Bool, Float64MultiArray
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory

from difftori_ros import codecs
from difftori_ros.nodes.node_base import COMMAND_QOS, LATCHED_QOS, STATUS_QOS
from tests.support.fake_policy import ready
from tests.support.fake_robot import HOME

pytestmark = pytest.mark.real_time

LONG = 1.5
"""A plan's length, so that a stop comes in motion [s]."""


@pytest.fixture
def stand(graph):
    """A guard with a long motion under way."""
    graph.rest_within_s = LONG + 0.5
    robot, policy, alive = ready(graph)
    graph.until(
        lambda: len(graph.commands) >= 2,
        each=lambda: (alive(), policy.send(robot.publish(cloud=False), duration_s=LONG)),
    )
    graph.robot, graph.policy, graph.alive = robot, policy, alive
    return graph


def brake_of(graph):
    """The first short command to the arm, which ends the long motion."""

    def short():
        return [m for m in map(codecs.decode_trajectory, graph.commands) if m.times[-1] < 0.5]

    graph.until(lambda: any(len(m.joint_names) == 7 for m in short()), each=graph.alive)


def call(graph, kind, name, **fields):
    return graph.ask(kind, name, kind.Request(**fields), graph.alive)


def test_emergency_stop_brakes_at_once_and_waits_for_release_and_reset(stand):
    button = stand.node.create_publisher(Bool, "emergency_stop", 1)
    stand.until(lambda: button.get_subscription_count() == 1, each=stand.alive)
    button.publish(Bool(data=True))
    brake_of(stand)
    stand.until(lambda: stand.newest("guard_node").get("code") == "ESTOP", each=stand.alive)
    refused = call(stand, Trigger, "guard_node/reset")
    assert not refused.success
    assert "still pressed" in refused.message
    assert stand.newest("guard_node")["code"] == "ESTOP"
    button.publish(Bool(data=False))
    stand.until(
        lambda: stand.newest("guard_node").get("verdict_code") == "FAULT_LATCHED",
        each=lambda: (stand.alive(), stand.policy.send(stand.robot.publish(cloud=False))),
    )
    assert call(stand, Trigger, "guard_node/reset").success
    stand.until(lambda: stand.newest("guard_node")["state"] == "TRACKING", each=stand.alive)


def test_pause_brakes_and_resume_goes_on(stand):
    assert call(stand, SetBool, "guard_node/pause", data=True).success
    brake_of(stand)
    stand.until(lambda: stand.newest("guard_node").get("code") == "PAUSED", each=stand.alive)
    stand.until(
        lambda: stand.newest("guard_node").get("verdict_code") == "PAUSED",
        each=lambda: (stand.alive(), stand.policy.send(stand.robot.publish(cloud=False))),
    )
    stand.after_reset()
    assert call(stand, SetBool, "guard_node/pause", data=False).success
    stand.until(
        lambda: len(stand.commands) >= 2,
        each=lambda: (stand.alive(), stand.policy.send(stand.robot.publish(cloud=False))),
    )


def test_second_commander_is_named_and_latches(stand):
    stand.node.create_publisher(JointTrajectory, "/arm_controller/joint_trajectory", COMMAND_QOS)
    brake_of(stand)
    stand.until(
        lambda: stand.newest("guard_node").get("code") == "SECOND_COMMANDER", each=stand.alive
    )
    assert (
        "/test publishes '/arm_controller/joint_trajectory'"
        in stand.newest("guard_node")["message"]
    )


def test_plan_that_asks_too_much_is_slowed_and_told_to_the_policy(graph):
    graph.rest_within_s = 2.0
    robot, policy, alive = ready(graph)
    changed = []
    graph.node.create_subscription(JointTrajectory, "guard_node/changed", changed.append, 10)
    graph.until(
        lambda: bool(changed) and len(graph.commands) >= 2,
        each=lambda: (
            alive(),
            policy.send(robot.publish(cloud=False), reach=0.6, duration_s=0.4),
        ),
    )
    made = codecs.decode_trajectory(changed[0])
    arm = next(m for m in graph.commands if len(m.joint_names) == 7)
    command = codecs.decode_trajectory(arm)
    assert made.times[-1] > 0.4
    np.testing.assert_array_equal(command.positions, made.positions[:, :7])
    status = next(m for m in graph.status["guard_node"] if "slowed" in m.message)
    values = {pair.key: pair.value for pair in status.values}
    assert values["code"] == "GUARD_ACTIVE"
    assert float(values["amount"]) > 0.0


def test_streamed_positions_follow_the_plan_and_end_where_it_does(graph):
    heard = []
    graph.node.create_subscription(
        Float64MultiArray,
        "/arm_controller/commands",
        lambda message: heard.append(list(message.data)),
        STATUS_QOS,
    )
    robot, policy, alive = ready(graph, output="position", rate_hz=100.0)
    graph.until(
        lambda: bool(heard) and abs(heard[-1][0] - HOME[0] - 0.02) < 1e-9,
        each=lambda: (
            alive(),
            None if heard else policy.send(robot.publish(cloud=False)),
        ),
    )
    first = np.array(heard)[:, 0]
    assert len(heard[0]) == 7
    assert np.abs(np.diff(first)).max() < 0.02
    assert graph.commands == []


@pytest.mark.parametrize("rate_hz", [50.0, 200.0])
def test_streamed_velocities_come_to_zero_before_the_guard_ends(graph, rate_hz):
    heard = []
    graph.node.create_subscription(
        Float64MultiArray,
        "/arm_controller/commands",
        lambda message: heard.append(message.data[0]),
        STATUS_QOS,
    )
    robot, policy, alive = ready(graph, output="velocity", rate_hz=rate_hz)
    graph.until(
        lambda: bool(heard) and heard[-1] > 0.1,
        each=lambda: (
            alive(),
            None if heard else policy.send(robot.publish(cloud=False), reach=0.2, duration_s=LONG),
        ),
    )
    graph.processes["guard_node"].terminate()
    assert graph.exit_status("guard_node") == 0
    graph.until(lambda: heard[-1] == 0.0)
    assert np.diff(heard).min() > -0.5  # it brakes, and is not cut off


def test_emergency_stop_that_was_pressed_before_the_guard_was_started_is_heard(graph):
    button = graph.node.create_publisher(Bool, "emergency_stop", LATCHED_QOS)
    button.publish(Bool(data=True))
    *_, alive = ready(graph)
    graph.until(lambda: graph.newest("guard_node").get("code") == "ESTOP", each=alive)
    assert graph.commands == []


def test_an_output_whose_messages_are_not_installed_is_refused(graph):
    try:
        import control_msgs  # noqa: F401
    except ImportError:
        pass
    else:
        pytest.skip("control_msgs is installed here")
    from difftori_ros.bringup.node_specs import policy_specs

    guard, *_ = policy_specs("pick_cube_state", "panda", guard_parameters={"output": "action"})
    graph.start(guard)
    assert graph.exit_status("guard_node") == 1
    assert "output 'action' needs control_msgs" in graph.log("guard_node")
