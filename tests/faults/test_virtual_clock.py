# SPDX-License-Identifier: MIT
"""Actors on one virtual clock act in the order of time, also when they are stopped or killed."""

import pytest

from tests.support.virtual.clock import BEGIN_NS, MS, Alarm, Process, Timeline


@pytest.fixture
def timeline():
    made = Timeline()
    yield made
    made.close()


def ticking(timeline, process, seen, period_ms=10):
    def run():
        while True:
            seen.append((timeline.now_ns - BEGIN_NS) // MS)
            timeline.sleep(period_ms * MS)

    timeline.spawn(process, run)


def test_actors_and_calls_take_turns_in_the_order_of_time(timeline):
    process, seen = Process("any"), []
    for name, period_ms in (("a", 10), ("b", 15)):

        def run(name=name, period_ms=period_ms):
            while True:
                timeline.sleep(period_ms * MS)
                seen.append((name, (timeline.now_ns - BEGIN_NS) // MS))

        timeline.spawn(process, run)
    timeline.at(BEGIN_NS + 12 * MS, process, lambda: seen.append(("call", 12)))
    timeline.run(32 * MS)
    assert seen == [("a", 10), ("call", 12), ("b", 15), ("a", 20), ("b", 30), ("a", 30)]


def test_a_process_that_is_stopped_goes_on_where_it_was(timeline):
    stopped, other, seen, others = Process("stopped"), Process("other"), [], []
    ticking(timeline, stopped, seen)
    ticking(timeline, other, others)
    timeline.at(BEGIN_NS + 15 * MS, other, lambda: stopped.stop(BEGIN_NS + 38 * MS))
    timeline.run(60 * MS)
    assert seen == [0, 10, 38, 48, 58]
    assert others == [0, 10, 20, 30, 40, 50, 60]


def test_a_process_that_is_killed_does_nothing_any_more(timeline):
    process, seen = Process("killed"), []
    ticking(timeline, process, seen)
    timeline.at(BEGIN_NS + 15 * MS, Process("other"), process.kill)
    timeline.run(60 * MS)
    assert seen == [0, 10]


def test_a_fuse_burns_between_two_steps_of_a_process(timeline):
    process, seen = Process("struck"), []
    ticking(timeline, process, seen, period_ms=1)
    process.fuse, process.burn = 3, lambda: process.stop(timeline.now_ns + 20 * MS)
    timeline.run(25 * MS)
    assert seen == [0, 1, 2, 3, 23, 24, 25]


def test_a_wait_ends_at_its_time_or_when_somebody_rings(timeline):
    process, seen = Process("waiting"), []
    alarm = Alarm(timeline, process)

    def run():
        while True:
            alarm.wait(timeline.now_ns + 20 * MS)
            seen.append((timeline.now_ns - BEGIN_NS) // MS)

    timeline.spawn(process, run)
    timeline.at(BEGIN_NS + 5 * MS, process, alarm.ring)
    timeline.run(50 * MS)
    assert seen == [5, 25, 45]


def test_what_an_actor_raises_ends_the_run(timeline):
    def run():
        raise ZeroDivisionError

    timeline.spawn(Process("any"), run)
    with pytest.raises(ZeroDivisionError):
        timeline.run(MS)
