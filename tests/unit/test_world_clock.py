# SPDX-License-Identifier: MIT
"""When a command was published is told by the clock of the world that it was published in."""

from tests.support.world_clock import PERIOD_NS, WorldClock

S = 1_000_000_000


def test_it_goes_on_from_the_last_message_by_then():
    clock = WorldClock()
    clock.add(100 * S, 7 * S)
    clock.add(100 * S + PERIOD_NS, 7 * S + PERIOD_NS)
    assert clock.at_ns(100 * S + 3) == 7 * S + 3
    assert clock.at_ns(100 * S + PERIOD_NS + 5) == 7 * S + PERIOD_NS + 5


def test_it_stands_still_where_the_next_message_is_missing():
    clock = WorldClock()
    clock.add(100 * S, 7 * S)
    assert clock.at_ns(102 * S) == 7 * S + PERIOD_NS


def test_a_fresh_world_is_not_judged_by_the_clock_of_the_old_one():
    """The old one had run for 90 s; a command of the fresh one may be received first."""
    clock = WorldClock()
    clock.add(100 * S, 90 * S)
    clock.forget()
    assert clock.at_ns(110 * S) == 0
    clock.add(110 * S + 1, 2 * S)
    assert clock.at_ns(110 * S) == 2 * S
    assert clock.at_ns(110 * S + 4) == 2 * S + 3
