# SPDX-License-Identifier: MIT
"""The policy node obeys its lifecycle, and survives being asked for what is impossible."""

import signal

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState

from difftori_ros.bringup import policy_specs
from difftori_ros.paths import config_dir
from tests.ros.fake_robot import FakeRobot


def start(graph, autostart=True):
    _, policy = policy_specs(
        "pick_cube_state",
        "panda",
        config_file=config_dir() / "sim.yaml",
        parameters={"autostart": autostart},
    )
    graph.start(policy)
    return FakeRobot(graph.node)


def call(graph, kind, name, request, each=None):
    client = graph.node.create_client(kind, f"policy_node/{name}")
    graph.until(client.service_is_ready)
    answer = client.call_async(request)
    graph.until(answer.done, each=each)
    return answer.result()


def change(graph, transition, each=None):
    request = ChangeState.Request(transition=Transition(id=transition))
    return call(graph, ChangeState, "change_state", request, each).success


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
    assert change(graph, Transition.TRANSITION_ACTIVATE, robot.publish)
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


def test_interrupt_ends_the_process_with_status_zero(graph):
    robot = start(graph)
    graph.until(lambda: len(graph.plans) >= 1, each=robot.publish)
    graph.processes["policy_node"].send_signal(signal.SIGINT)
    assert graph.exit_status("policy_node", 10.0) == 0
    assert "Traceback" not in graph.log("policy_node")


def test_summary_names_topics_rates_joints_and_the_checkpoint_hash(graph):
    robot = start(graph)
    graph.until(lambda: len(graph.plans) >= 1, each=robot.publish)
    log = graph.log("policy_node")
    for words in ("sha256", "in: joint_states", "20 Hz actions", "joint: panda_joint1", "rad/s^2"):
        assert words in log


def test_dry_run_plans_and_sends_nothing(graph):
    _, policy = policy_specs(
        "pick_cube_state",
        "panda",
        config_file=config_dir() / "sim.yaml",
        parameters={"dry_run": True},
    )
    graph.start(policy)
    robot = FakeRobot(graph.node)
    graph.until(lambda: "plan_ms" in graph.newest("policy_node"), each=robot.publish)
    assert graph.plans == []
