# SPDX-License-Identifier: MIT
"""The policy node obeys its lifecycle, and survives being asked for what is impossible."""

import hashlib
import signal
import time
from pathlib import Path

import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter

from difftori_ros.bringup.node_specs import policy_specs
from difftori_ros.config.paths import checkpoint_dir, config_dir
from tests.support.fake_robot import FakeRobot

pytestmark = pytest.mark.real_time


def start(graph, autostart=True, remaps=None, **parameters):
    _, policy = policy_specs(
        "pick_cube_state",
        "panda",
        config_file=config_dir() / "sim.yaml",
        parameters={"autostart": autostart} | parameters,
        remaps=remaps,
    )
    graph.start(policy)
    return FakeRobot(graph.node)


def call(graph, kind, name, request, each=None):
    return graph.ask(kind, f"policy_node/{name}", request, each)


def change(graph, transition, each=None):
    request = ChangeState.Request(transition=Transition(id=transition))
    return call(graph, ChangeState, "change_state", request, each).success


def activate(graph, robot):
    """Ask until it is possible: the topics must have been discovered."""
    end = time.monotonic() + 20.0
    while not change(graph, Transition.TRANSITION_ACTIVATE, robot.publish):
        assert time.monotonic() < end, graph.log("policy_node")[-2000:]


def set_parameters(graph, robot, **values):
    """Reasons for which each was refused; empty where it was not."""
    wanted = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
    request = SetParameters.Request(parameters=wanted)
    answer = call(graph, SetParameters, "set_parameters", request, robot.publish)
    assert [bool(one.reason) for one in answer.results] == [
        not one.successful for one in answer.results
    ]
    return [one.reason for one in answer.results]


def state(graph):
    return call(graph, GetState, "get_state", GetState.Request()).current_state.label


def test_impossible_transition_is_answered_with_no_and_the_node_lives_on(graph):
    start(graph, autostart=False)
    assert change(graph, Transition.TRANSITION_ACTIVATE) is False
    assert state(graph) == "unconfigured"
    assert change(graph, Transition.TRANSITION_CONFIGURE) is True
    assert state(graph) == "inactive"


def test_no_plan_is_published_before_activation_or_after_deactivation(graph):
    robot = start(graph, autostart=False)
    assert change(graph, Transition.TRANSITION_CONFIGURE, robot.publish)
    assert graph.plans == []
    activate(graph, robot)
    graph.until(lambda: len(graph.plans) >= 2, each=robot.publish)
    assert change(graph, Transition.TRANSITION_DEACTIVATE, robot.publish)
    heard = len(graph.plans)
    beats = len(graph.status["policy_node"])
    # ten heartbeats later anything that had been sent would have arrived
    graph.until(lambda: len(graph.status["policy_node"]) > beats + 10, each=robot.publish)
    assert len(graph.plans) == heard
    assert graph.newest("policy_node")["code"] == "STOPPED"


def test_node_comes_back_after_cleanup(graph):
    robot = start(graph)
    graph.until(lambda: len(graph.plans) >= 1, each=robot.publish)
    for transition in (
        Transition.TRANSITION_DEACTIVATE,
        Transition.TRANSITION_CLEANUP,
        Transition.TRANSITION_CONFIGURE,
        Transition.TRANSITION_ACTIVATE,
    ):
        assert change(graph, transition, robot.publish) is True
    heard = len(graph.plans)
    graph.until(lambda: len(graph.plans) > heard, each=robot.publish)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_the_process_with_status_zero_within_two_seconds(graph, number):
    robot = start(graph)
    graph.until(lambda: len(graph.plans) >= 1, each=robot.publish)
    began = time.monotonic()
    graph.processes["policy_node"].send_signal(number)
    assert graph.exit_status("policy_node", 10.0) == 0
    assert time.monotonic() - began < 2.0
    graph.until(lambda: graph.newest("policy_node").get("code") == "STOPPED")
    assert "Traceback" not in graph.log("policy_node")


def test_summary_names_topics_rates_joints_and_the_checkpoint_hash(graph):
    robot = start(graph)
    graph.until(lambda: len(graph.plans) >= 1, each=robot.publish)
    log = graph.log("policy_node")
    weights = (checkpoint_dir() / "pick_cube_state" / "weights.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() in log
    for words in ("sha256", "in: joint_states", "20 Hz actions", "joint: panda_joint1", "rad/s^2"):
        assert words in log


def test_dry_run_plans_and_sends_nothing(graph):
    robot = start(graph, dry_run=True)
    graph.until(lambda: "plan_ms" in graph.newest("policy_node"), each=robot.publish)
    assert graph.plans == []


def test_activation_is_refused_with_every_stream_that_nobody_publishes(graph):
    _, policy = policy_specs(
        "pick_cube_state",
        "panda",
        config_file=config_dir() / "sim.yaml",
        parameters={"autostart": False},
        remaps={"goal": "/nowhere", "object": "/neither"},
    )
    graph.start(policy)
    robot = FakeRobot(graph.node)
    assert change(graph, Transition.TRANSITION_CONFIGURE, robot.publish)
    assert change(graph, Transition.TRANSITION_ACTIVATE, robot.publish) is False
    assert state(graph) == "inactive"
    log = graph.log("policy_node")
    assert "nobody publishes '/nowhere' (geometry_msgs/msg/PoseStamped)" in log
    assert "nobody publishes '/neither'" in log
    assert "Traceback" not in log
    assert graph.plans == []


def test_activation_is_refused_when_nobody_listens_to_the_plans_unless_it_is_a_dry_run(graph):
    robot = start(graph, remaps={"~/plan": "/unheard"})
    graph.until(
        lambda: "nobody listens to '/unheard'" in graph.newest("policy_node").get("message", ""),
        each=robot.publish,
    )
    assert graph.newest("policy_node")["code"] == "MISSING"
    assert state(graph) == "inactive"
    assert set_parameters(graph, robot, dry_run=True) == [""]
    graph.until(lambda: "plan_ms" in graph.newest("policy_node"), each=robot.publish)
    assert state(graph) == "active"


def test_live_parameters_are_taken_while_running_and_wrong_ones_refused_with_a_reason(graph):
    robot = start(graph)
    graph.until(lambda: len(graph.plans) >= 1, each=robot.publish)
    reasons = set_parameters(
        graph,
        robot,
        deadline_s=99.0,
        joint_states_max_age_s=float("nan"),
        refine="perhaps",
        checkpoint="hold",
        nonsense=1,
    )
    assert all(reasons)
    assert "deadline_s" in reasons[0]
    assert "read-only" in reasons[3]
    heard = len(graph.plans)
    graph.until(lambda: len(graph.plans) > heard, each=robot.publish)
    assert graph.newest("policy_node")["plan"] == "REFINED"
    assert set_parameters(graph, robot, refine=False, deadline_s=0.2) == ["", ""]
    graph.until(lambda: graph.newest("policy_node")["plan"] == "BASE", each=robot.publish)
    assert set_parameters(graph, robot, refine=True) == [""]
    graph.until(lambda: graph.newest("policy_node")["plan"] == "REFINED", each=robot.publish)


def resident_mb(process):
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) / 1024


def entities(graph):
    """Every topic and service of the node, once for each time it is there."""
    node = graph.node
    of_node = (
        node.get_publisher_names_and_types_by_node,
        node.get_subscriber_names_and_types_by_node,
        node.get_service_names_and_types_by_node,
    )
    names = sorted(name for ask in of_node for name, _ in ask("policy_node", "/"))
    ends = [node.count_publishers(name) + node.count_subscribers(name) for name in names]
    return list(zip(names, ends, strict=True))


def settled(graph):
    """The entities once they have not changed for a second: the graph hears of them late."""
    found, since_s = [], time.monotonic()
    while time.monotonic() - since_s < 1.0:
        graph.spin()
        if (now := entities(graph)) != found:
            found, since_s = now, time.monotonic()
    return found


def test_configuring_and_cleaning_up_again_and_again_leaves_nothing_behind(graph):
    start(graph, autostart=False)

    def cycles(count):
        for _ in range(count):
            assert change(graph, Transition.TRANSITION_CONFIGURE)
            assert change(graph, Transition.TRANSITION_CLEANUP)

    cycles(15)
    process = graph.processes["policy_node"]
    before, megabytes = settled(graph), resident_mb(process)
    assert before
    cycles(40)
    assert settled(graph) == before
    assert resident_mb(process) - megabytes < 5.0
