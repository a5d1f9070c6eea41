# SPDX-License-Identifier: MIT
"""A health report says what, how bad, since when, how often and how fast."""

import math
import threading

import numpy as np
import pytest

from difftori_ros.status.health import Health, Percentiles, Rate
from difftori_ros.types import Level, Reason


def test_a_new_node_waits_and_that_is_no_error():
    status = Health().status(100.0)
    assert (status.code, status.level, status.since_s) == ("WAITING", Level.OK, 0.0)
    assert status.text == "no usable observation yet"


def test_a_reason_brings_its_code_its_sentence_and_its_detail():
    health = Health()
    health.set(Reason.STALE, 10.0, detail="points: 0.4 s")
    status = health.status(10.5)
    assert status.code == "STALE"
    assert status.level is Level.ERROR
    assert status.text == "a stream is older than its age limit: points: 0.4 s"
    assert status.since_s == pytest.approx(0.5)
    assert status.values["since_s"] == "0.5"


@pytest.mark.parametrize("reason", [Reason.OK, Reason.WAITING, Reason.STOPPED])
def test_quiet_reasons_are_no_errors(reason):
    health = Health()
    health.set(reason, 0.0)
    assert health.status(0.0).level is Level.OK


def test_the_level_can_be_given():
    health = Health()
    health.set(Reason.IK_FAILED, 0.0, level=Level.WARN)
    assert health.status(0.0).level is Level.WARN


def test_the_time_of_a_reason_counts_on_until_it_changes():
    health = Health()
    health.set(Reason.STALE, 10.0, detail="0.2 s")
    health.set(Reason.STALE, 11.0, detail="1.2 s")
    assert health.status(12.0).since_s == pytest.approx(2.0)
    assert health.status(12.0).detail == "1.2 s"
    health.set(Reason.OK, 13.0)
    assert health.status(13.25).since_s == pytest.approx(0.25)
    assert health.status(13.25).detail == ""


def test_counts_rates_ages_and_percentiles_of_plans_are_reported():
    health = Health()
    for k in range(21):
        health.plan(0.010 if k < 20 else 0.110, 50.0 + 0.1 * k)
    health.count("dropped_points")
    health.count("dropped_points")
    health.count("deadline_misses", 0)
    values = health.status(52.3).values
    assert values["plans"] == "21"
    assert values["dropped_points"] == "2"
    assert values["deadline_misses"] == "0"
    assert values["plan_hz"] == "10.0"
    assert values["plan_age_s"] == "0.300"
    assert values["plan_ms_p50"] == "10.00"
    assert float(values["plan_ms_p99"]) == pytest.approx(90.0)


def test_before_the_first_plan_no_plan_time_is_claimed():
    assert not {"plan_ms_p50", "plan_hz"} & set(Health().status(0.0).values)


def test_own_entries_are_reported_and_replace_no_count():
    health = Health()
    health.note(plan_ms="3.1", plans="many")
    health.plan(0.01, 0.0)
    values = health.status(0.0).values
    assert values["plan_ms"] == "3.1"
    assert values["plans"] == "1"


def test_a_report_does_not_change_afterwards():
    health = Health()
    before = health.status(0.0)
    health.note(later="1")
    health.set(Reason.NO_PLAN, 1.0)
    assert before.code == "WAITING"
    assert "later" not in before.values


def test_a_rate_is_that_of_the_window_and_fades():
    rate = Rate(window_s=2.0)
    assert rate.hz(0.0) == 0.0
    assert rate.age_s(0.0) is None
    for k in range(100):
        rate.add(0.1 * k)
    for k in range(10):
        rate.add(10.0 + 0.5 * k)
    assert rate.hz(14.5) == pytest.approx(2.0)
    assert rate.age_s(15.0) == pytest.approx(0.5)
    assert rate.hz(16.4) == 0.0
    assert rate.age_s(17.0) is None


def test_percentiles_forget_the_oldest():
    values = Percentiles(size=4)
    assert math.isnan(values.at(50))
    for value in (100.0, 1.0, 2.0, 3.0, 4.0):
        values.add(value)
    assert len(values) == 4
    assert values.at(50) == pytest.approx(2.5)
    assert values.at(100) == 4.0


def test_reports_and_plans_from_two_threads_lose_nothing():
    health = Health()

    def work():
        for k in range(2000):
            health.plan(0.01, k * 1e-3)
            health.event(f"stream {k % 50}", k * 1e-3)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        health.status(1.0)
    for thread in threads:
        thread.join()
    assert health.status(2.0).values["plans"] == "4000"


@pytest.mark.parametrize("count", [1, 2, 7, 100, 501])
def test_percentiles_are_those_of_numpy(count):
    drawn = np.random.default_rng(count).normal(size=count).round(1)
    values = Percentiles(size=100)
    for value in drawn:
        values.add(float(value))
    for percent in (0, 1, 50, 99, 99.9, 100):
        assert values.at(percent) == pytest.approx(np.percentile(drawn[-100:], percent))


def test_a_new_reason_or_level_is_said_to_be_one():
    health = Health()
    assert health.set(Reason.STALE, 0.0)
    assert not health.set(Reason.STALE, 1.0, detail="older still")
    assert health.set(Reason.STALE, 2.0, level=Level.WARN)
    assert health.set(Reason.OK, 3.0)


def test_events_that_come_together_count_each_at_its_own_time():
    health = Health()
    health.events("joint_states", [1.0 + 0.001 * k for k in range(1001)])
    values = health.status(2.1).values
    assert (values["joint_states_hz"], values["joint_states_age_s"]) == ("1000.0", "0.100")
