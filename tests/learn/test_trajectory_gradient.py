# SPDX-License-Identifier: MIT
from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from difftori_models.solver import AdamBox, LMRank1, Problem, TrajectoryValue, solve
from difftori_models.world_model.compiled_gradient import compiled_gradient
from difftori_models.world_model.trajectory_gradient import TrajectoryGradient
from difftori_models.world_model.world_model import WorldModel, WorldModelSizes

TERMINALS = ("soft", "min")


def problem_and_start(terminal="soft", batch=6):
    torch.manual_seed(3)
    model = WorldModel(WorldModelSizes(action=3, latent=9, hidden=24)).double()
    for head in (model.R, model.Q1, model.Q2):
        torch.nn.init.normal_(head[-1].weight)
    z = torch.randn(batch, 9, dtype=torch.float64, requires_grad=True)
    start = (0.3 * torch.randn(batch, 4, 3, dtype=torch.float64)).requires_grad_()
    high = torch.ones(3, dtype=torch.float64)
    value = TrajectoryValue(terminal=terminal)
    return Problem(value, -high, high, model, z, TrajectoryGradient(value)), start


def derivatives(problem, start, method):
    actions = solve(problem, start, method).actions
    wanted = [problem.context, start, *(w for w in problem.params.parameters() if w.requires_grad)]
    found = torch.autograd.grad(actions.square().sum(), wanted, materialize_grads=True)
    return actions, found


def assert_same(ours, theirs, tolerance=1e-9):
    torch.testing.assert_close(ours[0], theirs[0], rtol=tolerance, atol=tolerance)
    for one, other in zip(ours[1], theirs[1], strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("terminal", TERMINALS)
def test_value_and_gradient_equal_automatic_differentiation(terminal):
    problem, start = problem_and_start(terminal)
    with torch.no_grad():
        ours = problem.objective_and_gradient(start)
        theirs = replace(problem, gradient=None).objective_and_gradient(start)
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)
    assert not ours[1].requires_grad


@pytest.mark.parametrize("terminal", TERMINALS)
@pytest.mark.parametrize("method", [AdamBox(3), LMRank1(3)], ids=["adam_box", "lm_rank1"])
def test_derivatives_through_a_solve_equal_automatic_differentiation(terminal, method):
    problem, start = problem_and_start(terminal)
    assert_same(
        derivatives(problem, start, method),
        derivatives(replace(problem, gradient=None), start, method),
    )


def test_frozen_parameters_get_no_derivative_and_change_nothing_for_the_others():
    problem, start = problem_and_start()
    problem.params.policy.requires_grad_(False)
    assert_same(
        derivatives(problem, start, AdamBox(2)),
        derivatives(replace(problem, gradient=None), start, AdamBox(2)),
    )
    solve(problem, start, AdamBox(2)).actions.sum().backward()
    assert problem.params.policy[0].weight.grad is None
    assert problem.params.dynamics[0].weight.grad.abs().max() > 0


def test_weights_changed_between_solve_and_backward_are_refused():
    problem, start = problem_and_start()
    actions = solve(problem, start, AdamBox(1)).actions
    with torch.no_grad():
        problem.params.R[0].weight.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        actions.sum().backward()


@pytest.mark.slow
def test_compiled_it_gives_the_same_iterates_and_derivatives_also_after_the_weights_changed():
    problem, start = problem_and_start("min")
    problem.params.policy.requires_grad_(False)
    made = compiled_gradient(problem.gradient, problem.params, problem.context, start)
    for _ in range(2):
        assert_same(
            derivatives(replace(problem, gradient=made), start, LMRank1(3)),
            derivatives(replace(problem, gradient=None), start, LMRank1(3)),
        )
        with torch.no_grad():
            for weight in problem.params.parameters():
                weight.mul_(0.9)
    with pytest.raises(ValueError, match=r"compiled for actions of shape \(6, 4, 3\), got \(5"):
        made(problem.params, problem.context[:5], start[:5])
    problem.params.policy.requires_grad_(True)
    with pytest.raises(ValueError, match="other parameters frozen"):
        made(problem.params, problem.context, start)
