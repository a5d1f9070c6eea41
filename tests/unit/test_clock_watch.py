# SPDX-License-Identifier: MIT
"""A clock that somebody sets is noticed; one that merely runs, starts or drifts is not."""

import pytest

from difftori_ros.status.clock_jump import AHEAD_NS, ClockWatch, shown_ns

T0 = 1_800_000_000.0


def look(watch, clock_s, steady_s, took_s=1e-4):
    return watch.look(steady_s, round(clock_s * 1e9), steady_s + took_s)


@pytest.mark.parametrize("jump", [3600.0, 1.5, -0.5, -10.0])
def test_jump_is_told_once_and_by_how_much(jump):
    watch = ClockWatch()
    assert look(watch, T0, 100.0) is None
    assert look(watch, T0 + 0.1 + jump, 100.1) == pytest.approx(jump, abs=1e-3)
    assert look(watch, T0 + 0.2 + jump, 100.2) is None


@pytest.mark.parametrize("slew", [0.5, -0.05])
def test_small_step_of_network_time_is_no_jump(slew):
    watch = ClockWatch()
    look(watch, T0, 100.0)
    assert look(watch, T0 + 0.1 + slew, 100.1) is None


def test_long_time_without_a_look_is_no_jump():
    watch = ClockWatch()
    look(watch, T0, 100.0)
    assert look(watch, T0 + 500.0, 600.0) is None


def test_look_that_was_interrupted_shows_nothing():
    watch = ClockWatch()
    look(watch, T0, 100.0)
    assert look(watch, T0 + 0.1, 100.1, took_s=3.0) is None
    assert look(watch, T0 + 3.2, 103.2) is None


def test_clock_that_is_not_there_yet_is_no_jump_when_it_starts():
    watch = ClockWatch()
    assert look(watch, 0.0, 100.0) is None
    assert look(watch, T0, 100.1) is None
    assert look(watch, T0 + 0.1, 100.2) is None


def test_simulated_message_faster_than_the_clock_shows_the_time():
    now = 100 * 10**9
    assert shown_ns(now, now + AHEAD_NS, simulated=True) == now + AHEAD_NS
    assert shown_ns(0, now, simulated=True) == now
    assert shown_ns(now, now - 5, simulated=True) == now


def test_message_of_another_time_or_from_a_wrong_clock_shows_nothing():
    now = 100 * 10**9
    assert shown_ns(now, now + AHEAD_NS + 1, simulated=True) == now
    assert shown_ns(now, now + 5, simulated=False) == now
    assert shown_ns(0, now, simulated=False) == 0
