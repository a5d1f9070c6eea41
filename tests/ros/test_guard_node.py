# SPDX-License-Identifier: MIT
"""The guard's process passes on what is valid and names what it refuses."""

import numpy as np
import pytest

from difftori_ros import codecs
from tests.support.fake_policy import ready
from tests.support.fake_robot import HOME, PROFILE
from tests.support.promises import assert_valid

pytestmark = pytest.mark.real_time


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
    graph.ask(Trigger, "guard_node/reset", Trigger.Request(), alive)
    graph.after_reset()
    graph.until(
        lambda: len(graph.commands) >= 2,
        each=lambda: (alive(), policy.send(robot.publish(cloud=False))),
    )
