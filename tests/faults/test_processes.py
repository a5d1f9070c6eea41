# SPDX-License-Identifier: MIT
"""Row 15: processes die, stop, or are told to end."""

import pytest

from tests.support.harness import assert_within, running

pytestmark = [pytest.mark.real_time, pytest.mark.timeout(120)]

HEARTBEAT_TIMEOUT_S = 0.5
EXIT_S = 2.0
"""Time in which a process ends that is told to [s]."""


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    guard = {"heartbeat_timeout_s": HEARTBEAT_TIMEOUT_S, "max_recoveries": 1000}
    yield from running(tmp_path_factory.mktemp("processes"), guard=guard)


def assert_latched(harness, code):
    """The fault stays, whatever plans come, until it is reset."""
    commands = len(harness.commands)
    harness.run(0.5)
    assert (harness.guard(), harness.guard("code")) == ("FAULT", code)
    assert len(harness.commands) <= commands + 1  # the measured pose is held
    harness.reset("guard_node")
    harness.up()
    harness.moving(harness.arm.now_ns())


@pytest.mark.parametrize("kind", ["kill", "stop"])
def test_row_15_policy_that_dies_or_stops_leaves_the_arm_at_rest_and_is_named(
    moving, request, kind
):
    begin_ns = moving.send_signal("policy_node", kind)
    if kind == "stop":
        request.addfinalizer(lambda: moving.send_signal("policy_node", "continue"))
    moving.assert_rests(begin_ns)
    moving.until(lambda: moving.guard("code") == "POLICY_LOST")
    told_ns = moving.first("guard_node", "code", "POLICY_LOST", begin_ns)
    assert_within(HEARTBEAT_TIMEOUT_S + 0.2, begin_ns, told_ns)
    moving.until(lambda: moving.guard() == "FAULT")
    if kind == "stop":
        moving.send_signal("policy_node", "continue")
    assert_latched(moving, "POLICY_LOST")


@pytest.mark.parametrize("kind", ["interrupt", "terminate"])
def test_row_15_policy_that_is_told_to_end_does_so_and_its_silence_is_no_fault(moving, kind):
    begin_ns = moving.send_signal("policy_node", kind)
    assert moving.exit_status("policy_node", EXIT_S) == 0
    moving.assert_rests(begin_ns)
    moving.run(HEARTBEAT_TIMEOUT_S + 0.3)
    assert moving.guard() != "FAULT", "its silence was announced, and is no fault"
    assert "STOPPED" in moving.codes("policy_node", begin_ns)
    assert "Traceback" not in moving.log("policy_node")


@pytest.mark.parametrize("kind", ["kill", "stop"])
def test_row_15_guard_that_dies_or_stops_leaves_the_arm_at_rest(moving, request, kind):
    begin_ns = moving.send_signal("guard_node", kind)
    moving.assert_rests(begin_ns)
    if kind == "stop":
        moving.send_signal("guard_node", "continue")
        moving.run(0.3)
    commands = [c for c in moving.trajectories() if c.stamp_ns > begin_ns + 500_000_000]
    assert kind == "stop" or commands == []


def test_row_15_guard_that_is_told_to_end_brakes_first_and_exits_with_zero(moving):
    begin_ns = moving.send_signal("guard_node", "interrupt")
    assert moving.exit_status("guard_node", EXIT_S) == 0
    moving.assert_rests(begin_ns)
    assert "STOPPED" in moving.codes("guard_node", begin_ns)
    assert "Traceback" not in moving.log("guard_node")
