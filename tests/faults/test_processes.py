# SPDX-License-Identifier: MIT
"""Rows 15, 17 and 19: processes die, people interfere, and the controllers do not listen."""

import numpy as np
import pytest
from std_msgs.msg import Bool
from std_srvs.srv import SetBool, Trigger

from tests.faults.stand import assert_within, running
from tests.promises import REST_WITHIN_S

pytestmark = pytest.mark.timeout(120)

HEARTBEAT_TIMEOUT_S = 0.5
EXIT_S = 2.0
"""Time in which a process ends that is told to [s]."""


@pytest.fixture(scope="module")
def stand(tmp_path_factory):
    guard = {"heartbeat_timeout_s": HEARTBEAT_TIMEOUT_S, "max_recoveries": 1000}
    yield from running(tmp_path_factory.mktemp("processes"), guard=guard)


def reset(stand, node="guard_node"):
    return stand.call(Trigger, f"{node}/reset", Trigger.Request())


def assert_latched(stand, code):
    """The fault stays, whatever plans come, until it is reset."""
    commands = len(stand.commands)
    stand.run(0.5)
    assert (stand.guard(), stand.guard("code")) == ("FAULT", code)
    assert len(stand.commands) <= commands + 1  # the measured pose is held
    assert reset(stand).success
    stand.up()
    stand.moving(stand.arm.now_ns())


# 15 ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["kill", "stop"])
def test_row_15_policy_that_dies_or_stops_leaves_the_arm_at_rest_and_is_named(
    moving, request, kind
):
    begin_ns = moving.strike("policy_node", kind)
    if kind == "stop":
        request.addfinalizer(lambda: moving.strike("policy_node", "continue"))
    moving.assert_rests(begin_ns)
    moving.until(lambda: moving.guard("code") == "POLICY_LOST")
    told_ns = moving.first("guard_node", "code", "POLICY_LOST", begin_ns)
    assert_within(HEARTBEAT_TIMEOUT_S + 0.2, begin_ns, told_ns)
    moving.until(lambda: moving.guard() == "FAULT")
    if kind == "stop":
        moving.strike("policy_node", "continue")
    assert_latched(moving, "POLICY_LOST")


@pytest.mark.parametrize("kind", ["interrupt", "terminate"])
def test_row_15_policy_that_is_told_to_end_does_so_and_its_silence_is_no_fault(moving, kind):
    begin_ns = moving.strike("policy_node", kind)
    assert moving.exit_status("policy_node", EXIT_S) == 0
    moving.assert_rests(begin_ns)
    moving.run(HEARTBEAT_TIMEOUT_S + 0.3)
    assert moving.guard() != "FAULT", "its silence was announced, and is no fault"
    assert "STOPPED" in moving.codes("policy_node", begin_ns)
    assert "Traceback" not in moving.log("policy_node")


@pytest.mark.parametrize("kind", ["kill", "stop"])
def test_row_15_guard_that_dies_or_stops_leaves_the_arm_at_rest(moving, request, kind):
    begin_ns = moving.strike("guard_node", kind)
    moving.assert_rests(begin_ns)
    if kind == "stop":
        moving.strike("guard_node", "continue")
        moving.run(0.3)
    commands = [c for c in moving.trajectories() if c.stamp_ns > begin_ns + 500_000_000]
    assert kind == "stop" or commands == []


def test_row_15_guard_that_is_told_to_end_brakes_first_and_exits_with_zero(moving):
    begin_ns = moving.strike("guard_node", "interrupt")
    assert moving.exit_status("guard_node", EXIT_S) == 0
    moving.assert_rests(begin_ns)
    assert "STOPPED" in moving.codes("guard_node", begin_ns)
    assert "Traceback" not in moving.log("guard_node")


# 17 ----------------------------------------------------------------------------------------------


def press(stand, pressed):
    """The emergency stop is a topic that says what it is again and again."""
    button = stand.node.create_publisher(Bool, "emergency_stop", 10)

    def say():
        button.publish(Bool(data=pressed))

    return button, say


def test_row_17_emergency_stop_brakes_at_once_and_only_a_reset_after_its_release_goes_on(moving):
    button, press_it = press(moving, True)
    moving.until(lambda: button.get_subscription_count() > 0)
    begin_ns = moving.arm.now_ns()
    press_it()
    moving.until(lambda: moving.guard("code") == "ESTOP")
    told_ns = moving.first("guard_node", "code", "ESTOP", begin_ns)
    assert_within(0.1, begin_ns, told_ns)
    moving.assert_rests(begin_ns, 0.1 + REST_WITHIN_S)
    assert moving.guard() == "FAULT"
    assert not reset(moving).success, "still pressed"
    button.publish(Bool(data=False))
    moving.run(0.5)
    assert (moving.guard(), moving.guard("code")) == ("FAULT", "ESTOP"), "it resumed by itself"
    assert_latched(moving, "ESTOP")
    moving.node.destroy_publisher(button)


def test_row_17_pause_brakes_and_plans_are_refused_until_it_is_resumed(moving):
    begin_ns = moving.arm.now_ns()
    assert moving.call(SetBool, "guard_node/pause", SetBool.Request(data=True)).success
    moving.assert_rests(begin_ns, 0.2 + REST_WITHIN_S)
    assert moving.guard("code") == "PAUSED"
    heard = len(moving.commands)
    moving.run(0.3)
    assert len(moving.commands) == heard
    assert moving.call(SetBool, "guard_node/pause", SetBool.Request(data=False)).success
    moving.moving(moving.arm.now_ns())


def test_row_17_arm_that_is_moved_by_hand_is_let_go_and_named(moving):
    moving.measured_is_known = False  # commands no longer start where it is
    begin_ns = moving.arm.now_ns()

    def push():
        moving.arm.pushed[6] += 0.01

    moving.until(lambda: moving.guard() == "FAULT", each=push)
    named = {"NOT_FOLLOWING", "START_MISMATCH", "DISCONTINUOUS"}
    assert moving.guard("code") in named
    moving.assert_rests(moving.arm.now_ns())
    moving.arm.put_down()
    assert_latched(moving, moving.guard("code"))  # and goes on from where it was put
    assert begin_ns


# 19 ----------------------------------------------------------------------------------------------


def test_row_19_arm_that_does_not_move_is_braked_and_named_within_a_second_and_a_half(moving):
    moving.measured_is_known = False
    # plans begin where the arm is: how soon it shows depends on where it was going
    moving.until(lambda: moving.arm.speed > 0.4)
    begin_ns = moving.arm.now_ns()
    moving.arm.blocked = True
    moving.until(lambda: moving.guard() in ("BRAKE", "FAULT"))
    assert moving.guard("code") in ("NOT_FOLLOWING", "START_MISMATCH")
    told_ns = moving.first("guard_node", "code", moving.guard("code"), begin_ns)
    assert_within(1.5, begin_ns, told_ns)
    moving.until(lambda: moving.guard() == "FAULT")
    code = moving.guard("code")
    moving.arm.blocked = False
    assert_latched(moving, code)


def test_row_19_plans_without_a_controller_are_refused_by_name(moving):
    moving.measured_is_known = False
    moving.unplug()
    try:
        begin_ns = moving.arm.now_ns()
        moving.until(lambda: moving.guard("verdict_code") == "NO_CONTROLLER")
        told_ns = moving.first("guard_node", "verdict_code", "NO_CONTROLLER", begin_ns)
        assert_within(1.0, begin_ns, told_ns)
        assert "/arm_controller/joint_trajectory" in moving.guard("verdict_detail")
        moving.run(1.0)  # what was under way when they went away is noticed
    finally:
        moving.plug_in()
    if moving.guard() == "FAULT":  # it had been in motion when they went away
        assert moving.guard("code") in ("NOT_FOLLOWING", "START_MISMATCH")
        assert reset(moving).success
    moving.moving(moving.arm.now_ns())


def test_row_19_controller_that_drops_what_it_is_sent_is_noticed_by_the_arm_not_moving(moving):
    moving.measured_is_known = False
    moving.arm.unplug()  # others still listen: only the arm can tell
    moving.until(lambda: moving.guard() == "FAULT")
    assert moving.guard("code") in ("NOT_FOLLOWING", "START_MISMATCH", "DISCONTINUOUS")
    still = [state.position[:7] for state in list(moving.arm.history)[-20:]]
    assert np.ptp(still, axis=0).max() == 0.0
    moving.arm.plug_in()
