# SPDX-License-Identifier: MIT
"""Threads in virtual time exclude each other, wait and end as those of Python do."""

import pytest

from tests.support.virtual.clock import BEGIN_NS, MS, Process, Timeline
from tests.support.virtual.threads import VirtualThreads


@pytest.fixture
def timeline():
    made = Timeline()
    yield made
    made.close()


@pytest.fixture
def threads(timeline):
    return VirtualThreads(timeline, Process("any"))


def begin(threads, run):
    thread = threads.Thread(target=run, name="any", daemon=True)
    thread.start()
    return thread


def test_a_lock_is_held_by_one_at_a_time(timeline, threads):
    lock, seen = threads.Lock(), []

    def run(name):
        with lock:
            seen.append(name)
            timeline.sleep(5 * MS)
            seen.append(name)

    for name in "ab":
        begin(threads, lambda name=name: run(name))
    timeline.run(20 * MS)
    assert seen == ["a", "a", "b", "b"]


def test_a_wait_ends_when_it_happens_or_the_time_is_over(timeline, threads):
    event, seen = threads.Event(), []

    def run():
        for timeout_s in (0.01, None, 0.01):
            seen.append((event.wait(timeout_s), (timeline.now_ns - BEGIN_NS) // MS))
        event.clear()
        seen.append((event.wait(0.01), (timeline.now_ns - BEGIN_NS) // MS))

    begin(threads, run)
    timeline.at(BEGIN_NS + 30 * MS, Process("other"), event.set)
    timeline.run(60 * MS)
    assert seen == [(False, 10), (True, 30), (True, 30), (False, 40)]


def test_a_thread_is_waited_for_until_it_has_ended_or_the_time_is_over(timeline, threads):
    slow, seen = begin(threads, lambda: timeline.sleep(30 * MS)), []

    def run():
        for _ in range(2):
            slow.join(0.02)
            seen.append((slow.is_alive(), round(threads.monotonic() - BEGIN_NS * 1e-9, 3)))

    begin(threads, run)
    timeline.run(60 * MS)
    assert seen == [(True, 0.02), (False, 0.03)]
