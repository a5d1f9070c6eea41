# SPDX-License-Identifier: MIT
"""The loop says when its next turn is due, and since when it has sent plans."""

import numpy as np
import pytest

from difftori_ros.observation.stream_set import MAX_AGE_S
from difftori_ros.types import JointState
from tests.support.policy_rig import HOME, MS, PANDA, Rig


@pytest.fixture
def rig():
    made = Rig(planner_timeout_s=0.1, deadline_s=0.1)
    yield made
    made.runner.stop()


def turned(rig):
    """When the loop is due again after one more turn [s]."""
    return rig.loop.turn(rig.thread)


def measure(rig, count=12):
    """Joint states every 10 ms, each 2 ms late."""
    rig.now_ns -= 2 * MS
    for _ in range(count):
        rig.now_ns += 10 * MS
        state = JointState(rig.now_ns, PANDA.joint_names, HOME, np.zeros(8))
        rig.observer.streams.push("joint_states", state, rig.now_ns + 2 * MS)
    rig.now_ns += 2 * MS


def test_after_a_plan_the_next_turn_is_due_before_what_was_seen_is_too_old(rig):
    measure(rig)
    due_s = turned(rig)
    assert rig.code == "OK"
    assert due_s == pytest.approx(MAX_AGE_S["joint_states"] - 0.002)


def test_the_turn_for_a_plan_is_due_when_its_joint_states_will_be_here(rig):
    measure(rig)
    turned(rig)
    measure(rig, 8)  # of 0.08 s after those of the plan; those of 0.09 s will do, 2 ms late
    assert turned(rig) == pytest.approx(0.006)  # some time before, to prepare the rest
    rig.now_ns += 6 * MS
    assert turned(rig) == pytest.approx(0.004)
    rig.now_ns += 4 * MS  # they are later than that
    assert turned(rig) == pytest.approx(0.001)
    assert len(rig.motions) == 1
    measure(rig, 1)
    turned(rig)
    assert len(rig.motions) == 2


def test_a_turn_is_due_at_least_ten_times_a_second_unless_an_order_is_needed(rig):
    assert turned(rig) == 0.1  # nothing has come
    rig.planner.error = RuntimeError("CUDA error: gone")
    rig.see()
    turned(rig)
    assert rig.code == "DEVICE_LOST"
    assert turned(rig) is None


def test_a_plan_is_made_from_joint_states_that_came_while_the_rest_was_prepared(rig):
    rig.waiting.append(rig.see)
    turned(rig)
    assert rig.motions[-1].plan.stamp_ns == rig.now_ns
    rig.see()
    rig.waiting += [rig.see, lambda: None]  # nothing before the turn, and then one more
    turned(rig)
    assert rig.waiting == []
    assert rig.motions[-1].plan.stamp_ns == rig.now_ns


def test_a_refusal_is_told_at_once_and_not_again(rig):
    rig.turn()
    heard = len(rig.received)
    rig.now_ns += 300 * MS
    turned(rig)
    turned(rig)
    assert rig.received[heard:] == ["STALE"]


def test_a_stopped_loop_reports_no_refusal(rig):
    rig.turn()
    rig.now_ns += 300 * MS
    rig.thread.give_up()
    rig.loop.turn(rig.thread)
    assert rig.code == "OK"


def test_the_status_tells_since_when_plans_are_sent(rig):
    rig.turn()
    first = str(rig.now_ns)
    rig.turn()
    assert rig.status.values["plans_since_ns"] == first
    rig.runner.reset()
    assert rig.status.values["plans_since_ns"] == "0"
    rig.turn()
    assert rig.status.values["plans_since_ns"] == str(rig.now_ns)


def test_a_dry_run_sends_no_plans_and_does_not_tell_of_any():
    dry = Rig(dry_run=True)
    dry.turn()
    assert dry.code == "OK"
    assert "plans_since_ns" not in dry.status.values
