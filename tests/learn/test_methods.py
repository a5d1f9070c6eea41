# SPDX-License-Identifier: MIT
"""What every method keeps on every kind of problem: the box, the count, the sample, the value."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from difftori_models.solver.adam_box import AdamBox
from difftori_models.solver.gauss_newton import GaussNewton
from difftori_models.solver.lm_rank1 import LMRank1
from difftori_models.solver.method import Method, solve
from difftori_models.solver.mppi import MPPI
from difftori_models.solver.normalised_gradient import NormalisedGradient
from difftori_models.solver.problem import Problem
from difftori_models.solver.projected_gradient import ProjectedGradient
from difftori_models.solver.solution import SolverStatus
from difftori_models.solver.wrappers import BestSoFar
from tests.support.solver_problems import (
    in_box,
    iterates,
    quadratic,
    residual_net,
    ripple,
    rows,
    small_world,
)

Make = Callable[[int], tuple[Problem, Tensor]]

BOXED = {
    "gradient": ProjectedGradient(8, 0.2),
    "normalised": NormalisedGradient(8),
    "adam": AdamBox(8),
    "gauss-newton": GaussNewton(4),
    "mppi": MPPI(3, samples=48, elites=8),
}
"""Every method that keeps the box."""
EVERY = {**BOXED, "lm": LMRank1(8, step_size=1e-2)}
PROBLEMS: dict[str, Make] = {
    "quadratic": quadratic,
    "residuals": residual_net,
    "ripple": ripple,
    "world": small_world,
}


def matrix(methods: dict[str, Method]) -> pytest.MarkDecorator:
    """Every method on every problem; Gauss-Newton on those that are least squares."""
    return pytest.mark.parametrize(
        ("method", "make"),
        [
            pytest.param(method, make, id=f"{name}-{kind}")
            for name, method in methods.items()
            for kind, make in PROBLEMS.items()
            if name != "gauss-newton" or kind in ("quadratic", "residuals")
        ],
    )


@matrix(EVERY)
def test_the_best_so_far_is_never_worse_than_the_start(method: Method, make: Make) -> None:
    problem, start = make(16)
    found = solve(problem, start, BestSoFar(method))
    assert (found.objective_after >= found.objective_before).all()
    assert (found.objective_after > found.objective_before).sum() >= 8
    inside = problem.project(found.actions)
    torch.testing.assert_close(found.objective_after, problem.evaluate(inside).detach())
    torch.testing.assert_close(
        found.objective_before, problem.evaluate(problem.project(start)).detach()
    )


@matrix(BOXED)
def test_every_iterate_is_inside_the_box(method: Method, make: Make) -> None:
    problem, start = make(16)
    every = iterates(problem, 3 * start, method)
    assert in_box(problem, every)
    assert ((every[0] == problem.low) | (every[0] == problem.high)).any()
    assert (every[-1] != every[0]).any()


@pytest.mark.parametrize("make", PROBLEMS.values(), ids=PROBLEMS)
def test_the_references_lm_leaves_the_box(make: Make) -> None:
    problem, start = make(16)
    every = iterates(problem, problem.project(start), LMRank1(10))
    assert in_box(problem, every[0])
    assert not in_box(problem, every[-1])


@matrix(EVERY)
def test_a_sample_gets_the_same_answer_alone_and_in_a_batch(method: Method, make: Make) -> None:
    problem, start = make(12)
    together = solve(problem, start, method)
    for k in (0, 5, 11):
        alone = solve(rows(problem, [k]), start[k : k + 1], method)
        torch.testing.assert_close(alone.actions[0], together.actions[k], rtol=0, atol=1e-8)
        torch.testing.assert_close(alone.objective_after[0], together.objective_after[k])


@matrix(EVERY)
def test_the_same_solve_gives_the_same_answer_to_the_last_bit(method: Method, make: Make) -> None:
    problem, start = make(4)
    one, other = solve(problem, start, method), solve(problem, start, method)
    assert torch.equal(one.actions, other.actions)
    assert torch.equal(one.objective_after, other.objective_after)


@matrix(EVERY)
def test_gradients_change_nothing_but_that_the_answer_can_be_differentiated(
    method: Method, make: Make
) -> None:
    problem, start = make(4)
    with torch.no_grad():
        detached = solve(problem, start, method)
    start.requires_grad_()
    attached = solve(problem, start, method)
    assert torch.equal(attached.actions, detached.actions)
    assert torch.equal(attached.objective_after, detached.objective_after)
    assert not detached.actions.requires_grad
    assert not attached.objective_after.requires_grad
    if not isinstance(method, MPPI):  # which has no derivative
        (gradient,) = torch.autograd.grad(attached.actions.sum(), start)
        assert gradient.isfinite().all()


@matrix({name: method for name, method in BOXED.items() if name != "mppi"})
def test_the_derivative_with_respect_to_the_problem_is_finite_and_not_zero(
    method: Method, make: Make
) -> None:
    problem, start = make(8)
    learned = list(problem.params.parameters()) if problem.params else [problem.context[1]]
    for one in learned:
        one.requires_grad_()
    loss = solve(problem, start, method).actions.square().sum()
    found = torch.autograd.grad(loss, learned, allow_unused=True)
    flat = torch.cat([x.flatten() for x in found if x is not None])
    assert flat.isfinite().all()
    assert torch.count_nonzero(flat) > 0


@pytest.mark.parametrize("name", EVERY)
def test_no_iterations_give_the_start(name: str) -> None:
    problem, start = quadratic(5)
    settings = {**vars(EVERY[name]), "iterations": 0}
    method = type(EVERY[name])(**settings)
    found = solve(problem, 3 * start, method)
    expected = 3 * start if name == "lm" else problem.project(3 * start)
    assert torch.equal(found.actions, expected)
    value = problem.evaluate(problem.project(3 * start))
    torch.testing.assert_close(found.objective_before, value)
    torch.testing.assert_close(found.objective_after, value)
    assert found.statuses == (SolverStatus.COMPLETE,) * 5


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("kind", [torch.float32, torch.float64], ids=["fp32", "fp64"])
def test_the_schedule_has_one_row_per_iteration_in_the_problems_type(
    name: str, kind: torch.dtype
) -> None:
    method = EVERY[name]
    schedule = method.schedule(torch.zeros(2, 4, 3, dtype=kind))
    count = vars(method)["iterations"]
    assert schedule.shape[0] == count
    assert schedule.dim() == 2
    assert schedule.dtype == kind


@matrix({name: EVERY[name] for name in ("gradient", "normalised", "adam", "lm")})
def test_an_iteration_costs_one_gradient_and_the_answer_one_value(
    method: Method, make: Make
) -> None:
    problem, start = make(4)
    calls = []

    def counted(params: object, context: object, actions: Tensor) -> Tensor:
        calls.append(torch.is_grad_enabled())
        return problem.objective(params, context, actions)

    with torch.no_grad():
        watched = Problem(counted, problem.low, problem.high, problem.params, problem.context)
        solve(watched, start, BestSoFar(method))
    assert calls == [True] * 8 + [False]


@pytest.mark.parametrize("name", EVERY)
def test_a_negative_count_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="must not be negative, got -1"):
        type(EVERY[name])(**{**vars(EVERY[name]), "iterations": -1})


def test_a_concave_value_is_climbed_to_its_maximum_in_the_box() -> None:
    problem, start = quadratic(8)
    with torch.no_grad():
        best = solve(problem, start, ProjectedGradient(2000, 0.2))
        for method in (AdamBox(60), NormalisedGradient(60), GaussNewton(20)):
            found = solve(problem, start, BestSoFar(method))
            missed = (best.objective_after - found.objective_after) / (
                best.objective_after - found.objective_before
            )
            assert (missed < 0.01).all(), method
            assert (missed > -1e-6).all(), method
