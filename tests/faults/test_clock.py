# SPDX-License-Identifier: MIT
"""Row 7: the clock jumps, stands still, or is gone."""

import pytest

from difftori_ros import codecs
from tests.support.harness import PATIENT, running
from tests.support.promises import REST_WITHIN_S

pytestmark = [pytest.mark.real_time, pytest.mark.timeout(120)]

EXIT_S = 2.0
"""Time in which a process ends that is told to [s]."""


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    yield from running(tmp_path_factory.mktemp("clock"), simulated=True, guard=PATIENT)


def jump(harness, seconds):
    """Move the clock; commands from before and after it have no common time."""
    harness.check()
    harness.forget()
    harness.arm.simulated.jump(seconds)


def test_row_07_clock_that_jumps_back_clears_everything_and_the_arm_goes_on(moving):
    jump(moving, -20.0)
    began_ns = moving.arm.now_ns()
    moving.until(lambda: "CLOCK_JUMPED" in moving.codes("policy_node"))
    moving.moving(began_ns)
    assert all(plan.header.stamp.sec <= moving.arm.now_ns() // 10**9 for plan in moving.plans)


def test_row_07_clock_that_jumps_an_hour_ahead_makes_no_plan_from_before(moving):
    jump(moving, 3600.0)
    began_ns = moving.arm.now_ns()
    moving.moving(began_ns)
    for command in moving.trajectories():
        assert command.stamp_ns >= began_ns - 500_000_000


def test_row_07_clock_that_is_gone_brakes_the_arm_by_the_steady_clock(moving):
    began_ns = moving.arm.now_ns()
    moving.arm.inject("clock:silence:0:60")
    moving.assert_rests(began_ns, REST_WITHIN_S + 0.5)
    late = [plan for plan in moving.plans if codecs.stamp_to_ns(plan.header.stamp) > began_ns]
    assert len(late) <= 3, "plans were made by a clock that stands still"
    assert moving.guard("code") != "OK", "the guard must tell that no plans come"
    moving.arm.clear_faults()
    moving.until(lambda: moving.policy() == "OK")


def test_row_07_world_that_is_paused_moves_nothing_and_goes_on_when_it_does(moving):
    moving.arm.simulated.pause()
    moving.run(0.3)
    received = len(moving.commands)
    moving.run(1.0)
    assert len(moving.commands) <= received + 2, "commands while time stands still"
    moving.arm.simulated.resume()
    resumed_ns = moving.arm.now_ns()
    moving.until(lambda: moving.guard("code") == "OK" or moving.guard() == "FAULT")
    if moving.guard() == "TRACKING":
        moving.moving(resumed_ns)
    else:
        assert moving.guard("code") != "OK"


def test_row_07_guard_that_is_told_to_end_does_so_while_the_clock_stands_still(moving):
    moving.arm.simulated.pause()
    moving.send_signal("guard_node", "interrupt")
    assert moving.exit_status("guard_node", EXIT_S) == 0
    moving.arm.simulated.resume()
