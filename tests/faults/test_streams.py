# SPDX-License-Identifier: MIT
"""Rows 7 and 14: what comes over the wires is of another time, too much, or from two sides."""

import numpy as np
import pytest
from trajectory_msgs.msg import JointTrajectory

from difftori_ros import codecs
from difftori_ros.base_node import COMMAND_QOS
from tests.faults.stand import PATIENT, SLACK_S, assert_within, running
from tests.promises import REST_WITHIN_S
from tests.ros.fake_robot import PROFILE

pytestmark = pytest.mark.timeout(120)

MAX_AGE_S = 0.05


@pytest.fixture(scope="module")
def stand(tmp_path_factory):
    yield from running(tmp_path_factory.mktemp("streams"), guard=PATIENT)


# 7: stamps; the clock itself is in test_clock.py ------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("unstamped:0:60", "its stamp is zero"),
        ("stamp:0:60:3600", "ahead of"),
        ("stamp:0:60:-10", "10.0 s behind"),
    ],
)
def test_row_07_stamps_that_cannot_be_are_dropped_counted_and_named(moving, fault, words):
    begin_ns = moving.arm.now_ns()
    moving.arm.strike(f"object:{fault}")
    moving.until(lambda: moving.policy() == "STALE" and words in moving.policy("message"))
    assert "'object'" in moving.policy("message")
    if "-10" not in fault:  # old ones are kept, and are too old
        assert moving.dropped("object") > 0
    # poses may be half a second old
    moving.assert_rests(begin_ns, 0.5 + REST_WITHIN_S)
    planned_ns = max(codecs.stamp_to_ns(plan.header.stamp) for plan in moving.plans)
    assert_within(0.5, begin_ns, planned_ns)
    moving.arm.heal()
    moving.moving(moving.arm.now_ns())  # and goes on by itself: nothing was latched


# 14 ----------------------------------------------------------------------------------------------


def test_row_14_burst_of_a_thousand_messages_leaves_no_backlog(moving):
    moving.arm.strike("joint_states:burst:0:0.05:200")
    moving.run(0.5)
    after_ns = moving.arm.now_ns()
    moving.moving(after_ns)
    moving.check()
    moving.forget()
    accepted = int(moving.guard("accepted"))
    moving.until(lambda: int(moving.guard("accepted")) > accepted + 10)
    lags = [
        (heard_ns - command.stamp_ns) * 1e-9
        for heard_ns, command in zip(moving.published_ns, moving.trajectories(), strict=True)
    ]
    assert np.median(lags) < MAX_AGE_S
    assert float(moving.policy("age_joint_states")) <= MAX_AGE_S + SLACK_S


def test_row_14_streams_at_many_times_their_rate_change_nothing(moving):
    begin_ns = moving.arm.now_ns()
    for stream in ("joint_states", "object", "goal"):
        moving.arm.strike(f"{stream}:duplicate:0:60:9")
    accepted = int(moving.guard("accepted"))
    moving.until(lambda: int(moving.guard("accepted")) > accepted + 8)
    assert "BRAKE" not in {values["state"] for _, values in moving.heard["guard_node"]}
    assert moving.first("policy_node", "code", "OK", begin_ns)


def test_row_14_messages_in_another_order_are_sorted_by_their_stamps(moving):
    moving.arm.strike("object:reorder:0:60:0.2")
    moving.arm.strike("joint_states:reorder:0:60:0.02")
    accepted = int(moving.guard("accepted"))
    moving.until(lambda: int(moving.guard("accepted")) > accepted + 8)


def test_row_14_second_commander_brakes_the_arm_to_a_fault_that_names_it(moving):
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
    moving.moving(moving.arm.now_ns())
