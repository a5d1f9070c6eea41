# SPDX-License-Identifier: MIT
"""A guard that is started again goes on with nothing by itself: one order is needed."""

import signal
from pathlib import Path

import pytest
from std_msgs.msg import Bool
from std_srvs.srv import SetBool, Trigger

from difftori_ros import codecs
from tests.support.fake_policy import ready, start_guard

pytestmark = pytest.mark.real_time

LONG = 1.5
"""A plan's length, so that a stop comes in motion [s]."""


@pytest.fixture(autouse=True)
def long_plans(graph):
    """The plans of these tests are longer than a checkpoint's."""
    graph.rest_within_s = LONG + 0.5


@pytest.fixture
def moving(graph):
    """A guard with a long motion under way."""
    graph.robot, graph.policy, graph.alive = ready(graph)
    send(graph, lambda: len(graph.commands) >= 2)
    return graph


def send(graph, done):
    """Plans are sent until something has come true."""
    graph.until(
        done,
        each=lambda: (
            graph.alive(),
            graph.policy.send(graph.robot.publish(cloud=False), duration_s=LONG),
        ),
    )


def kill_and_start(graph):
    """The guard is killed, and another one has spoken."""
    graph.processes["guard_node"].kill()
    graph.exit_status("guard_node")
    start_guard(graph)
    graph.until(lambda: "guarding" in graph.log("guard_node"))
    graph.assert_promises()
    graph.commands.clear()
    graph.published_ns.clear()
    graph.status["guard_node"].clear()
    graph.until(lambda: bool(graph.status["guard_node"]), each=graph.alive)


def code(graph):
    return graph.newest("guard_node").get("code")


def assert_goes_on_after(graph, kind, name, **fields):
    """One order is enough, and nothing was commanded before it."""
    send(graph, lambda: graph.newest("guard_node").get("verdict") == "refused")
    assert graph.commands == []
    assert graph.ask(kind, name, kind.Request(**fields), graph.alive).success
    send(graph, lambda: len(graph.commands) >= 2)


def test_guard_that_is_killed_in_motion_and_started_again_waits_for_a_reset(moving):
    kill_and_start(moving)
    moving.until(lambda: code(moving) == "RESTARTED", each=moving.alive)
    assert moving.newest("guard_node")["state"] == "FAULT"
    assert_goes_on_after(moving, Trigger, "guard_node/reset")


def test_guard_that_is_started_again_beside_a_policy_that_has_stopped_waits_for_nothing(moving):
    moving.policy.code = "STOPPED"
    moving.until(lambda: code(moving) == "WAITING", each=moving.alive)
    kill_and_start(moving)
    moving.until(lambda: len(moving.status["guard_node"]) > 10, each=moving.alive)
    assert (code(moving), moving.newest("guard_node")["state"]) == ("WAITING", "TRACKING")


def test_emergency_stop_outlives_the_guard_that_was_told_of_it(moving):
    button = moving.node.create_publisher(Bool, "emergency_stop", 1)
    moving.until(lambda: button.get_subscription_count() == 1, each=moving.alive)
    button.publish(Bool(data=True))
    moving.until(lambda: code(moving) == "ESTOP", each=moving.alive)
    kill_and_start(moving)
    assert (code(moving), moving.newest("guard_node")["state"]) == ("ESTOP", "FAULT")
    assert "held since before this start" in moving.log("guard_node")
    assert_goes_on_after(moving, Trigger, "guard_node/reset")


def test_pause_outlives_the_guard_that_was_told_of_it(moving):
    assert moving.ask(SetBool, "guard_node/pause", SetBool.Request(data=True)).success
    kill_and_start(moving)
    assert (code(moving), moving.newest("guard_node")["state"]) == ("PAUSED", "INACTIVE")
    assert_goes_on_after(moving, SetBool, "guard_node/pause", data=False)


def test_latch_that_cannot_be_read_is_a_fault_that_names_the_file(graph):
    folder = Path(graph.environment["ROS_HOME"]) / "difftori"
    folder.mkdir()
    (folder / "guard_node.json").write_text("{")
    graph.robot, graph.policy, graph.alive = ready(graph)
    assert code(graph) == "FAULT_LATCHED"
    assert "guard_node.json is damaged" in graph.newest("guard_node")["message"]
    assert_goes_on_after(graph, Trigger, "guard_node/reset")
    assert not (folder / "guard_node.json").exists()


def test_guard_that_is_started_before_any_plan_goes_on_by_itself(graph):
    graph.robot, graph.policy, graph.alive = ready(graph)
    send(graph, lambda: len(graph.commands) >= 2)
    assert graph.newest("guard_node")["state"] == "TRACKING"


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_guard_that_is_told_to_end_in_motion_brakes_first(moving, number):
    moving.processes["guard_node"].send_signal(number)
    assert moving.exit_status("guard_node") == 0

    def brakes():
        commands = [codecs.decode_trajectory(message) for message in moving.commands]
        return [c for c in commands if len(c.joint_names) == 7 and c.times[-1] < 0.5]

    moving.until(lambda: bool(brakes()))
