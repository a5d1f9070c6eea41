# SPDX-License-Identifier: MIT
"""Wrappers keep their word: the best iterate, the deadline, the best start, the rate limits."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np
import pytest
import torch
from scipy.optimize import LinearConstraint, minimize
from torch import Tensor

from difftori_models.solver.adam_box import AdamBox
from difftori_models.solver.lm_rank1 import LMRank1
from difftori_models.solver.method import Method, solve
from difftori_models.solver.problem import Params, Problem
from difftori_models.solver.projected_gradient import AdaptiveGradient, ProjectedGradient
from difftori_models.solver.solution import SolverStatus
from difftori_models.solver.wrappers import BestSoFar, Deadline, MultiStart, RateLimited
from tests.support.solver_problems import (
    in_box,
    iterates,
    quadratic,
    ripple,
    rows,
    small_world,
    states,
)

INNER = [
    pytest.param(AdamBox(12), id="adam"),
    pytest.param(AdaptiveGradient(12), id="adaptive"),
    pytest.param(ProjectedGradient(12, 1.5), id="long-steps"),
    pytest.param(LMRank1(12, step_size=1e-2), id="lm"),
]


# --- BestSoFar


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("seed", range(4))
def test_the_best_so_far_is_the_best_of_all_iterates(inner: Method, seed: int) -> None:
    problem, start = ripple(8, seed=seed)
    every = iterates(problem, start, inner)
    with torch.no_grad():
        found = solve(problem, start, BestSoFar(inner))
        values = torch.stack([problem.evaluate(problem.project(actions)) for actions in every])
    torch.testing.assert_close(found.value_after, values.amax(dim=0))
    torch.testing.assert_close(found.actions, every[values.argmax(dim=0), torch.arange(8)])
    torch.testing.assert_close(found.value_before, values[0])
    assert found.statuses == (SolverStatus.COMPLETE,) * 8


def test_the_best_so_far_is_neither_always_the_start_nor_always_the_last() -> None:
    problem, start = quadratic(32)
    method = ProjectedGradient(12, 1.0)
    every = iterates(problem, start, method)
    best = solve(problem, start, BestSoFar(method)).actions
    for one in (every[0], every[-1]):
        assert (best != one).flatten(1).any(dim=1).sum() >= 4


# --- Deadline


@dataclass
class Clocked:
    """A problem whose n-th gradient takes `seconds[n]` on a clock of its own."""

    seconds: list[float]
    now: float = 0.0
    begun: list[float] = field(default_factory=list)
    values: int = 0

    def value(self, _: Params, peak: Tensor, actions: Tensor) -> Tensor:
        self.values += 1
        return -0.5 * (actions - peak).square().sum(dim=(1, 2))

    def gradient(self, _: Params, peak: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        self.begun.append(self.now)
        self.now += self.seconds[len(self.begun) - 1]
        away = peak - actions
        return -0.5 * away.square().sum(dim=(1, 2)), away

    def problem(self) -> Problem:
        one = torch.ones(1)
        return Problem(self.value, -one, one, context=torch.zeros(1, 1, 1), gradient=self.gradient)


def test_no_iteration_begins_after_the_deadline_in_2000_solves() -> None:
    draw = random.Random(0)
    start = torch.ones(1, 1, 1)
    stopped = 0
    for _ in range(2000):
        seconds = [draw.uniform(1e-4, 3e-2) for _ in range(8)]
        clocked, deadline = Clocked(seconds), draw.uniform(0.0, 0.2)
        late = lambda clock=clocked, then=deadline: clock.now >= then  # noqa: E731
        with torch.no_grad():
            found = solve(clocked.problem(), start, Deadline(ProjectedGradient(8), late))
        begins = list(accumulate(seconds, initial=0.0))[:8]
        expected = sum(begin < deadline for begin in begins)
        assert found.iterations == expected == len(clocked.begun)
        assert all(begin < deadline for begin in clocked.begun)
        assert clocked.now - deadline < seconds[max(expected - 1, 0)]
        # Besides the iterations there is one value, that of the answer.
        assert clocked.values == 1
        assert found.statuses == (
            SolverStatus.COMPLETE if expected == 8 else SolverStatus.STOPPED,
        )
        stopped += expected < 8
    assert 500 < stopped < 1900


def test_a_deadline_that_has_passed_gives_the_projected_start() -> None:
    problem, start = ripple(3)
    found = solve(problem, 5 * start, Deadline(AdamBox(10), lambda: True))
    assert torch.equal(found.actions, problem.project(5 * start))
    assert found.statuses == (SolverStatus.STOPPED,) * 3
    assert found.iterations == 0
    torch.testing.assert_close(found.value_before, found.value_after)


def test_a_deadline_that_never_comes_changes_nothing() -> None:
    problem, start = ripple(3)
    free = solve(problem, start, AdamBox(10))
    bound = solve(problem, start, Deadline(AdamBox(10), lambda: False))
    assert torch.equal(free.actions, bound.actions)
    assert bound.statuses == (SolverStatus.COMPLETE,) * 3


class After:
    """Late from the n-th time it is asked."""

    def __init__(self, count: int) -> None:
        self.left = count

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


def test_a_stopped_solve_gives_the_iterate_reached_so_far() -> None:
    problem, start = ripple(3)
    every = iterates(problem, start, AdamBox(10))
    for count in (1, 4, 9):
        found = solve(problem, start, Deadline(AdamBox(10), After(count)))
        assert found.iterations == count
        torch.testing.assert_close(found.actions, every[count])


# --- MultiStart


@pytest.mark.parametrize("inner", [AdamBox(10), BestSoFar(AdamBox(10))], ids=["last", "best"])
def test_many_starts_give_the_best_of_separate_solves(inner: Method) -> None:
    problem, _ = ripple(6)
    starts = torch.randn(6, 5, 4, 3, dtype=torch.float64)
    with torch.no_grad():
        found = solve(problem.tile(5), starts.flatten(0, 1), MultiStart(inner, 5))
        apart = [solve(problem, starts[:, k], inner) for k in range(5)]
    values = torch.stack([one.value_after for one in apart])
    which = values.argmax(dim=0)
    assert len(set(which.tolist())) > 1
    torch.testing.assert_close(found.value_after, values.amax(dim=0))
    best = torch.stack([one.actions for one in apart])[which, torch.arange(6)]
    torch.testing.assert_close(found.actions, best)
    # The value to compare with is the first start's: it is the one there would be otherwise.
    torch.testing.assert_close(found.value_before, apart[0].value_before)
    assert found.statuses == (SolverStatus.COMPLETE,) * 6


def test_a_start_that_fails_does_not_win_and_does_not_spoil_the_others() -> None:
    problem, _ = ripple(2)
    starts = torch.randn(2, 3, 4, 3, dtype=torch.float64)
    spoiled = starts.clone()
    spoiled[0, 1, 2, 0] = torch.nan
    method = MultiStart(BestSoFar(AdamBox(6)), 3)
    found = solve(problem.tile(3), spoiled.flatten(0, 1), method)
    rest = solve(
        rows(problem, [0]).tile(2), starts[0, [0, 2]], MultiStart(BestSoFar(AdamBox(6)), 2)
    )
    assert found.statuses == (SolverStatus.COMPLETE,) * 2
    torch.testing.assert_close(found.actions[:1], rest.actions)


# --- RateLimited


def limits(problem: Problem, batch: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A largest change and a previous action inside the box."""
    generator = torch.Generator().manual_seed(seed)
    kind = problem.low.dtype
    low, high = problem.low.reshape(-1, 3)[-1], problem.high.reshape(-1, 3)[-1]
    previous = low + (high - low) * torch.rand(batch, 3, generator=generator, dtype=kind)
    return torch.tensor([0.3, 0.05, 0.6], dtype=kind), previous


def keeps(actions: Tensor, change: Tensor, previous: Tensor) -> bool:
    before = torch.cat([previous[:, None], actions[:, :-1]], dim=1)
    return bool(((actions >= before - change) & (actions <= before + change)).all())


@pytest.mark.parametrize("inner", INNER[:3])
@pytest.mark.parametrize("kind", [torch.float64, torch.float32], ids=["fp64", "fp32"])
@pytest.mark.parametrize("horizon", [1, 2, 5])
def test_limits_and_box_hold_exactly_at_every_iterate(
    inner: Method, kind: torch.dtype, horizon: int
) -> None:
    problem, start = ripple(16, horizon, dtype=kind)
    change, previous = limits(problem, 16)
    method = RateLimited(inner, change, previous)
    every = iterates(problem, 5 * start, method)
    for actions in every:
        assert keeps(actions, change, previous)
        assert in_box(problem, actions)
    found = solve(problem, 5 * start, method)
    torch.testing.assert_close(found.actions, every[-1])


def test_without_the_wrapper_the_limits_do_not_hold() -> None:
    problem, start = ripple(16)
    change, previous = limits(problem, 16)
    assert not keeps(iterates(problem, start, AdamBox(12))[-1], change, previous)


def test_what_keeps_the_limits_is_left_as_it_is() -> None:
    problem, _ = quadratic(4)
    change, previous = limits(problem, 4)
    still = (0.9 * previous)[:, None].expand(4, 4, 3).clone()
    assert keeps(still, change, previous)
    found = RateLimited(AdamBox(1), change, previous).limit(problem, still)
    torch.testing.assert_close(found, still, rtol=0, atol=1e-12)


def exact(problem: Problem, change: Tensor, previous: Tensor, k: int) -> float:
    """The value of sample k's exact optimum within the limits, by SLSQP."""
    one = rows(problem, [k])
    horizon, size = 4, 3
    n = horizon * size
    steps = np.eye(n) - np.eye(n, k=-size)
    reach = np.tile(change.numpy(), horizon)
    offset = np.zeros(n)
    offset[:size] = previous[k].numpy()

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        with torch.no_grad():
            value, gradient = one.value_and_gradient(torch.from_numpy(flat).view(1, horizon, size))
        return -float(value), -gradient.numpy().reshape(n)

    found = minimize(
        loss,
        np.tile(previous[k].numpy(), horizon),
        jac=True,
        method="SLSQP",
        bounds=[*zip(problem.low.tolist(), problem.high.tolist(), strict=True)] * horizon,
        constraints=LinearConstraint(steps, offset - reach, offset + reach),
        options={"maxiter": 500, "ftol": 1e-12},
    )
    assert found.success, found.message
    return -found.fun


@pytest.mark.parametrize(
    ("inner", "median", "most"),
    [
        pytest.param(ProjectedGradient(200, 0.05), 0.01, 0.02, id="gradient"),
        pytest.param(AdaptiveGradient(60), 0.01, 0.02, id="adaptive"),
        # A step scaled entry by entry and an Euclidean projection have no common fixed point.
        pytest.param(AdamBox(20), 0.05, 0.25, id="adam"),
    ],
)
def test_under_limits_a_concave_value_comes_near_its_exact_optimum(
    inner: Method, median: float, most: float
) -> None:
    problem, start = quadratic(12)
    change, previous = limits(problem, 12)
    with torch.no_grad():
        found = solve(problem, start, BestSoFar(RateLimited(inner, change, previous)))
        held = problem.evaluate(previous[:, None].expand(12, 4, 3))
    best = torch.tensor([exact(problem, change, previous, k) for k in range(12)]).double()
    missed = (best - found.value_after) / (best - held)
    assert (missed > -1e-6).all()
    assert missed.median() < median
    assert missed.max() < most


# --- compositions


@pytest.mark.parametrize("count", [0, 1, 5])
def test_wrappers_go_inside_each_other(count: int) -> None:
    problem, start = small_world(6)
    change = torch.full((3,), 0.2).double()
    previous = torch.zeros(6, 3).double()
    inner = AdaptiveGradient(10)
    orders = [
        Deadline(BestSoFar(RateLimited(inner, change, previous)), After(count)),
        BestSoFar(Deadline(RateLimited(inner, change, previous), After(count))),
        RateLimited(BestSoFar(Deadline(inner, After(count))), change, previous),
    ]
    found = [solve(problem, start, method) for method in orders]
    for one in found:
        assert one.iterations == count
        assert one.statuses == (SolverStatus.STOPPED,) * 6
        assert keeps(one.actions, change, previous)
        assert (one.value_after >= one.value_before).all()
        torch.testing.assert_close(one.actions, found[0].actions)


def test_many_starts_the_best_iterate_and_a_deadline_together() -> None:
    problem, _ = small_world(3)
    starts = torch.randn(3, 4, 4, 3, dtype=torch.float64)
    method = Deadline(MultiStart(BestSoFar(AdamBox(10)), 4), After(3))
    found = solve(problem.tile(4), starts.flatten(0, 1), method)
    assert found.actions.shape == (3, 4, 3)
    assert found.statuses == (SolverStatus.STOPPED,) * 3
    apart = [states(problem, starts[:, k], BestSoFar(AdamBox(3)))[-1].memory[-1] for k in range(4)]
    assert (found.value_after >= torch.stack(apart).amax(dim=0)).all()
