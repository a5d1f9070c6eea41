# SPDX-License-Identifier: MIT
"""A policy whose input is far from its training says so before anything moves."""

import numpy as np

from difftori_ros.bringup.node_specs import policy_specs
from difftori_ros.config.paths import config_dir
from tests.ros.conftest import values_of
from tests.support.fake_robot import FakeRobot


def start(graph, **parameters):
    _, policy = policy_specs(
        "pick_cube_state", "panda", config_file=config_dir() / "sim.yaml", parameters=parameters
    )
    graph.start(policy)
    return FakeRobot(graph.node)


def test_far_goal_is_told_by_name_before_the_first_plan_and_the_policy_plans_all_the_same(graph):
    robot = start(graph)
    robot._targets["goal"] = robot._targets["goal"] + np.array([3.0, 0.0, 0.0])
    graph.until(lambda: len(graph.plans) > 2, each=robot.publish)
    codes = [values_of(message) for message in graph.status["policy_node"]]
    told = [values for values in codes if values["code"] == "FAR_FROM_TRAINING"]
    assert told
    assert "stamp_ns" not in told[0]  # of a last plan: there was none yet
    assert "standard deviations from its mean" in told[0]["message"]
    number, feature = graph.newest("policy_node")["novelty"].split()
    assert feature == "goal-tip.x"
    assert float(number) > 8.0


def test_input_like_that_of_the_training_is_no_cause_for_worry(graph):
    robot = start(graph)
    graph.until(lambda: len(graph.plans) > 2, each=robot.publish)
    codes = {values_of(message)["code"] for message in graph.status["policy_node"]}
    assert "FAR_FROM_TRAINING" not in codes
    assert float(graph.newest("policy_node")["novelty"].split()[0]) < 8.0
