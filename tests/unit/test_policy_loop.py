# SPDX-License-Identifier: MIT
"""The loop plans from what is fresh, names what it cannot do, latches faults, and obeys."""

import gc
import threading
import time
import weakref

import numpy as np
import pytest

from difftori_models.contract.specs import PlanStatus
from difftori_ros.types import Reason, Trajectory
from tests.support.policy_rig import HOME, LIMIT_S, MS, Rig


@pytest.fixture
def rig():
    made = Rig(planner_timeout_s=0.1, deadline_s=0.1)
    yield made
    made.runner.stop()


def test_healthy_planner_gives_a_plan_for_every_period(rig):
    assert [rig.turn() for _ in range(3)] == ["OK"] * 3
    assert len(rig.sent) == 3
    assert rig.status.values["plans"] == "3"
    assert rig.status.values["deadline_misses"] == "0"


def test_diverged_plans_are_used_until_three_in_a_row_latch(rig):
    rig.planner.status = PlanStatus.DIVERGED
    assert [rig.turn() for _ in range(2)] == ["OK", "OK"]
    assert rig.status.level == 1
    assert len(rig.sent) == 2
    assert rig.turn() == "DIVERGED"
    rig.planner.status = PlanStatus.BASE
    assert [rig.turn() for _ in range(3)] == ["DIVERGED"] * 3
    assert len(rig.sent) == 2
    assert rig.status.values["divergences"] == "3"
    rig.runner.reset()
    assert rig.turn() == "OK"
    assert len(rig.sent) == 3


def test_plans_that_are_not_finite_latch_too_and_none_of_them_is_sent(rig):
    rig.planner.status = PlanStatus.FAILED
    assert [rig.turn() for _ in range(3)] == ["NO_PLAN", "NO_PLAN", "DIVERGED"]
    assert rig.sent == []


def test_exception_is_named_with_its_traceback_and_latched_after_three(rig):
    rig.planner.error = KeyError("tip")
    assert [rig.turn() for _ in range(3)] == ["EXCEPTION"] * 3
    assert "Traceback" in rig.log[0]
    assert "KeyError: 'tip'" in rig.status.detail
    rig.planner.error = None
    assert rig.turn() == "EXCEPTION"
    assert len(rig.log) == 3
    assert rig.sent == []


def test_one_exception_is_got_over(rig):
    rig.planner.error = KeyError("tip")
    rig.turn()
    rig.planner.error = None
    assert rig.turn() == "OK"


def test_lost_device_is_latched_at_once_and_a_reset_makes_a_new_planner(rig):
    rig.runner.start()
    rig.planner.error = RuntimeError("CUDA error: unspecified launch failure")
    rig.until(lambda: rig.code == "DEVICE_LOST")
    assert "unspecified launch failure" in rig.status.detail
    assert "planner is being made anew" in rig.runner.reset()
    rig.until(lambda: rig.sent)
    assert len(rig.made) == 1
    assert rig.code == "OK"


def test_device_that_stays_lost_stays_latched_after_a_reset(rig):
    rig.runner.start()
    rig.planner.error = RuntimeError("CUDA error: unspecified launch failure")
    rig.until(lambda: rig.code == "DEVICE_LOST")
    rig.fail_to_make = RuntimeError("CUDA error: no device")
    rig.runner.reset()
    rig.until(lambda: "no new planner" in rig.status.detail)
    assert rig.code == "DEVICE_LOST"
    rig.fail_to_make = None
    rig.runner.reset()
    rig.until(lambda: rig.code == "OK")


def test_planner_that_hangs_is_given_up_and_another_one_plans(rig):
    rig.runner.start()
    rig.until(lambda: len(rig.sent) >= 2)
    rig.planner.hang = threading.Event()
    rig.until(lambda: rig.log)
    assert "DEADLINE: a plan has taken" in rig.log[0]
    assert "given up after 0.20 s" in rig.log[0]
    assert "DEADLINE" in rig.received
    heard = len(rig.sent)
    rig.until(lambda: len(rig.sent) > heard)
    assert len(rig.made) == 1
    assert rig.status.values["planners_given_up"] == "1"
    rig.planner.hang.set()


def test_result_of_a_hung_planner_is_never_sent_after_the_stop(rig):
    rig.runner.start()
    rig.planner.hang = threading.Event()
    rig.see()
    assert rig.planner.hanging.wait(LIMIT_S)
    began = time.monotonic()
    rig.runner.stop()
    assert time.monotonic() - began < 2.0
    rig.planner.hang.set()
    hung = next(t for t in threading.enumerate() if t.name == "planner")
    hung.join(LIMIT_S)
    assert rig.motions == []


def test_after_a_stop_with_a_hung_planner_the_next_start_makes_another(rig):
    rig.runner.start()
    rig.planner.hang = threading.Event()
    rig.see()
    assert rig.planner.hanging.wait(LIMIT_S)
    rig.runner.stop()
    rig.runner.start()
    rig.until(lambda: rig.sent)
    assert len(rig.made) == 1
    rig.planner.hang.set()


def test_plan_over_its_deadline_is_counted(rig):
    rig.planner.status = PlanStatus.DEADLINE
    rig.turn()
    rig.planner.status = PlanStatus.BASE
    rig.turn()
    assert rig.status.values["deadline_misses"] == "1"


def test_stale_joints_are_named_and_recovered_from(rig):
    rig.turn()
    rig.now_ns += 300 * MS
    rig.loop.turn(rig.thread)
    assert rig.code == "STALE"
    assert rig.turn() == "OK"


def test_jump_of_the_clock_is_told_and_planning_resumes_with_fresh_data(rig):
    rig.turn()
    resets = rig.planner.resets
    rig.now_ns -= 3_000_000_000
    rig.loop.clock_jumped("by -3.000 s")
    assert rig.code == "CLOCK_JUMPED"
    assert "by -3.000 s" in rig.status.text
    assert rig.told.acquire(blocking=False)
    assert rig.status.values["clock_jumps"] == "1"
    assert rig.observer.streams.silent() == ["joint_states"]
    assert rig.turn() == "OK"
    assert rig.planner.resets == resets + 1


@pytest.mark.parametrize("state", ["BRAKE", "FAULT", "INACTIVE"])
def test_once_the_guard_has_stopped_the_arm_nothing_sent_before_is_joined(rig, state):
    rig.planner._start_ns, rig.planner._held = 1, HOME + 0.05
    rig.turn()
    rig.guard(state)
    away = HOME - np.append(np.full(7, 0.1), 0.0)
    rig.turn(away)
    np.testing.assert_array_equal(rig.sent[-1].positions[0, :7], away[:7])
    # and what is held is the pose measured then, not the one before the stop
    np.testing.assert_allclose(rig.sent[-1].positions[-1, :7], away[:7], atol=1e-9)


@pytest.mark.parametrize("state", ["TRACKING", "COAST"])
def test_while_the_guard_follows_the_plan_the_next_one_joins_it(rig, state):
    rig.turn()
    rig.planner._held = HOME + 0.05
    rig.turn()
    running = rig.sent[-1]
    rig.guard(state)
    rig.turn(HOME - 0.01)
    here, _ = running.sample(rig.now_ns)
    np.testing.assert_allclose(rig.sent[-1].positions[0], here, atol=1e-6)


def test_before_the_guard_is_heard_no_plan_is_built_upon_another(rig):
    rig.turn()
    rig.planner._held = HOME + 0.05
    rig.turn()
    rig.turn()
    np.testing.assert_allclose(rig.sent[-1].positions[0, :7], HOME[:7], atol=1e-9)


@pytest.mark.parametrize(("silent_s", "joins"), [(0.4, True), (0.6, False)])
def test_plans_made_in_the_guards_silence_are_not_built_upon(rig, silent_s, joins):
    steady_s = [time.monotonic()]
    rig.steady_s = lambda: steady_s[0]
    rig.guard("TRACKING")
    rig.turn()
    rig.planner._held = HOME + 0.05
    rig.turn()
    steady_s[0] += silent_s
    running = rig.sent[-1]
    rig.turn()
    here = running.sample(rig.now_ns)[0] if joins else HOME
    np.testing.assert_allclose(rig.sent[-1].positions[0, :7], here[:7], atol=1e-6)
    assert np.abs(running.sample(rig.now_ns)[0] - HOME)[:7].max() > 1e-3


def test_a_motion_that_must_begin_at_its_beginning_waits_for_the_first_plan_passed_on(rig):
    rig.guard("TRACKING")
    rig.loop._gate.after_stops = True
    resets = rig.planner.resets
    rig.turn()
    rig.turn()
    assert rig.planner.resets == resets + 2
    rig.guard("TRACKING", rig.sent[-1].stamp_ns)
    rig.turn()
    assert rig.planner.resets == resets + 2


def test_plan_that_the_guard_changed_is_the_one_that_is_joined(rig):
    rig.guard("TRACKING")
    rig.turn()
    rig.planner._held = HOME + 0.05
    rig.turn()
    sent = rig.sent[-1]
    slower = Trajectory(
        sent.stamp_ns, sent.joint_names, sent.times * 2.0, sent.positions, sent.velocities / 2.0
    )
    rig.mailbox.plan_replaced(slower)
    rig.turn()
    there, _ = slower.sample(rig.now_ns)
    np.testing.assert_allclose(rig.sent[-1].positions[0, :7], there[:7], atol=1e-6)
    assert np.abs(there - sent.sample(rig.now_ns)[0]).max() > 1e-3


def test_live_parameters_count_from_the_next_plan_on(rig):
    rig.turn()
    rig.mailbox.change("dry_run", True)
    assert rig.turn() == "OK"
    assert (len(rig.sent), len(rig.motions)) == (1, 2)
    rig.mailbox.change("dry_run", False)
    rig.turn()
    assert len(rig.sent) == 2
    rig.mailbox.change("joint_states_max_age_s", 0.01)
    rig.see()
    rig.now_ns += 20 * MS
    rig.loop.turn(rig.thread)
    assert rig.code == "STALE"
    assert "limit 0.010 s" in rig.status.detail


def test_arm_must_have_been_near_home_once_before_there_are_plans():
    rig = Rig(tolerance_rad=0.1)
    away = HOME + np.append(np.eye(7)[2] * 0.3, 0.0)
    assert rig.turn(away) == "START_POSE"
    assert "panda_joint3 is 0.300 rad away from the home pose" in rig.status.detail
    assert rig.sent == []
    assert rig.turn() == "OK"
    assert rig.turn(away) == "OK"
    rig.runner.reset()
    assert rig.turn(away) == "START_POSE"


def test_motion_with_a_beginning_waits_for_the_guard_and_begins_again_after_a_stop():
    rig = Rig(tolerance_rad=0.1, after_stops=True)
    assert rig.turn() == "WAITING"
    assert "guard_node does not say" in rig.status.detail
    rig.guard("TRACKING")
    assert rig.turn() == "OK"
    away = HOME + np.append(np.full(7, 0.2), 0.0)
    assert rig.turn(away) == "OK"
    rig.guard("BRAKE")
    rig.turn(away)
    rig.guard("TRACKING")
    assert rig.turn(away) == "START_POSE"
    assert rig.turn() == "OK"


def test_reason_of_a_latched_fault_is_not_hidden_by_a_stale_stream(rig):
    rig.planner.status = PlanStatus.FAILED
    for _ in range(3):
        rig.turn()
    rig.now_ns += 500 * MS
    rig.loop.turn(rig.thread)
    assert rig.code == Reason.DIVERGED.name


def test_exception_in_a_callback_is_latched_until_the_reset(rig):
    rig.runner.start()
    rig.until(lambda: rig.sent)
    rig.loop.callback_failed(AttributeError("no such field"))
    assert rig.code == "EXCEPTION"
    assert "in a callback: AttributeError: no such field" in rig.status.detail
    rig.runner.reset()
    rig.until(lambda: rig.code == "OK")


def test_exception_in_the_callback_of_a_polled_stream_is_latched_as_in_any_other(rig):
    def raises():
        raise AttributeError("no such field")

    rig.runner.start()
    rig.until(lambda: rig.sent)
    rig.waiting.append(raises)
    rig.until(lambda: rig.code == "EXCEPTION")
    assert rig.loop.latch.fault is not None
    assert "in a callback: AttributeError: no such field" in rig.status.detail
    assert any("Traceback" in line for line in rig.log)
    rig.runner.reset()
    rig.until(lambda: rig.code == "OK")


def test_simulated_clock_that_never_came_is_named(rig):
    rig.now_ns = 0
    rig.loop.turn(rig.thread)
    assert rig.code == "MISSING"
    assert "'/clock' has not delivered yet" in rig.status.detail


def test_clock_that_stands_still_is_named_with_how_long(rig):
    rig.turn()
    rig.loop.turn(rig.thread)
    rig.steady_s = lambda: time.monotonic() + 2.5
    rig.loop.turn(rig.thread)
    assert rig.code == "WAITING"
    assert "the clock has stood still for 2.5 s" in rig.status.detail


def test_a_loop_that_is_dropped_is_freed_without_a_search_for_garbage():
    rig = Rig()
    rig.runner.start()
    rig.until(lambda: rig.sent)
    rig.runner.stop()
    loop = weakref.ref(rig.loop)
    gc.disable()
    try:
        del rig.loop, rig.runner, rig.thread
        assert loop() is None
    finally:
        gc.enable()
