# SPDX-License-Identifier: MIT
"""A planner's thread that hangs is given up and replaced; what it brings later is thrown away."""

import threading
import time

import pytest

from difftori_ros.policy.planner_thread import PlannerSupervisor, PlannerThread

LIMIT_S = 10.0
TURN_S = 0.005


class Bench:
    """A supervisor whose turns hang on demand, and what came out."""

    def __init__(self, timeout_s=0.05, max_restarts=3):
        self.hang, self.release = threading.Event(), threading.Event()
        self.hanging, self.came_back = threading.Semaphore(0), threading.Semaphore(0)
        self.out, self.renewed = threading.Semaphore(0), 0
        self.late = 0
        self._timeout_s = timeout_s
        self.supervisor = PlannerSupervisor(self, threading.Event(), max_restarts)

    def timeout_s(self):
        return self._timeout_s

    def renew(self, permit):
        self.renewed += 1

    def turn(self, permit):
        if self.hang.is_set():
            self.hanging.release()
            assert self.release.wait(LIMIT_S)
            with permit.permission() as allowed:
                self.late += allowed
            self.came_back.release()
            return TURN_S
        with permit.permission() as allowed:
            if allowed:
                permit.planned()
                self.out.release()
        return TURN_S

    def works(self):
        """Something comes out that was not there before."""
        while self.out.acquire(blocking=False):
            pass
        return self.out.acquire(timeout=LIMIT_S)

    def give_up(self, and_again=False):
        """Wait for a thread to hang, and watch until it is given up; the next one may hang too."""
        assert self.hanging.acquire(timeout=LIMIT_S)
        end = time.monotonic() + LIMIT_S
        while (said := self.supervisor.watch()) is None:
            assert time.monotonic() < end
        if not and_again:
            self.hang.clear()
        self.supervisor.replace()
        return said


@pytest.fixture
def bench():
    made = Bench()
    yield made
    made.release.set()
    made.supervisor.stop(LIMIT_S)


def test_turn_after_turn_is_taken_until_the_stop(bench):
    bench.supervisor.start()
    assert bench.works()
    assert bench.works()
    bench.supervisor.stop()
    while bench.out.acquire(blocking=False):
        pass
    assert bench.supervisor.hanging == 0
    assert not bench.out.acquire(timeout=0.05)


def test_thread_that_hangs_is_replaced_by_one_with_a_new_planner(bench):
    bench.supervisor.start()
    assert bench.works()
    assert bench.renewed == 0
    bench.hang.set()
    assert "given up after 0.05 s; planner 2 is being started" in bench.give_up()
    assert bench.works()
    assert bench.renewed == 1
    assert bench.supervisor.hanging == 1


def test_what_a_given_up_thread_brings_later_is_not_let_out(bench):
    bench.hang.set()
    bench.supervisor.start()
    bench.give_up()
    assert bench.works()
    bench.release.set()
    assert bench.came_back.acquire(timeout=LIMIT_S)
    assert bench.late == 0


def test_stop_returns_though_the_thread_hangs_and_lets_nothing_out_afterwards(bench):
    bench.hang.set()
    bench.supervisor.start()
    assert bench.hanging.acquire(timeout=LIMIT_S)
    began = time.monotonic()
    bench.supervisor.stop(0.1)
    assert time.monotonic() - began < 2.0
    assert bench.supervisor.hanging == 1
    bench.release.set()
    assert bench.came_back.acquire(timeout=LIMIT_S)
    assert bench.late == 0


def test_after_too_many_in_a_row_there_is_no_other_until_the_next_start(bench):
    bench.hang.set()
    bench.supervisor.start()
    said = [bench.give_up(and_again=True) for _ in range(4)]
    assert "no other planner is started" in said[-1]
    assert not any("no other planner" in one for one in said[:-1])
    assert bench.supervisor.exhausted
    assert bench.supervisor.watch() is None
    bench.hang.clear()
    bench.supervisor.start(renew=True)
    assert not bench.supervisor.exhausted
    assert bench.works()


def test_plan_in_between_starts_the_count_anew(bench):
    bench.supervisor.start()
    for _ in range(5):
        bench.release.clear()
        bench.hang.set()
        bench.give_up()
        bench.release.set()
        assert bench.came_back.acquire(timeout=LIMIT_S)
        assert bench.works()
    assert not bench.supervisor.exhausted


def test_threads_that_never_come_back_are_bounded_even_with_plans_in_between(bench):
    bench.supervisor.start()
    for _ in range(4):
        bench.hang.set()
        said = bench.give_up()
        if not bench.supervisor.exhausted:
            assert bench.works()
    assert "no other planner is started" in said
    assert bench.supervisor.hanging == 4


class Dying:
    """Turns of which the first one ends its thread."""

    def __init__(self):
        self.died, self.out = threading.Event(), threading.Event()

    def timeout_s(self):
        return 100.0

    def renew(self, permit):
        """Nothing to make."""

    def turn(self, permit):
        if not self.died.is_set():
            self.died.set()
            raise SystemError("must not happen")
        self.out.set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_thread_that_has_died_is_replaced_too():
    dying = Dying()
    supervisor = PlannerSupervisor(dying, threading.Event())
    supervisor.start()
    assert dying.died.wait(LIMIT_S)
    end = time.monotonic() + LIMIT_S
    while (said := supervisor.watch()) is None:
        assert time.monotonic() < end
    assert "thread has ended" in said
    supervisor.replace()
    assert dying.out.wait(LIMIT_S)
    supervisor.stop()


class Sleeper:
    """A thread whose turns are counted, and due when the test says."""

    def __init__(self, due_s):
        self.due_s, self.turns, self.news = due_s, threading.Semaphore(0), threading.Event()
        self.thread = PlannerThread(self, self.news)
        self.thread.start()

    def timeout_s(self):
        return 100.0

    def renew(self, permit):
        """Nothing to make."""

    def turn(self, permit):
        self.turns.release()
        return self.due_s


@pytest.fixture
def sleeper(request):
    made = Sleeper(request.param)
    yield made
    made.thread.stop()


@pytest.mark.parametrize("sleeper", [None], indirect=True)
def test_a_thread_with_nothing_due_sleeps_until_it_is_woken(sleeper):
    assert sleeper.turns.acquire(timeout=LIMIT_S)
    assert not sleeper.turns.acquire(timeout=0.2)
    sleeper.news.set()
    assert sleeper.turns.acquire(timeout=LIMIT_S)
    assert not sleeper.turns.acquire(timeout=0.2)


@pytest.mark.parametrize("sleeper", [0.3], indirect=True)
def test_a_turn_that_is_due_is_taken_then_and_not_before(sleeper):
    assert sleeper.turns.acquire(timeout=LIMIT_S)
    assert not sleeper.turns.acquire(timeout=0.1)
    assert sleeper.turns.acquire(timeout=LIMIT_S)
