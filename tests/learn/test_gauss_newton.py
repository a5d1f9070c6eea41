# SPDX-License-Identifier: MIT
"""Gauss-Newton: least squares of few residuals, in few iterations."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from difftori_models.solver.backward import unrolled
from difftori_models.solver.gauss_newton import GaussNewton, linearise
from difftori_models.solver.method import Method, solve
from difftori_models.solver.problem import Problem
from difftori_models.solver.projected_gradient import ProjectedGradient
from difftori_models.solver.solution import SolverStatus

B, H, A = 6, 2, 3
N = H * A
ONE = torch.ones(A, dtype=torch.float64)


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def wavy() -> Problem:
    """Far from concave: most Hessians have eigenvalues of both signs."""
    weights = random(N, 32, seed=1), random(32, seed=2)

    def value(weights: tuple[Tensor, Tensor], context: Tensor, actions: Tensor) -> Tensor:
        return (2 * actions.flatten(1) @ weights[0] + context).sin() @ weights[1]

    return Problem(value, -ONE, ONE, weights, random(B, 32, seed=3))


def fit(k: int) -> Problem:
    """Linear residuals J a - y."""

    def residuals(matrix: Tensor, target: Tensor, actions: Tensor) -> Tensor:
        return actions.flatten(1) @ matrix.T - target

    wide = 100 * ONE
    return Problem.least_squares(residuals, -wide, wide, random(k, N), random(B, k, seed=5))


def bent(k: int = 4) -> Problem:
    """Residuals of a small net."""
    weights = 0.7 * random(N, 12), random(12, k, seed=1)

    def residuals(
        weights: tuple[Tensor, Tensor], context: tuple[Tensor, Tensor], actions: Tensor
    ) -> Tensor:
        shift, target = context
        return (actions.flatten(1) @ weights[0] + shift).tanh() @ weights[1] - target

    context = random(B, 12, seed=2), random(B, k, seed=3)
    return Problem.least_squares(residuals, -ONE, ONE, weights, context)


@pytest.mark.parametrize("k", [3, N, 9], ids=["fewer", "as many", "more"])
@pytest.mark.parametrize("eliminate", [False, True])
def test_linear_least_squares_take_one_iteration(k: int, eliminate: bool) -> None:
    problem = fit(k)
    method = GaussNewton(1, damping=0.0, eliminate=eliminate)
    found = solve(problem, torch.zeros(B, H, A, dtype=torch.float64), method)
    exact = torch.linalg.lstsq(problem.params, problem.context.T, driver="gelsd").solution.T
    torch.testing.assert_close(found.actions.flatten(1), exact, rtol=1e-8, atol=1e-9)


def test_both_sizes_of_the_system_have_the_same_solution() -> None:
    small, start = fit(N - 1), random(B, H, A)
    zero = torch.zeros(4, N, dtype=torch.float64)
    padded = replace(
        small,
        params=torch.cat([small.params, zero]),
        context=torch.cat([small.context, zero[:, :1].T.expand(B, 4)], dim=1),
    )
    method = GaussNewton(2, damping=0.3)
    one, other = (solve(p, start, method).actions for p in (small, padded))
    torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_the_free_variables_solve_what_a_blocked_one_leaves() -> None:
    matrix = random(9, N)
    best = 0.1 * random(B, N, seed=5)
    best[:, 0] = 3.0
    problem = replace(fit(9), low=-ONE, high=ONE, params=matrix, context=best @ matrix.T)
    start = torch.zeros(B, N, dtype=torch.float64)
    start[:, 0] = 1.0
    found = solve(problem, start.view(B, H, A), GaussNewton(1, damping=0.0)).actions.flatten(1)
    rest = problem.context - matrix[:, 0]
    exact = torch.linalg.lstsq(matrix[:, 1:], rest.T).solution.T
    assert (exact.abs() < 1).any()
    assert (found[:, 0] == 1).all()
    torch.testing.assert_close(found[:, 1:], exact.clamp(-1, 1), rtol=1e-8, atol=1e-9)


def test_a_corner_where_every_variable_is_blocked_is_an_answer() -> None:
    def residuals(params: None, context: Tensor, actions: Tensor) -> Tensor:
        return actions.flatten(1) - context

    far = torch.full((B, N), 5.0, dtype=torch.float64)
    problem = Problem.least_squares(residuals, -ONE, ONE, None, far)
    found = solve(problem, random(B, H, A), GaussNewton(4, damping=0.0))
    assert (found.actions == 1).all()
    assert set(found.statuses) == {SolverStatus.COMPLETE}


def test_five_iterations_on_a_net_reach_what_a_hundred_gradient_steps_do_not() -> None:
    problem, start = bent(), torch.zeros(B, H, A, dtype=torch.float64)
    few = solve(problem, start, GaussNewton(5, damping=1.0)).objective_after.median()
    for steps in (0.005, 0.01, 0.02, 0.05):
        many = solve(problem, start, ProjectedGradient(100, steps=steps))
        assert few > many.objective_after.median()


def test_learned_steps_and_damping_get_the_gradient_of_the_solve() -> None:
    problem, start = bent(), 0.1 * random(B, H, A)
    goal, leaves = random(B, H, A, seed=8), [*problem.params, *problem.context]

    def loss(steps: Tensor, damping: Tensor, shift: float = 0.0) -> Tensor:
        moved = replace(problem, params=tuple(w + shift for w in problem.params))
        found = unrolled(moved, start, GaussNewton(3, steps=steps, damping=damping))
        return (found.actions - goal).square().sum()

    steps = torch.tensor([0.9, 0.7, 0.5], dtype=torch.float64, requires_grad=True)
    damping = torch.tensor([0.5, 0.2, 0.1], dtype=torch.float64, requires_grad=True)
    for leaf in leaves:
        leaf.requires_grad_()
    gradients = torch.autograd.grad(loss(steps, damping), [steps, damping, *problem.params])
    by = 1e-6
    with torch.no_grad():
        for k in range(3):
            e = by * torch.eye(3, dtype=torch.float64)[k]
            for which, d in enumerate(
                (
                    loss(steps + e, damping) - loss(steps - e, damping),
                    loss(steps, damping + e) - loss(steps, damping - e),
                )
            ):
                torch.testing.assert_close(gradients[which][k], d / (2 * by), rtol=1e-6, atol=1e-7)
        d = (loss(steps, damping, by) - loss(steps, damping, -by)) / (2 * by)
    torch.testing.assert_close(sum(g.sum() for g in gradients[2:]), d, rtol=1e-6, atol=1e-7)
    assert (gradients[1].abs() > 1e-4).all()


@pytest.mark.parametrize("k", [4, 16])
def test_elimination_equals_cholesky_in_single_precision(k: int) -> None:
    double = bent(k)
    problem = replace(
        double,
        low=-ONE.float(),
        high=ONE.float(),
        params=tuple(w.float() for w in double.params),
        context=tuple(x.float() for x in double.context),
    )
    for seed in range(20):
        start = random(B, H, A, seed=seed).float()
        one, other = (
            solve(problem, start, GaussNewton(1, damping=1.0, eliminate=e)).actions
            for e in (False, True)
        )
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_a_written_jacobian_is_used_and_gives_the_same() -> None:
    problem, start, calls = fit(4), random(B, H, A), []

    def linearised(matrix: Tensor, target: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        calls.append(1)
        r = actions.flatten(1) @ matrix.T - target
        return r, matrix.expand(len(actions), *matrix.shape)

    written = replace(problem, linearised=linearised)
    torch.testing.assert_close(linearise(problem, start), linearise(written, start))
    calls.clear()
    solve(written, start, GaussNewton(3))
    assert len(calls) == 3


def test_a_problem_without_residuals_is_refused() -> None:
    with pytest.raises(ValueError, match=r"needs the residuals .* Problem\.least_squares"):
        solve(wavy(), random(B, H, A), GaussNewton(2))


METHODS = [
    (GaussNewton(4, damping=0.1), bent()),
    (GaussNewton(4, damping=0.1, eliminate=True), bent()),
    (GaussNewton(4, damping=0.1), bent(9)),
]


def one_of(context: object, k: int) -> object:
    if isinstance(context, tuple):
        return tuple(x[k : k + 1] for x in context)
    assert isinstance(context, Tensor)
    return context[k : k + 1]


@pytest.mark.parametrize(("method", "problem"), METHODS)
def test_a_sample_gets_the_same_answer_alone_and_in_a_batch(
    method: Method, problem: Problem
) -> None:
    start = random(B, H, A)
    together = solve(problem, start, method)
    for k in range(B):
        alone = solve(replace(problem, context=one_of(problem.context, k)), start[[k]], method)
        torch.testing.assert_close(alone.actions[0], together.actions[k], rtol=0, atol=1e-9)


@pytest.mark.parametrize(("method", "problem"), METHODS)
def test_every_iterate_is_in_the_box_and_detached_without_gradients(
    method: Method, problem: Problem
) -> None:
    for k in range(5):
        with torch.no_grad():
            found = solve(problem, 50 * random(B, H, A), replace(method, iterations=k))
        assert ((found.actions >= -1) & (found.actions <= 1)).all()
        assert not found.actions.requires_grad


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize(("method", "problem"), METHODS)
def test_a_weight_that_is_not_finite_ends_at_the_start_and_is_flagged(
    method: Method, problem: Problem, bad: float
) -> None:
    last = problem.params[1].detach().clone()
    last[0] = bad
    problem = replace(problem, params=(problem.params[0], last))
    found = solve(problem, 5 * random(B, H, A), method)
    assert torch.equal(found.actions, problem.project(5 * random(B, H, A)))
    assert set(found.statuses) == {SolverStatus.NON_FINITE}


@pytest.mark.parametrize(("method", "problem"), METHODS)
def test_a_bad_sample_leaves_the_others_alone(method: Method, problem: Problem) -> None:
    start = random(B, H, A)
    clean = solve(problem, start, method)
    start[1] = torch.nan
    found = solve(problem, start, method)
    assert found.finite.tolist() == [k != 1 for k in range(B)]
    others = [k for k in range(B) if k != 1]
    torch.testing.assert_close(found.actions[others], clean.actions[others])
