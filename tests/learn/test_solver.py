# SPDX-License-Identifier: MIT
"""The optimiser inside the policy: its gradient, its box, its independence of the batch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from difftori_models.contract.network_settings import Network, Solver
from difftori_models.policies.objective_head import ChunkHead
from difftori_models.policies.residual import ResidualHead
from difftori_models.solver.method import solve
from difftori_models.solver.problem import Problem
from difftori_models.solver.solution import Solution, SolverStatus

LOW, HIGH = torch.tensor([-1.0, -0.5, -2.0]).double(), torch.tensor([1.0, 0.5, 2.0]).double()
H, A, Z = 3, 3, 8
SOLVERS = {
    "projected_gradient": Solver("projected_gradient", 10),
    "gauss_newton": Solver("gauss_newton", 4),
    "adam_box": Solver("adam_box", 10),
}


def make_head(name: str, latent: int = 0) -> ChunkHead:
    torch.manual_seed(0)
    residuals = 4 if name == "gauss_newton" else 0
    network = Network(state=5, feature=Z, hidden=16, latent=latent, residuals=residuals)
    head = ChunkHead(network, H, A, SOLVERS[name]).double().eval()
    with torch.no_grad():
        head.out.weight *= 20  # long steps, so that some bounds are met
    return head


@pytest.fixture(params=list(SOLVERS))
def head(request: pytest.FixtureRequest) -> ChunkHead:
    return make_head(request.param)


def inputs(batch: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Encoded observations and starts."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(batch, Z, generator=generator, dtype=torch.float64)
    return z, torch.randn(batch, H, A, generator=generator, dtype=torch.float64)


def refine(head: ChunkHead | ResidualHead, z: Tensor, start: Tensor) -> Solution:
    low, high = LOW.to(start), HIGH.to(start)
    return solve(head.problem(z, low, high), start, head.method())


def test_gradient_through_all_iterations_equals_finite_differences(head: ChunkHead) -> None:
    z, start = inputs(4)
    goal = torch.full_like(start, 0.3)

    def loss() -> Tensor:
        return ((refine(head, z, start).actions - goal) ** 2).sum()

    parameters = {
        name: parameter
        for name, parameter in head.named_parameters()
        if name in ("out.weight", "chunk.weight", "middle.weight", "log_steps", "log_damping")
    }
    assert len(parameters) >= 3
    gradients = torch.autograd.grad(loss(), list(parameters.values()))
    generator = torch.Generator().manual_seed(2)
    for (name, weight), gradient in zip(parameters.items(), gradients, strict=True):
        along = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                weight += sign * 1e-6 * along
                values.append(loss())
                weight -= sign * 1e-6 * along
        difference = (values[0] - values[1]) / 2e-6
        torch.testing.assert_close(
            (gradient * along).sum(), difference, rtol=1e-4, atol=1e-6, msg=name
        )


def test_written_derivatives_equal_automatic_differentiation(head: ChunkHead) -> None:
    z, start = inputs(6)
    head.train()  # with dropout masks
    written = head.problem(z, LOW, HIGH)
    automatic = replace(written, gradient=None, linearised=None)
    for one, other in zip(
        written.objective_and_gradient(start), automatic.objective_and_gradient(start), strict=True
    ):
        torch.testing.assert_close(one, other)
    method = head.method()
    losses = [
        solve(problem, start, method).actions.square().sum() for problem in (written, automatic)
    ]
    weights = [head.middle.weight, head.chunk.weight]
    for one, other in zip(
        torch.autograd.grad(losses[0], weights, retain_graph=True),
        torch.autograd.grad(losses[1], weights),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", list(SOLVERS))
def test_every_iterate_stays_in_the_box_and_some_touch_it(name: str) -> None:
    head, (z, start) = make_head(name), inputs(32)
    problem, method = head.problem(z, LOW, HIGH), head.method()
    state = method.init(problem, 50 * start)
    for row in method.schedule(start):
        assert ((state.actions >= LOW) & (state.actions <= HIGH)).all()
        assert ((state.actions == LOW) | (state.actions == HIGH)).any()
        state = method.step(problem, state, row)
    assert ((state.actions >= LOW) & (state.actions <= HIGH)).all()


@pytest.mark.parametrize("kind", [torch.float64, torch.float32])
def test_a_sample_gets_the_same_answer_alone_and_in_a_batch(
    head: ChunkHead, kind: torch.dtype
) -> None:
    head = head.to(kind)
    z, start = (x.to(kind) for x in inputs(64))
    together = refine(head, z, start).actions
    for k in (0, 17, 63):
        alone = refine(head, z[k : k + 1], start[k : k + 1]).actions
        tolerance = 1e-6 if kind is torch.float64 else 1e-3
        torch.testing.assert_close(alone[0], together[k], rtol=0, atol=tolerance)


def test_a_bad_sample_is_flagged_and_leaves_the_others_alone(head: ChunkHead) -> None:
    z, start = inputs(3)
    clean = refine(head, z, start)
    z[1] = torch.nan
    spoiled = refine(head, z, start)
    assert spoiled.finite.tolist() == [True, False, True]
    assert spoiled.statuses[1] is SolverStatus.NON_FINITE
    torch.testing.assert_close(spoiled.actions[[0, 2]], clean.actions[[0, 2]])
    assert torch.equal(spoiled.actions[1], start[1].clamp(LOW, HIGH))


def test_an_infinite_gradient_is_flagged_although_projection_hides_it() -> None:
    def cliff(params: None, context: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        return actions.flatten(1).sum(dim=1), torch.full_like(actions, torch.inf)

    def value(params: None, context: Tensor, actions: Tensor) -> Tensor:
        return actions.flatten(1).sum(dim=1)

    z, start = inputs(2)
    head = make_head("projected_gradient")
    found = solve(Problem(value, LOW, HIGH, None, z, gradient=cliff), start, head.method())
    assert found.actions.isfinite().all()
    assert not found.finite.any()


def test_the_dropout_mask_is_one_per_solve(head: ChunkHead) -> None:
    z, start = inputs(4)
    head.train()
    problem = head.problem(z, LOW, HIGH)
    gradient = problem.objective_and_gradient(start)[1]
    assert torch.equal(gradient, problem.objective_and_gradient(start)[1])
    again = head.problem(z, LOW, HIGH).objective_and_gradient(start)[1]
    assert not torch.equal(gradient, again)


def test_the_latent_changes_the_solve_and_its_kl_is_not_negative() -> None:
    head = make_head("projected_gradient", latent=4)
    z, start = inputs(5)
    latent, kl = head.infer(z, start)
    assert latent.shape == (5, 4)
    assert (kl >= 0).all()
    method = head.method()
    zero = solve(head.problem(z, LOW, HIGH), start, method).actions
    zeros = torch.zeros(5, 4).double()
    assert torch.equal(zero, solve(head.problem(z, LOW, HIGH, zeros), start, method).actions)
    drawn = solve(head.problem(z, LOW, HIGH, latent), start, method).actions
    assert not torch.equal(zero, drawn)


def test_the_control_keeps_the_box_and_has_no_value() -> None:
    torch.manual_seed(0)
    head = ResidualHead(Network(state=5, feature=Z, hidden=16), H, A).double().eval()
    z, start = inputs(8)
    found = refine(head, z, 50 * start)
    assert ((found.actions >= LOW) & (found.actions <= HIGH)).all()
    assert found.finite.all()
    assert found.objective_after.isnan().all()
