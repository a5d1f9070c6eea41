# SPDX-License-Identifier: MIT
"""Rows 8, 9 and 10: the planner diverges, raises, takes too long, hangs, or loses its device."""

import pytest

from tests.support.promises import REST_WITHIN_S
from tests.support.virtual.fault_harness import assert_within, virtual_harness

HANG_S = 0.3
"""Time over its deadline after which a plan is given up [s]."""
PERIOD_S = 0.1
GIVEN_UP_S = PERIOD_S + 0.05 + HANG_S + PERIOD_S
"""Until the next plan, its deadline, the patience with it, and the next look at it [s]."""


@pytest.fixture
def harness():
    yield from virtual_harness(
        policy={"planner_timeout_s": HANG_S}, guard={"max_recoveries": 1000}
    )


def assert_latched_until_reset(harness, begin_ns, code, within_s, words=()):
    """Rest within the bound, that code, the node answers, and only a reset brings it back."""
    harness.until(
        lambda: (
            harness.policy() == code and all(word in harness.policy("message") for word in words)
        )
    )
    told_ns = harness.first("policy_node", "code", code, begin_ns)
    assert_within(within_s, begin_ns, told_ns)
    harness.assert_rests(begin_ns, within_s + REST_WITHIN_S)
    harness.inject("")
    plans = len(harness.plans)
    harness.run(0.6)
    assert harness.policy() == code, "what is latched must not go away by itself"
    assert len(harness.plans) == plans
    assert harness.reset("policy_node").success
    assert harness.guard() == "TRACKING", "the plan has come to its end, which is no fault"
    harness.moving(harness.arm.now_ns())


# 8 -----------------------------------------------------------------------------------------------


def test_row_08_solver_that_diverges_three_times_in_a_row_is_latched(moving):
    begin_ns = moving.arm.now_ns()
    moving.inject("diverge")
    assert_latched_until_reset(moving, begin_ns, "DIVERGED", 4 * PERIOD_S, ["3 plans in a row"])


def test_row_08_network_that_gives_nan_three_times_in_a_row_is_latched_and_sends_none(moving):
    begin_ns = moving.arm.now_ns()
    moving.inject("nan")
    assert_latched_until_reset(moving, begin_ns, "DIVERGED", 4 * PERIOD_S)


def test_row_08_solver_that_diverges_once_keeps_the_arm_moving(moving):
    begin_ns = moving.arm.now_ns()
    moving.inject("nan")
    moving.until(lambda: moving.first("policy_node", "code", "NO_PLAN", begin_ns))
    moving.inject("")
    moving.moving(moving.arm.now_ns())
    assert "FAULT" not in moving.told("guard_node", "state", begin_ns)
    assert "DIVERGED" not in moving.codes("policy_node", begin_ns)


# 9 -----------------------------------------------------------------------------------------------


def test_row_09_solver_that_takes_too_long_gives_trimmed_plans_or_none(moving):
    begin_ns = moving.arm.now_ns()
    moving.inject("slow")
    misses = int(moving.policy("deadline_misses"))
    moving.until(lambda: int(moving.policy("deadline_misses")) > misses + 2)
    # a plan begins after the time at which it is sent, whatever its inputs' age
    for plan in moving.plans:
        if plan.stamp_ns > begin_ns:
            assert plan.times[0] >= PERIOD_S
    moving.inject("")
    moving.moving(moving.arm.now_ns())


def test_row_09_solver_that_hangs_is_given_up_named_and_replaced(moving):
    begin_ns = moving.arm.now_ns()
    moving.inject("hang")
    moving.until(lambda: moving.first("policy_node", "code", "DEADLINE", begin_ns))
    told_ns = moving.first("policy_node", "code", "DEADLINE", begin_ns)
    assert_within(GIVEN_UP_S, begin_ns, told_ns)
    moving.inject("")
    moving.until(lambda: moving.policy() == "OK")  # by itself: another planner is at work
    still = [s for s in moving.arm.history if s.stamp_ns > begin_ns and not s.velocity[:7].any()]
    assert still, "the arm must have come to rest before there was another plan"
    moving.moving(moving.arm.now_ns())
    assert "FAULT" not in moving.told("guard_node", "state", begin_ns)


def test_row_09_solver_that_hangs_again_and_again_is_latched(moving):
    begin_ns = moving.arm.now_ns()
    moving.inject("hang")
    moving.assert_rests(begin_ns, PERIOD_S + REST_WITHIN_S)
    words = ["no other planner is started"]
    assert_latched_until_reset(moving, begin_ns, "DEADLINE", GIVEN_UP_S, words)


# 10 ----------------------------------------------------------------------------------------------


def test_row_10_device_that_fails_in_motion_is_latched_and_the_process_lives_on(moving):
    begin_ns = moving.arm.now_ns()
    moving.inject("oom")
    words = ["CUDA out of memory"]
    assert_latched_until_reset(moving, begin_ns, "DEVICE_LOST", 2 * PERIOD_S, words)


def test_row_10_exception_in_the_planner_is_latched_with_its_traceback_in_the_log(moving):
    begin_ns = moving.arm.now_ns()
    moving.inject("raise")
    words = ["3 times in a row", "RuntimeError: a solver that raises"]
    assert_latched_until_reset(moving, begin_ns, "EXCEPTION", 4 * PERIOD_S, words)
    assert "Traceback" in moving.log("policy_node")
