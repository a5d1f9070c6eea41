# SPDX-License-Identifier: MIT
"""A stand in virtual time shows the same twice, and finds nodes that break what rows promise."""

import pytest

from difftori_ros.guard.guard import Guard
from difftori_ros.observation.observer import Observer
from difftori_ros.policy.fault_latch import FaultLatch
from tests.support.virtual.fault_harness import VirtualStand, assert_within, standing

TICK_S = 0.025


@pytest.fixture
def stand():
    yield from standing("pick_cube_points")


def test_the_same_faults_show_the_same_twice():
    def seen():
        stand = VirtualStand("pick_cube_points")
        try:
            stand.begin()
            stand.arm.strike("points:nan:0:1:0.5")
            stand.arm.strike("joint_states:drop:0:2:0.3")
            stand.run(2.0)
            return [
                (one.at_ns, one.values["code"], one.values.get("accepted"))
                for heard in stand.world.heard.values()
                for one in heard
            ]
        finally:
            stand.close()

    assert seen() == seen()


def test_plans_from_what_is_too_old_are_found(stand, monkeypatch):
    monkeypatch.setattr(Observer, "limit_s", lambda *_: 60.0)
    stand.begin()
    begin_ns = stand.arm.now_ns()
    stand.arm.strike("points:silence:0:60")
    with pytest.raises(AssertionError):
        stand.until(lambda: stand.policy() == "STALE", 3.0)
    with pytest.raises(AssertionError):
        stand.assert_rests(begin_ns, 1.0)


def test_a_planner_that_fails_for_ever_and_is_not_latched_is_found(stand, monkeypatch):
    monkeypatch.setattr(FaultLatch, "planned", lambda *_: False)
    stand.begin()
    stand.sick("diverge")
    with pytest.raises(AssertionError):
        stand.until(lambda: stand.policy() == "DIVERGED", 3.0)


def test_an_emergency_stop_that_comes_late_is_found(stand, monkeypatch):
    estop = Guard.estop

    def late(guard, pressed, now_ns):
        stand.world.timeline.sleep(50_000_000)
        return estop(guard, pressed, now_ns)

    monkeypatch.setattr(Guard, "estop", late)
    stand.begin()
    begin_ns = stand.arm.now_ns()
    stand.world.do_estop(True)
    stand.until(lambda: stand.guard("code") == "ESTOP")
    with pytest.raises(AssertionError, match="wanted within"):
        assert_within(TICK_S, begin_ns, stand.first("guard_node", "code", "ESTOP", begin_ns))


def test_a_command_that_jumps_is_found(stand, monkeypatch):
    monkeypatch.setattr(Guard, "joins", lambda *_: None)
    stand.begin()
    for _ in range(10):
        stand.world.do_stop("guard", 150.0)
        stand.run(0.33)
    with pytest.raises(AssertionError, match="jumps by"):
        stand.check()
