# SPDX-License-Identifier: MIT
"""Rows 17 and 19: people interfere, and the controllers do not listen."""

import numpy as np
import pytest

from tests.support.promises import REST_WITHIN_S
from tests.support.virtual.fault_harness import assert_within, virtual_harness

HEARTBEAT_TIMEOUT_S = 0.5
LOOK_S, PERIOD_S = 0.5, 0.1
"""Time between two looks of the guard at who listens, and between two plans [s]."""
TICK_S = 0.025
"""The guard's period, and what it takes to think and to send [s]."""


@pytest.fixture
def harness():
    guard = {"heartbeat_timeout_s": HEARTBEAT_TIMEOUT_S, "max_recoveries": 1000}
    yield from virtual_harness(guard=guard)


def assert_latched(harness, code):
    """The fault stays, whatever plans come, until it is reset."""
    commands = len(harness.commands)
    harness.run(0.5)
    assert (harness.guard(), harness.guard("code")) == ("FAULT", code)
    assert len(harness.commands) <= commands + 1  # the measured pose is held
    assert harness.reset().success
    harness.moving(harness.arm.now_ns())


# 17 ----------------------------------------------------------------------------------------------


def test_row_17_emergency_stop_brakes_at_once_and_only_a_reset_after_its_release_goes_on(moving):
    begin_ns = moving.arm.now_ns()
    moving.world.do_estop(True)
    moving.until(lambda: moving.guard("code") == "ESTOP")
    told_ns = moving.first("guard_node", "code", "ESTOP", begin_ns)
    assert_within(TICK_S, begin_ns, told_ns)
    moving.assert_rests(begin_ns, TICK_S + REST_WITHIN_S)
    assert moving.guard() == "FAULT"
    assert not moving.reset().success, "still pressed"
    moving.world.do_estop(False)
    moving.run(0.5)
    assert (moving.guard(), moving.guard("code")) == ("FAULT", "ESTOP"), "it resumed by itself"
    assert_latched(moving, "ESTOP")


def test_row_17_pause_brakes_and_plans_are_refused_until_it_is_resumed(moving):
    begin_ns = moving.arm.now_ns()
    assert moving.pause(True).success
    moving.assert_rests(begin_ns, TICK_S + REST_WITHIN_S)
    assert moving.guard("code") == "PAUSED"
    received = len(moving.commands)
    moving.run(0.3)
    assert len(moving.commands) == received
    assert moving.pause(False).success
    moving.moving(moving.arm.now_ns())


def test_row_17_arm_that_is_moved_by_hand_is_let_go_and_named(moving):
    moving.follows = False  # commands no longer start where it is

    def push():
        moving.arm.pushed[6] += 0.01

    moving.until(lambda: moving.guard() == "FAULT", each=push)
    named = {"NOT_FOLLOWING", "START_MISMATCH", "DISCONTINUOUS"}
    assert moving.guard("code") in named
    moving.assert_rests(moving.arm.now_ns())
    moving.arm.put_down()
    assert_latched(moving, moving.guard("code"))  # and goes on from where it was put


# 19 ----------------------------------------------------------------------------------------------


def test_row_19_arm_that_does_not_move_is_braked_and_named_within_a_second_and_a_half(moving):
    moving.follows = False
    # plans begin where the arm is: how soon it shows depends on where it was going
    moving.until(lambda: moving.arm.speed > 0.4)
    begin_ns = moving.arm.now_ns()
    moving.arm.block()
    moving.until(lambda: moving.guard() in ("BRAKE", "FAULT"))
    assert moving.guard("code") in ("NOT_FOLLOWING", "START_MISMATCH")
    told_ns = moving.first("guard_node", "code", moving.guard("code"), begin_ns)
    assert_within(1.5, begin_ns, told_ns)
    moving.until(lambda: moving.guard() == "FAULT")
    code = moving.guard("code")
    moving.arm.release()
    assert_latched(moving, code)


def test_row_19_plans_without_a_controller_are_refused_by_name(moving):
    moving.follows = False
    begin_ns = moving.arm.now_ns()
    moving.unplug()
    moving.until(lambda: moving.guard("verdict_code") == "NO_CONTROLLER")
    told_ns = moving.first("guard_node", "verdict_code", "NO_CONTROLLER", begin_ns)
    assert_within(LOOK_S + PERIOD_S + TICK_S, begin_ns, told_ns)
    assert "/arm_controller/joint_trajectory" in moving.guard("verdict_detail")
    moving.run(1.0)
    assert not [one for one in moving.world.sent if one.command.stamp_ns > told_ns]
    moving.plug_in()
    if moving.guard() == "FAULT":  # it had been in motion when they went away
        assert moving.guard("code") in ("NOT_FOLLOWING", "START_MISMATCH")
        assert moving.reset().success
    moving.moving(moving.arm.now_ns())


def test_row_19_controller_that_drops_what_it_is_sent_is_noticed_by_the_arm_not_moving(moving):
    moving.follows = False
    moving.arm.unplug()  # others still listen: only the arm can tell
    moving.until(lambda: moving.guard() == "FAULT")
    assert moving.guard("code") in ("NOT_FOLLOWING", "START_MISMATCH", "DISCONTINUOUS")
    still = [state.position[:7] for state in list(moving.arm.history)[-20:]]
    assert np.ptp(still, axis=0).max() == 0.0
    moving.arm.plug_in()
