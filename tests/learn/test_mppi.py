# SPDX-License-Identifier: MIT
"""TD-MPC's planner: a seeded search inside the box."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from difftori_models.solver.method import solve
from difftori_models.solver.mppi import MPPI, Draws
from difftori_models.solver.problem import Problem
from difftori_models.solver.solution import SolverStatus
from difftori_models.solver.wrappers import BestSoFar

B, H, A = 4, 3, 2
LOW, HIGH = torch.tensor([-1.0, 0.0]), torch.tensor([1.0, 4.0])


def bowl(peak: Tensor) -> Problem:
    def value(scale: Tensor, peak: Tensor, actions: Tensor) -> Tensor:
        return -scale * (actions - peak).square().sum(dim=(1, 2))

    return Problem(value, LOW, HIGH, torch.tensor(10.0), peak)


def hills() -> Problem:
    """Two hills: the lower one at the start, the higher one far from it."""

    def value(params: None, context: Tensor, actions: Tensor) -> Tensor:
        near = (actions - LOW).square().sum(dim=(1, 2))
        far = (actions - HIGH).square().sum(dim=(1, 2))
        return (-2 * near).exp() + 3 * (-0.1 * far).exp() + 0 * context

    return Problem(value, LOW, HIGH, None, torch.zeros(B))


def start(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(B, H, A, generator=generator) * (HIGH - LOW) + LOW


def test_it_comes_near_the_maximum_inside_the_box() -> None:
    peak = start(1)
    found = solve(bowl(peak), start(), MPPI(12))
    assert (found.objective_after > found.objective_before).all()
    assert ((found.actions - peak).abs() < 0.1 * (HIGH - LOW)).all()
    assert set(found.statuses) == {SolverStatus.COMPLETE}


def test_it_leaves_a_hill_that_a_gradient_would_climb() -> None:
    low = LOW.expand(B, H, A)
    assert (solve(hills(), low, MPPI()).objective_after > 1.5).all()


@pytest.mark.parametrize("iterations", range(5))
def test_every_iterate_is_in_the_box_though_the_maximum_is_outside(iterations: int) -> None:
    found = solve(bowl(start() + 9), 50 * start(), MPPI(iterations, samples=64, elites=8))
    assert ((found.actions >= LOW) & (found.actions <= HIGH)).all()


def test_a_seed_is_an_answer_and_another_seed_another() -> None:
    problem = bowl(start(1))
    one, again, other = (solve(problem, start(), MPPI(3, seed=s)).actions for s in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_the_global_generator_is_neither_used_nor_disturbed() -> None:
    torch.manual_seed(1)
    one = solve(bowl(start(1)), start(), MPPI(2)).actions
    following = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(following, torch.rand(1))
    assert torch.equal(one, solve(bowl(start(1)), start(), MPPI(2)).actions)


def test_a_sample_gets_the_same_answer_alone_and_in_a_batch() -> None:
    peak = start(1)
    together = solve(bowl(peak), start(), MPPI(4)).actions
    for k in range(B):
        alone = solve(bowl(peak[[k]]), start()[[k]], MPPI(4)).actions
        torch.testing.assert_close(alone[0], together[k], rtol=0, atol=1e-5)


def test_a_good_start_is_a_candidate_that_is_not_lost() -> None:
    peak = start(1)
    method = MPPI(1, samples=16, elites=1, momentum=0.0)
    found = solve(bowl(peak), peak, method)
    torch.testing.assert_close(found.actions, peak, rtol=0, atol=1e-6)


def test_the_best_candidate_is_remembered_from_round_to_round() -> None:
    problem, method = bowl(start(1)), MPPI(6, samples=32, elites=4)
    state = method.init(problem, start())
    before = problem.evaluate(state.memory[1][:, 0])
    for row in method.schedule(start()):
        state = method.step(problem, state, row)
        after = problem.evaluate(state.memory[1][:, 0])
        assert (after >= before).all()
        assert (after >= state.objective).all()
        before = after


def test_the_best_iterate_can_be_kept() -> None:
    problem = bowl(start(1))
    best = solve(problem, start(), BestSoFar(MPPI(6, samples=32, elites=4)))
    every = [
        solve(problem, start(), MPPI(k, samples=32, elites=4)).objective_after for k in range(7)
    ]
    torch.testing.assert_close(best.objective_after, torch.stack(every).amax(dim=0))


def test_the_spread_keeps_its_limits() -> None:
    method = MPPI(8, samples=64, elites=8, width=1.0, min_std=0.2)
    state = method.init(bowl(start(1)), start())
    half = 0.5 * (HIGH - LOW)
    for row in method.schedule(start()):
        state = method.step(bowl(start(1)), state, row)
        std = state.memory[0]
        assert (std >= 0.2 * half).all()
        assert (std <= half).all()
    assert (std == 0.2 * half).any()


def test_it_is_not_differentiable() -> None:
    problem = bowl(start(1))
    problem = replace(problem, params=problem.params.clone().requires_grad_())
    assert not solve(problem, start(), MPPI(2)).actions.requires_grad


def test_nan_weights_end_at_the_start_and_are_flagged() -> None:
    problem = replace(bowl(start(1)), params=torch.tensor(torch.nan))
    found = solve(problem, 3 * start(), MPPI(2))
    assert torch.equal(found.actions, problem.project(3 * start()))
    assert set(found.statuses) == {SolverStatus.NON_FINITE}


def test_a_bad_sample_leaves_the_others_alone() -> None:
    peak = start(1)
    clean = solve(bowl(peak), start(), MPPI(3))
    peak[2] = torch.nan
    found = solve(bowl(peak), start(), MPPI(3))
    assert found.finite.tolist() == [True, True, False, True]
    torch.testing.assert_close(found.actions[[0, 1, 3]], clean.actions[[0, 1, 3]])


def test_candidates_without_a_finite_value_have_no_weight() -> None:
    def value(params: None, peak: Tensor, actions: Tensor) -> Tensor:
        near = -(actions - peak).square().sum(dim=(1, 2))
        return torch.where(actions[:, 0, 0] > 0.5, torch.inf, near)

    problem = Problem(value, LOW, HIGH, None, start(1).clamp(max=0.4))
    found = solve(problem, start().clamp(max=0.4), MPPI(4))
    assert found.finite.all()
    assert (found.actions[:, 0, 0] <= 0.5).all()


def draws(method: MPPI, candidates: Tensor, seed: int = 0) -> Draws:
    generator = torch.Generator().manual_seed(seed)
    shape = (B, method.iterations, method.samples, H, A)
    return Draws(torch.randn(shape, generator=generator), candidates)


def test_noise_that_is_given_takes_the_place_of_the_seed() -> None:
    problem, method = bowl(start(1)), MPPI(3, samples=32, elites=4)
    none = start()[:, None][:, :0]
    one, again, other = (
        solve(problem, start(), replace(method, draws=draws(method, none, seed))).actions
        for seed in (0, 0, 1)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_a_candidate_that_is_given_wins_where_it_is_the_best() -> None:
    """As the policy prior's plan does, where the noise finds nothing like it."""
    peak = start(1)
    method = MPPI(2, samples=8, elites=1, momentum=0.0)
    given = replace(method, draws=draws(method, torch.stack([start(2), peak], dim=1)))
    torch.testing.assert_close(solve(bowl(peak), start(), given).actions, peak)
    alone = solve(bowl(peak), start(), replace(method, draws=draws(method, start(2)[:, None])))
    assert (alone.objective_after < -0.01).all()


def test_to_explore_an_elite_is_drawn_and_noise_of_the_last_spread_added() -> None:
    method = MPPI(3, samples=64, elites=8, min_std=0.2)
    problem = bowl(start(1))
    state = method.init(problem, start())
    for row in method.schedule(start()):
        state = method.step(problem, state, row)
    torch.manual_seed(0)
    explored = torch.stack([method.explore(state) for _ in range(500)])
    std, elites, weights = state.memory[:3]
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(B))
    mean = (weights[:, :, None, None] * elites).sum(dim=1)
    within = (weights[:, :, None, None] * (elites - mean[:, None]).square()).sum(dim=1)
    torch.testing.assert_close(explored.mean(dim=0), mean, rtol=0, atol=0.15)
    torch.testing.assert_close(explored.var(dim=0), within + std.square(), rtol=0.3, atol=0.02)


@pytest.mark.parametrize("elites", [0, 65])
def test_a_number_of_elites_that_cannot_be_is_refused(elites: int) -> None:
    with pytest.raises(ValueError, match=f"elites must be 1 to samples = 64, got {elites}"):
        MPPI(samples=64, elites=elites)
