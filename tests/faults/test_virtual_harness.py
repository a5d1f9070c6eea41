# SPDX-License-Identifier: MIT
"""A harness in virtual time shows the same twice, and finds nodes that break what rows promise."""

import pytest

from difftori_ros.guard.guard import Guard
from difftori_ros.observation import StreamSet
from difftori_ros.policy.fault_latch import FaultLatch
from tests.support.virtual.fault_harness import VirtualHarness, assert_within, virtual_harness

TICK_S = 0.025


@pytest.fixture
def harness():
    yield from virtual_harness("pick_cube_points")


def test_the_same_faults_show_the_same_twice():
    def seen():
        harness = VirtualHarness("pick_cube_points")
        try:
            harness.begin()
            harness.arm.inject("points:nan:0:1:0.5")
            harness.arm.inject("joint_states:drop:0:2:0.3")
            harness.run(2.0)
            return [
                (one.at_ns, one.values["code"], one.values.get("accepted"))
                for received in harness.world.received.values()
                for one in received
            ]
        finally:
            harness.close()

    assert seen() == seen()


def test_plans_from_what_is_too_old_are_found(harness, monkeypatch):
    monkeypatch.setattr(StreamSet, "limit_s", lambda *_: 60.0)
    harness.begin()
    begin_ns = harness.arm.now_ns()
    harness.arm.inject("points:silence:0:60")
    with pytest.raises(AssertionError):
        harness.until(lambda: harness.policy() == "STALE", 3.0)
    with pytest.raises(AssertionError):
        harness.assert_rests(begin_ns, 1.0)


def test_a_planner_that_fails_for_ever_and_is_not_latched_is_found(harness, monkeypatch):
    monkeypatch.setattr(FaultLatch, "planned", lambda *_: None)
    harness.begin()
    harness.inject("diverge")
    with pytest.raises(AssertionError):
        harness.until(lambda: harness.policy() == "DIVERGED", 3.0)


def test_an_emergency_stop_that_comes_late_is_found(harness, monkeypatch):
    estop = Guard.estop

    def late(guard, pressed, now_ns):
        harness.world.timeline.sleep(50_000_000)
        return estop(guard, pressed, now_ns)

    monkeypatch.setattr(Guard, "estop", late)
    harness.begin()
    begin_ns = harness.arm.now_ns()
    harness.world.do_estop(True)
    harness.until(lambda: harness.guard("code") == "ESTOP")
    with pytest.raises(AssertionError, match="wanted within"):
        assert_within(TICK_S, begin_ns, harness.first("guard_node", "code", "ESTOP", begin_ns))


def test_a_command_that_jumps_is_found(harness, monkeypatch):
    monkeypatch.setattr(Guard, "joins", lambda *_: None)
    harness.begin()
    for _ in range(10):
        harness.world.do_stop("guard", 150.0)
        harness.run(0.33)
    with pytest.raises(AssertionError, match="jumps by"):
        harness.check()
