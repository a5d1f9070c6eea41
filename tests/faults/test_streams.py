# SPDX-License-Identifier: MIT
"""Rows 7 and 14: what comes over the wires is of another time, too much, or from two sides."""

import numpy as np
import pytest

from tests.support.promises import REST_WITHIN_S
from tests.support.virtual.fault_harness import assert_within, virtual_harness
from tests.support.virtual.ros import Named

MAX_AGE_S = 0.05
LOOK_S = 0.5
"""Time between two looks of the guard at who else is in the graph [s]."""
TICK_S = 0.025
"""The guard's period, and what it takes to think and to send [s]."""


@pytest.fixture
def harness():
    yield from virtual_harness()


def accept(harness, plans):
    """Let time pass until so many further plans are accepted."""
    enough = int(harness.guard("accepted")) + plans
    harness.until(lambda: int(harness.guard("accepted")) >= enough)


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
    moving.arm.inject(f"object:{fault}")
    moving.until(lambda: moving.policy() == "STALE" and words in moving.policy("message"))
    assert "'object'" in moving.policy("message")
    if "-10" not in fault:  # old ones are kept, and are too old
        assert moving.dropped("object") > 0
    # poses may be half a second old
    moving.assert_rests(begin_ns, 0.5 + REST_WITHIN_S)
    assert_within(0.5, begin_ns, max(plan.stamp_ns for plan in moving.plans))
    moving.arm.clear_faults()
    moving.moving(moving.arm.now_ns())  # and goes on by itself: nothing was latched


# 14 ----------------------------------------------------------------------------------------------


def test_row_14_burst_of_a_thousand_messages_leaves_no_backlog(moving):
    moving.arm.inject("joint_states:burst:0:0.05:200")
    moving.run(0.5)
    moving.moving(moving.arm.now_ns())
    moving.check()
    moving.forget()
    accept(moving, 10)
    lags = [(one.at_ns - one.command.stamp_ns) * 1e-9 for one in moving.world.sent]
    assert max(lags) < MAX_AGE_S
    assert float(moving.policy("age_joint_states")) <= MAX_AGE_S


def test_row_14_streams_at_many_times_their_rate_change_nothing(moving):
    begin_ns = moving.arm.now_ns()
    for stream in ("joint_states", "object", "goal"):
        moving.arm.inject(f"{stream}:duplicate:0:60:9")
    accept(moving, 8)
    assert "BRAKE" not in moving.told("guard_node", "state", begin_ns)
    assert moving.first("policy_node", "code", "OK", begin_ns)


def test_row_14_messages_in_another_order_are_sorted_by_their_stamps(moving):
    moving.arm.inject("object:reorder:0:60:0.2")
    moving.arm.inject("joint_states:reorder:0:60:0.02")
    accept(moving, 8)
    assert np.all(np.diff([plan.stamp_ns for plan in moving.plans]) > 0)


def test_row_14_second_commander_brakes_the_arm_to_a_fault_that_names_it(moving):
    moving.world.strangers.append(Named("test"))
    begin_ns = moving.arm.now_ns()
    moving.until(lambda: moving.guard() == "FAULT")
    assert moving.guard("code") == "SECOND_COMMANDER"
    assert "/test" in moving.guard("message")
    braked_ns = moving.first("guard_node", "code", "SECOND_COMMANDER")
    assert_within(LOOK_S + TICK_S, begin_ns, braked_ns)
    moving.assert_rests(braked_ns)
