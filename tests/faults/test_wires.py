# SPDX-License-Identifier: MIT
"""Rows 1, 9 and 14 once more where it takes more than virtual time: through DDS, in the graph of
real nodes, and with a thread that hangs."""

import pytest
from trajectory_msgs.msg import JointTrajectory

from difftori_ros import codecs
from difftori_ros.nodes.node_base import COMMAND_QOS
from tests.support.fake_robot import PROFILE
from tests.support.harness import PATIENT, SLACK_S, assert_within, running
from tests.support.promises import REST_WITHIN_S

pytestmark = [pytest.mark.real_time, pytest.mark.timeout(120)]

MAX_AGE_S, JOINTS_MAX_AGE_S = 0.2, 0.05
"""Oldest cloud and oldest joint states that a plan is made from [s]."""
CLOUD_PERIOD_S = PERIOD_S = 0.1
HANG_S = 0.3
"""Time over its deadline after which a plan is given up [s]."""
GIVEN_UP_S = PERIOD_S + 0.05 + HANG_S + PERIOD_S
"""Until the next plan, its deadline, the patience with it, and the next look at it [s]."""


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    policy = {"points_max_age_s": MAX_AGE_S, "planner_timeout_s": HANG_S}
    folder = tmp_path_factory.mktemp("wires")
    yield from running(folder, "pick_cube_points", policy=policy, guard=PATIENT)


def test_row_01_camera_that_stops_is_noticed_through_dds(moving):
    begin_ns = moving.arm.now_ns()
    moving.arm.inject("points:silence:0:60")
    moving.until(lambda: moving.policy() == "STALE" and "'points' is" in moving.policy("message"))
    moving.assert_rests(begin_ns, MAX_AGE_S + REST_WITHIN_S)
    planned_ns = max(codecs.stamp_to_ns(plan.header.stamp) for plan in moving.plans)
    assert_within(MAX_AGE_S + CLOUD_PERIOD_S, begin_ns, planned_ns)


def test_row_09_solver_whose_thread_hangs_is_given_up_named_and_replaced(moving):
    begin_ns = moving.arm.now_ns()
    moving.inject("hang")
    moving.until(lambda: moving.first("policy_node", "code", "DEADLINE", begin_ns))
    told_ns = moving.first("policy_node", "code", "DEADLINE", begin_ns)
    assert_within(GIVEN_UP_S, begin_ns, told_ns)
    moving.inject("")
    moving.until(lambda: moving.policy() == "OK")  # by itself: another planner is at work
    if moving.guard() == "FAULT":  # making it took longer than the guard waits
        assert moving.guard("code") == "PLANS_LOST"
        moving.reset("guard_node")
    moving.moving(moving.arm.now_ns())


def test_row_14_burst_of_a_thousand_messages_through_dds_leaves_no_backlog(moving):
    moving.arm.inject("joint_states:burst:0:0.05:200")
    moving.run(0.5)
    moving.moving(moving.arm.now_ns())
    moving.check()
    moving.forget()
    accepted = int(moving.guard("accepted"))
    moving.until(lambda: int(moving.guard("accepted")) > accepted + 10)
    lags = [
        (heard_ns - command.stamp_ns) * 1e-9
        for heard_ns, command in zip(moving.published_ns, moving.trajectories(), strict=True)
    ]
    assert sorted(lags)[len(lags) // 2] < JOINTS_MAX_AGE_S
    assert float(moving.policy("age_joint_states")) <= JOINTS_MAX_AGE_S + SLACK_S


def test_row_14_second_commander_is_found_in_the_graph(moving):
    other = moving.node.create_publisher(JointTrajectory, PROFILE.topic, COMMAND_QOS)
    begin_ns = moving.arm.now_ns()
    try:
        moving.until(lambda: moving.guard() == "FAULT")
        assert moving.guard("code") == "SECOND_COMMANDER"
        assert "/test" in moving.guard("message")
        # the graph is looked at twice a second
        braked_ns = moving.first("guard_node", "code", "SECOND_COMMANDER")
        assert_within(1.0, begin_ns, braked_ns)
        moving.assert_rests(braked_ns)
    finally:
        moving.node.destroy_publisher(other)
    moving.until(lambda: len(moving.node.get_publishers_info_by_topic(f"/{PROFILE.topic}")) == 1)


def test_row_14_late_joiner_and_restarted_robot_are_taken_as_they_come(moving):
    moving.arm.unplug()
    moving.arm.plug_in()
    moving.run(0.5)
    if moving.guard() == "FAULT":  # it has missed too much while it did not listen
        assert moving.guard("code") == "NOT_FOLLOWING"
        moving.begin()
    moving.moving(moving.arm.now_ns())
