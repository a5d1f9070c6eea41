# SPDX-License-Identifier: MIT
"""Whatever the numbers: a finite answer inside the box, and a status that tells the truth."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from difftori_models.solver.adam_box import AdamBox
from difftori_models.solver.gauss_newton import GaussNewton
from difftori_models.solver.lm_rank1 import LMRank1
from difftori_models.solver.method import Method, solve
from difftori_models.solver.mppi import MPPI
from difftori_models.solver.normalised_gradient import NormalisedGradient
from difftori_models.solver.problem import Problem
from difftori_models.solver.projected_gradient import ProjectedGradient
from difftori_models.solver.solution import Solution, SolverStatus
from difftori_models.solver.wrappers import BestSoFar
from tests.support.solver_problems import (
    corners,
    in_box,
    iterates,
    quadratic,
    residual_net,
    ripple,
    rows,
    scaled,
    small_world,
    states,
)

GRADIENT: dict[str, Method] = {
    "gradient": ProjectedGradient(6, 0.3),
    "normalised": NormalisedGradient(6),
    "adam": AdamBox(6),
    "best-adam": BestSoFar(AdamBox(6)),
}
"""Methods that keep the box and follow a gradient."""
BOXED: dict[str, Method] = {**GRADIENT, "mppi": MPPI(3, samples=32, elites=8)}
SCALE_FREE: dict[str, Method] = {
    "adam": AdamBox(20),
}
"""Methods that promise not to mind the scale of the value."""

boxed = pytest.mark.parametrize("method", BOXED.values(), ids=BOXED)
seeds = st.integers(0, 10_000)
kinds = st.sampled_from([torch.float32, torch.float64])


def solved(problem: Problem, start: Tensor, method: Method) -> Solution:
    """The solution, whose promises that hold for all numbers are asserted."""
    with torch.no_grad():
        found = solve(problem, start, method)
        value = problem.evaluate(found.actions)
    assert found.actions.isfinite().all()
    assert in_box(problem, found.actions)
    for k, status in enumerate(found.statuses):
        assert (status is SolverStatus.NON_FINITE) == (not found.finite[k])
        if status is not SolverStatus.NON_FINITE:
            assert found.objective_after[k].isfinite()
            torch.testing.assert_close(found.objective_after[k], value[k], rtol=1e-4, atol=1e-5)
    return found


def all_finite(problem: Problem, start: Tensor, method: Method) -> Tensor:
    """Whether value and gradient were finite at every iterate, computed apart from the solve."""
    fine = torch.ones(len(start), dtype=torch.bool)
    with torch.no_grad():
        for state in states(problem, start, method):
            value, gradient = problem.objective_and_gradient(state.actions)
            fine &= value.isfinite() & gradient.isfinite().flatten(1).all(dim=1)
    return fine


@boxed
@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=seeds, kind=kinds, where=st.integers(0, 10**6), bad=st.sampled_from([torch.nan, 1e38]))
@example(seed=190, kind=torch.float32, where=18786, bad=1e38)
def test_a_bad_weight_gives_a_finite_answer_and_a_true_status(
    method: Method, seed: int, kind: torch.dtype, where: int, bad: float
) -> None:
    problem, start = small_world(3, seed, kind)
    weights = list(problem.params.parameters())
    weight = weights[where % len(weights)].data.view(-1)
    weight[where % len(weight)] = bad
    found = solved(problem, start, method)
    if method in GRADIENT.values():
        fine = all_finite(problem, start, method)
        assert torch.equal(found.finite, fine)
    begun = problem.evaluate(problem.project(start)).isfinite()
    assert not found.finite[~begun].any()
    # from where nothing is known it stays at the start, unless it has met something better
    stays = ~begun & ~found.objective_after.isfinite()
    assert torch.equal(found.actions[stays], problem.project(start)[stays])


@boxed
@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    seed=seeds,
    kind=kinds,
    gain=st.sampled_from([0.0, 0.1, 1.0, 30.0]),
    factor=st.sampled_from([-1.0, 1e-6, 1.0, 1e6]),
    far=st.sampled_from([0.0, 1.0, 50.0, 1e8, torch.inf]),
)
def test_any_score_scale_and_start_give_a_finite_answer_and_a_true_status(
    method: Method, seed: int, kind: torch.dtype, gain: float, factor: float, far: float
) -> None:
    problem, start = ripple(3, seed=seed, dtype=kind, gain=gain)
    problem = scaled(problem, factor)
    start = far * start.sign() if far else torch.zeros_like(start)
    found = solved(problem, start, method)
    assert found.finite.all()
    allowed = {SolverStatus.COMPLETE} if gain else {SolverStatus.COMPLETE, SolverStatus.FLAT}
    assert set(found.statuses) <= allowed
    # A start far outside is the same as its projection.
    again = solved(problem, problem.project(start), method)
    assert torch.equal(again.actions, found.actions)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    seed=seeds,
    kind=kinds,
    factor=st.sampled_from([1e-6, 1.0, 1e6]),
    far=st.sampled_from([0.0, 1.0, 50.0, torch.inf]),
    damping=st.sampled_from([0.0, 1e-3, 1.0]),
)
def test_gauss_newton_stays_finite_and_in_the_box_for_any_residuals(
    seed: int, kind: torch.dtype, factor: float, far: float, damping: float
) -> None:
    problem, start = residual_net(3, seed=seed, dtype=kind)
    residuals = problem.residuals
    assert residuals is not None
    problem = Problem.least_squares(
        lambda params, context, actions: factor * residuals(params, context, actions),
        problem.low,
        problem.high,
        problem.params,
        problem.context,
    )
    start = far * start.sign() if far else torch.zeros_like(start)
    found = solved(problem, start, GaussNewton(4, damping=damping))
    assert found.finite.all()


@pytest.mark.parametrize("method", SCALE_FREE.values(), ids=SCALE_FREE)
@pytest.mark.parametrize("kind", [torch.float32, torch.float64], ids=["fp32", "fp64"])
@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_progress_does_not_depend_on_the_scale_of_the_value(
    method: Method, kind: torch.dtype, factor: float
) -> None:
    for make in (quadratic, ripple, small_world):
        problem, start = make(16, dtype=kind)
        plain = solved(problem, start, BestSoFar(method))
        other = solved(scaled(problem, factor), start, BestSoFar(method))
        gain = plain.objective_after - plain.objective_before
        same = (other.objective_after - other.objective_before) / factor
        assert (gain > 0).all()
        assert ((same / gain).median() - 1).abs() < 0.01
        assert (same > 0.5 * gain).all()


def test_a_plain_gradient_does_mind_the_scale() -> None:
    problem, start = quadratic(4)
    method = ProjectedGradient(20, 0.2)
    plain = solved(problem, start, method)
    small = solved(scaled(problem, 1e-6), start, method)
    gain = plain.objective_after - plain.objective_before
    assert (small.objective_after - small.objective_before < 1e-3 * 1e-6 * gain).all()


# --- statuses


@boxed
def test_complete_is_said_of_a_solve_that_did_all_iterations(method: Method) -> None:
    problem, start = ripple(4)
    assert solved(problem, start, method).statuses == (SolverStatus.COMPLETE,) * 4


@pytest.mark.parametrize("method", GRADIENT.values(), ids=GRADIENT)
def test_flat_is_said_of_the_samples_without_a_gradient_and_of_no_others(method: Method) -> None:
    def value(_: None, slope: Tensor, actions: Tensor) -> Tensor:
        return (slope[:, :, None] * actions).sum(dim=(1, 2))

    slope = torch.tensor([[0.0, 0.0], [1.0, 0.0]]).double()
    problem = Problem(value, *corners(torch.float64), context=slope)
    start = torch.zeros(2, 2, 3).double()
    found = solved(problem, start, method)
    assert found.statuses == (SolverStatus.FLAT, SolverStatus.COMPLETE)
    assert torch.equal(found.actions[0], start[0])


def test_a_solve_that_ends_where_it_began_is_not_flat_when_it_moved() -> None:
    def value(_: None, __: object, actions: Tensor) -> Tensor:
        return -0.5 * actions.square().sum(dim=(1, 2))

    problem = Problem(value, *corners(torch.float64))
    start = torch.full((1, 1, 3), 0.25).double()
    found = solved(problem, start, ProjectedGradient(2, 2.0))  # there and back again
    assert torch.equal(found.actions, start)
    assert found.statuses == (SolverStatus.COMPLETE,)


@boxed
def test_non_finite_is_said_of_the_bad_sample_only_and_the_others_do_not_notice(
    method: Method,
) -> None:
    problem, start = small_world(4)
    clean = solved(problem, start, method)
    problem.context[2, 0] = torch.nan
    found = solved(problem, start, method)
    assert found.statuses == (
        SolverStatus.COMPLETE,
        SolverStatus.COMPLETE,
        SolverStatus.NON_FINITE,
        SolverStatus.COMPLETE,
    )
    others = [0, 1, 3]
    assert torch.equal(found.actions[others], clean.actions[others])
    assert torch.equal(found.actions[2], problem.project(start)[2])


@pytest.mark.parametrize("method", GRADIENT.values(), ids=GRADIENT)
def test_a_start_that_is_no_number_is_said_to_be_non_finite(method: Method) -> None:
    problem, start = ripple(2)
    start[0, 0, 0] = torch.nan
    with torch.no_grad():
        found = solve(problem, start, method)
    assert found.statuses == (SolverStatus.NON_FINITE, SolverStatus.COMPLETE)
    assert in_box(rows(problem, [1]), found.actions[1:])


@pytest.mark.parametrize(
    "method", [GRADIENT[name] for name in ("gradient", "normalised", "adam", "best-adam")]
)
@pytest.mark.parametrize("bad", [torch.inf, -torch.inf, torch.nan])
def test_a_gradient_that_is_not_finite_is_said_although_the_box_would_hide_it(
    method: Method, bad: float
) -> None:
    def value(_: None, __: object, actions: Tensor) -> Tensor:
        return actions.sum(dim=(1, 2))

    def gradient(_: None, __: object, actions: Tensor) -> tuple[Tensor, Tensor]:
        return actions.sum(dim=(1, 2)), torch.full_like(actions, bad)

    problem = Problem(value, *corners(torch.float32), gradient=gradient)
    start = torch.zeros(1, 2, 3)
    found = solved(problem, start, method)
    assert found.statuses == (SolverStatus.NON_FINITE,)
    assert torch.equal(found.actions, start)


def test_what_went_wrong_in_the_middle_is_said_and_the_best_before_it_is_kept() -> None:
    def value(_: None, __: object, actions: Tensor) -> Tensor:
        total = actions.sum(dim=(1, 2))
        return total + 1e-9 * (1.25 - total).log()

    problem = Problem(value, *corners(torch.float64))
    start = torch.zeros(1, 1, 3).double()
    every = iterates(problem, start, ProjectedGradient(20, 0.1))
    assert problem.evaluate(every[-1]).isnan()
    found = solved(problem, start, ProjectedGradient(20, 0.1))
    assert torch.equal(found.actions, start)
    found = solved(problem, start, BestSoFar(ProjectedGradient(20, 0.1)))
    assert found.statuses == (SolverStatus.NON_FINITE,)
    assert torch.equal(found.actions, every[4])
    assert found.objective_after > 1.1


def test_the_references_lm_says_non_finite_too() -> None:
    problem, start = small_world(2)
    problem.context[0, 0] = torch.nan
    found = solve(problem, start, LMRank1(3))
    assert found.statuses == (SolverStatus.NON_FINITE, SolverStatus.COMPLETE)
    assert torch.equal(found.actions[0], start[0])
