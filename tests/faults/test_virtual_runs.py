# SPDX-License-Identifier: MIT
"""P1 to P4 hold in runs on a virtual clock, whatever is drawn; whoever breaks them is found."""

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from difftori_ros.guard.guard import Guard
from tests.support.virtual.cases import Case, grid_case, random_case
from tests.support.virtual.timeline import story
from tests.support.virtual.world import World, run

FOUND = [
    *(("blink", seed) for seed in (4, 6, 8, 9, 12, 15, 18, 19)),
    *(("kill", seed) for seed in (0, 12, 15, 17, 18)),
]
"""Seeds that broke P1 before a guard judged at the moment of sending."""
GRID = 200


def assert_kept(case: Case) -> World:
    """Nothing is broken; else the story is told, and how to hear it again."""
    world = run(case)
    breaches = world.judge.tally.breaches
    if breaches:
        told = story(world, breaches[0].at_ms)
        raise AssertionError(
            f"{case}\n{told}\n{breaches}\nagain, for a random case: "
            f"python benchmarks/guard_runs.py --seed {case.seed}"
        )
    return world


def breaks(promise: str, cases: Iterable[Case]) -> bool:
    """Whether the promise is broken in any of the cases; the first one is enough."""
    return any(
        breach.promise == promise for case in cases for breach in run(case).judge.tally.breaches
    )


@pytest.mark.parametrize(("kind", "seed"), FOUND)
def test_stops_and_kills_of_the_guard_break_nothing(kind, seed):
    world = assert_kept(grid_case(kind, seed))
    assert world.judge.tally.accepted > 5, "nothing moves"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["blink", "kill"])
def test_a_grid_of_stops_and_kills_breaks_nothing(kind):
    for seed in range(GRID):
        assert_kept(grid_case(kind, seed))


@settings(max_examples=20, deadline=None, derandomize=True, print_blob=False)
@given(st.integers(0, 10**9))
def test_random_runs_break_nothing(seed):
    assert_kept(random_case(seed))


def test_a_run_is_a_function_of_its_case():
    for case in (grid_case("blink", 3), random_case(5)):
        first, again = run(case), run(case)
        assert first.judge.tally == again.judge.tally
        assert [note[:2] for note in first.notes] == [note[:2] for note in again.notes]


def test_a_guard_that_does_not_ask_how_a_plan_joins_is_found(monkeypatch):
    def joins(guard, judged, now_ns):
        return None if judged.plan is not None else inner(guard, judged, now_ns)

    inner = Guard.joins
    monkeypatch.setattr(Guard, "joins", joins)
    assert breaks("P1", (grid_case("blink", seed) for seed in range(20)))


def test_a_guard_that_asks_before_it_judges_is_found(monkeypatch):
    def judge(guard, plan, now_ns):
        judged = inner_judge(guard, plan, now_ns)
        early[judged.plan and judged.plan.stamp_ns] = inner_joins(guard, judged, now_ns)
        return judged

    early = {}
    inner_judge, inner_joins = Guard.judge, Guard.joins
    monkeypatch.setattr(Guard, "judge", judge)
    stamped = lambda judged: judged.plan and judged.plan.stamp_ns  # noqa: E731
    monkeypatch.setattr(Guard, "joins", lambda guard, judged, _: early[stamped(judged)])
    struck = (
        Case(seed=k, speed=1.2, events=((1500.0, "fuse", ("guard", 190.0, k)),)) for k in range(99)
    )
    assert breaks("P1", struck)


def test_a_guard_that_forgets_what_it_holds_is_found(monkeypatch):
    monkeypatch.setattr(Guard, "_require_control", lambda guard: None)
    assert breaks("P4", [Case(events=((1000.0, "estop", (True,)),))])


def test_a_guard_that_does_not_count_breaks_is_found(monkeypatch):
    def without_breaks(guard):
        guard._break_ns = 0

    monkeypatch.setattr(Guard, "_require_control", without_breaks)
    events = ((1500.0, "reset", ()), (1580.0, "reset", ()), (1660.0, "reset", ()))
    assert breaks("P2", (Case(seed=k, plans_ms=20.0, events=events) for k in range(20)))
