# SPDX-License-Identifier: MIT
"""Every way to differentiate a solve, against finite differences in double precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from difftori_models.solver.adam_box import AdamBox
from difftori_models.solver.backward import truncated, unrolled
from difftori_models.solver.method import Method, solve
from difftori_models.solver.normalised_gradient import NormalisedGradient
from difftori_models.solver.problem import Problem
from difftori_models.solver.projected_gradient import ProjectedGradient
from difftori_models.solver.solution import Solution, SolverStatus

B, H, A, D, WIDTH = 5, 2, 3, 4, 16
Weights = dict[str, Tensor]
Backward = Callable[[Problem, Tensor, Method], Solution]
MODES: dict[str, Backward] = {
    "unrolled": unrolled,
    "truncated": lambda problem, start, method: truncated(problem, start, method, 3),
}


def net_value(weights: Weights, context: Tensor, actions: Tensor) -> Tensor:
    hidden = torch.cat([context, actions.flatten(1)], dim=1) @ weights["in"]
    return hidden.tanh() @ weights["out"] - 0.5 * actions.square().sum(dim=(1, 2))


def net_problem(bend: float = 0.4, pull: float = 1.0) -> tuple[Problem, Tensor]:
    """A small net minus a bowl; concave for a small `bend`, with some bounds met."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    weights = {
        "in": torch.cat([random(D, WIDTH), bend * random(H * A, WIDTH)]),
        "out": pull * random(WIDTH),
    }
    high = torch.tensor([1.0, 0.3, 0.6], dtype=torch.float64)
    return Problem(net_value, -high, high, weights, random(B, D)), 0.1 * random(B, H, A)


def moved(problem: Problem, by: float, along: tuple[Weights, Tensor]) -> Problem:
    weights, context = along
    return replace(
        problem,
        params={name: w.detach() + by * weights[name] for name, w in problem.params.items()},
        context=problem.context.detach() + by * context,
    )


def derivative_along(
    solution: Solution, problem: Problem, cotangent: Tensor, along: tuple[Weights, Tensor]
) -> Tensor:
    weights, context = along
    leaves = [*problem.params.values(), problem.context]
    gradients = torch.autograd.grad((cotangent * solution.actions).sum(), leaves)
    steps = [*weights.values(), context]
    return sum((g * step).sum() for g, step in zip(gradients, steps, strict=True))


def leafy(problem: Problem) -> Problem:
    weights = {name: w.clone().requires_grad_() for name, w in problem.params.items()}
    return replace(problem, params=weights, context=problem.context.clone().requires_grad_())


def check_against_differences(
    problem: Problem,
    start: Tensor,
    solution: Callable[[Problem], Solution],
    again: Callable[[Problem], Tensor],
    by: float = 1e-7,
) -> None:
    """`solution` is differentiated, `again(problem)` solved at both sides of the parameters."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):

        def like(x: Tensor) -> Tensor:
            return torch.randn(x.shape, generator=generator, dtype=x.dtype)

        along = {name: like(w) for name, w in problem.params.items()}, like(problem.context)
        cotangent = like(start)
        with torch.no_grad():
            both = [(cotangent * again(moved(problem, x, along))).sum() for x in (by, -by)]
        difference = (both[0] - both[1]) / (2 * by)
        assert difference.abs() > 1e-3
        bound = leafy(problem)
        exact = derivative_along(solution(bound), bound, cotangent, along)
        torch.testing.assert_close(exact, difference, rtol=1e-5, atol=1e-7)


def at_bound(problem: Problem, actions: Tensor) -> Tensor:
    return (actions <= problem.low) | (actions >= problem.high)


@pytest.mark.parametrize(
    "method",
    [
        ProjectedGradient(8, steps=torch.linspace(0.3, 0.1, 8, dtype=torch.float64)),
        NormalisedGradient(8),
        AdamBox(8),
    ],
    ids=lambda method: type(method).__name__,
)
def test_unrolled_is_the_derivative_of_the_solve(method: Method) -> None:
    problem, start = net_problem(bend=1.0)
    assert at_bound(problem, solve(problem, start, method).actions).any()
    check_against_differences(
        problem,
        start,
        lambda p: unrolled(p, start, method),
        lambda p: solve(p, start, method).actions,
    )


@pytest.mark.parametrize("last", [1, 3])
def test_truncated_is_the_derivative_of_the_last_iterations(last: int) -> None:
    problem, start = net_problem(bend=1.0)
    reached = solve(problem, start, ProjectedGradient(8 - last, steps=0.2)).actions
    check_against_differences(
        problem,
        start,
        lambda p: truncated(p, start, ProjectedGradient(8, steps=0.2), last),
        lambda p: solve(p, reached, ProjectedGradient(last, steps=0.2)).actions,
    )


def test_truncated_by_more_than_all_iterations_is_unrolled() -> None:
    problem, start = net_problem()
    method = ProjectedGradient(4, steps=0.2)
    gradients = []
    for last in (4, 9):
        bound = leafy(problem)
        loss = truncated(bound, start, method, last).actions.square().sum()
        gradients.append(torch.autograd.grad(loss, bound.context)[0])
    bound = leafy(problem)
    loss = unrolled(bound, start, method).actions.square().sum()
    gradients.append(torch.autograd.grad(loss, bound.context)[0])
    torch.testing.assert_close(gradients[0], gradients[2], rtol=0, atol=0)
    torch.testing.assert_close(gradients[1], gradients[2], rtol=0, atol=0)


def test_truncated_by_nothing_has_no_gradient_and_less_is_refused() -> None:
    problem, start = net_problem()
    method = ProjectedGradient(4)
    assert not truncated(leafy(problem), start, method, 0).actions.requires_grad
    with pytest.raises(ValueError, match="last must not be negative, got -1"):
        truncated(problem, start, method, -1)


def test_truncated_asks_for_no_more_values_than_the_plain_solve() -> None:
    problem, start = net_problem()
    calls: list[int] = []

    def counted(weights: Weights, context: Tensor, actions: Tensor) -> Tensor:
        calls.append(1)
        return net_value(weights, context, actions)

    problem = replace(problem, objective=counted)
    solve(problem, start, ProjectedGradient(6))
    plain = len(calls)
    truncated(problem, start, ProjectedGradient(6), 2)
    assert len(calls) == 2 * plain


@pytest.mark.parametrize("mode", MODES)
def test_every_way_gives_the_actions_of_the_plain_solve_bit_for_bit(mode: str) -> None:
    problem, start = net_problem(bend=1.0)
    method = ProjectedGradient(8, steps=0.2)
    with torch.no_grad():
        plain = solve(problem, start, method)
    found = MODES[mode](leafy(problem), start, method)
    assert found.actions.requires_grad
    assert torch.equal(found.actions, plain.actions)
    assert torch.equal(found.objective_after, plain.objective_after)


@pytest.mark.parametrize("mode", MODES)
def test_nan_weights_end_at_the_start_and_are_flagged(mode: str) -> None:
    problem, start = net_problem()
    problem.params["out"][3] = torch.nan
    found = MODES[mode](leafy(problem), 9 * start, ProjectedGradient(8, steps=0.2))
    assert torch.equal(found.actions, problem.project(9 * start))
    assert set(found.statuses) == {SolverStatus.NON_FINITE}


@pytest.mark.parametrize("mode", MODES)
def test_a_bad_sample_leaves_the_actions_of_the_others_alone(mode: str) -> None:
    problem, start = net_problem()
    method = ProjectedGradient(8, steps=0.2)
    clean = MODES[mode](problem, start, method).actions
    problem.context[1] = torch.nan
    found = MODES[mode](problem, start, method)
    assert found.finite.tolist() == [True, False, True, True, True]
    others = [0, 2, 3, 4]
    torch.testing.assert_close(found.actions[others], clean[others], rtol=0, atol=1e-12)
