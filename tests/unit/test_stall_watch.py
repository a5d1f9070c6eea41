# SPDX-License-Identifier: MIT
"""A process that stood still, and a clock that was set, are noticed at the next look."""

import pytest

from difftori_ros.guard.stall_watch import StallWatch

BEGIN_S, NOW_NS = 100.0, 10_000_000_000_000


def look(watch, passed_s, step_s=0.0, reading_s=1e-5):
    """A look at both clocks `passed_s` after the beginning, the second one set by `step_s`."""
    at_s = BEGIN_S + passed_s
    now_ns = NOW_NS + round((passed_s + step_s) * 1e9)
    return watch.look(at_s, now_ns, at_s + reading_s)


@pytest.fixture
def watch():
    made = StallWatch()
    first = look(made, 0.0)
    assert (first.stalled_s, first.step_ns) == (0.0, 0)
    return made


def test_nothing_has_happened_when_looks_follow_each_other_in_time(watch):
    for k in range(1, 20):
        seen = look(watch, 0.1 * k)
        assert (seen.stalled_s, seen.step_ns) == (0.0, 0)
        assert (seen.steady_s, seen.now_ns) == (BEGIN_S + 0.1 * k, NOW_NS + k * 100_000_000)


def test_a_process_that_stood_still_is_told_for_how_long_and_once(watch):
    assert look(watch, 0.35).stalled_s == pytest.approx(0.35)
    assert look(watch, 0.36).stalled_s == 0.0


@pytest.mark.parametrize("step_s", [-3600.0, -0.2, -0.006, 0.006, 0.5, 7200.0])
def test_a_clock_that_was_set_is_told_by_how_much_and_once(watch, step_s):
    assert look(watch, 0.02, step_s).step_ns == pytest.approx(step_s * 1e9, abs=1e6)
    assert look(watch, 0.04, step_s).step_ns == 0


def test_a_clock_that_is_slewed_was_not_set(watch):
    for k in range(1, 100):
        assert look(watch, 0.02 * k, 1e-5 * k).step_ns == 0


def test_what_happens_while_the_clocks_are_read_is_found_by_the_next_look(watch):
    during = look(watch, 0.02, 0.3, reading_s=0.4)
    assert (during.stalled_s, during.step_ns) == (0.0, 0)
    after = look(watch, 0.42, 0.3)
    assert after.stalled_s == pytest.approx(0.4)
    assert after.step_ns == pytest.approx(0.3e9, abs=1e6)
