# SPDX-License-Identifier: MIT
"""The optimiser inside the policy: its gradient, its box, its independence of the batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from difftori_models.encoders import Inputs
from difftori_models.network import Network
from difftori_models.policies.residual import ResidualHead
from difftori_models.policies.score import ScoreHead
from difftori_models.solver.projected_gradient import ByAutograd, climb

LOW, HIGH = torch.tensor([-1.0, -0.5, -2.0]).double(), torch.tensor([1.0, 0.5, 2.0]).double()
H, A, D = 3, 3, 5


@pytest.fixture
def head() -> ScoreHead:
    torch.manual_seed(0)
    head = ScoreHead(Network(state=D, feature=8, hidden=16), H, A, iterations=10).double().eval()
    with torch.no_grad():
        head.out.weight *= 20  # long steps, so that some bounds are met
    return head


def problem(batch: int, seed: int = 1) -> tuple[Inputs, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    state = torch.randn(batch, D, generator=generator, dtype=torch.float64)
    start = torch.randn(batch, H, A, generator=generator, dtype=torch.float64)
    return Inputs(state), start


def test_gradient_through_all_iterations_equals_finite_differences(head: ScoreHead) -> None:
    inputs, start = problem(4)
    goal = torch.full_like(start, 0.3)

    def loss() -> Tensor:
        return ((head.refine(inputs, start, LOW, HIGH).actions - goal) ** 2).sum()

    names = ["out.weight", "chunk.weight", "middle.weight", "log_steps", "encoder.state.0.weight"]
    parameters = dict(head.named_parameters())
    gradients = torch.autograd.grad(loss(), [parameters[name] for name in names])
    generator = torch.Generator().manual_seed(2)
    for name, gradient in zip(names, gradients, strict=True):
        weight = parameters[name]
        along = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                weight += sign * 1e-6 * along
                values.append(loss())
                weight -= sign * 1e-6 * along
        difference = (values[0] - values[1]) / 2e-6
        torch.testing.assert_close(
            (gradient * along).sum(), difference, rtol=1e-5, atol=1e-7, msg=name
        )


def test_written_gradient_equals_automatic_differentiation(head: ScoreHead) -> None:
    inputs, start = problem(6)
    head.train()  # with dropout masks
    score = head.score(head.encoder.encode(inputs))
    torch.testing.assert_close(score.gradient(start), ByAutograd(score.value).gradient(start))
    steps = head.log_steps.exp()
    written = climb(score, start, steps, LOW, HIGH).actions.square().sum()
    automatic = climb(ByAutograd(score.value), start, steps, LOW, HIGH).actions.square().sum()
    weights = [head.middle.weight, head.chunk.weight, head.log_steps]
    for one, other in zip(
        torch.autograd.grad(written, weights, retain_graph=True),
        torch.autograd.grad(automatic, weights),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_every_iterate_stays_in_the_box_and_some_touch_it(head: ScoreHead) -> None:
    inputs, start = problem(32)
    score, steps = head.score(head.encoder.encode(inputs)), head.log_steps.exp()
    for count in range(len(steps) + 1):
        actions = climb(score, 50 * start, steps[:count], LOW, HIGH).actions
        assert ((actions >= LOW) & (actions <= HIGH)).all()
        assert ((actions == LOW) | (actions == HIGH)).any()


def test_a_concave_value_is_climbed_to_its_maximum_inside_the_box() -> None:
    peak = torch.tensor([3.0, 0.2, -0.7]).double()
    objective = ByAutograd(lambda a: -((a - peak) ** 2).flatten(1).sum(dim=1))
    with torch.no_grad():
        found = climb(objective, problem(5)[1], torch.full((200,), 0.1).double(), LOW, HIGH)
    expected = peak.clamp(LOW, HIGH).expand(5, H, A)
    torch.testing.assert_close(found.actions, expected)
    assert (found.value_after >= found.value_before).all()
    assert not found.actions.requires_grad


@pytest.mark.parametrize("kind", [torch.float64, torch.float32])
def test_a_sample_gets_the_same_answer_alone_and_in_a_batch(
    head: ScoreHead, kind: torch.dtype
) -> None:
    head = head.to(kind)
    inputs, start = Inputs(problem(64)[0].state.to(kind)), problem(64)[1].to(kind)
    low, high = LOW.to(kind), HIGH.to(kind)
    together = head.refine(inputs, start, low, high)
    for k in (0, 17, 63):
        alone = head.refine(Inputs(inputs.state[k : k + 1]), start[k : k + 1], low, high)
        tolerance = 1e-6 if kind is torch.float64 else 1e-4
        torch.testing.assert_close(alone.actions[0], together.actions[k], rtol=0, atol=tolerance)


def test_a_bad_sample_is_flagged_and_leaves_the_others_alone(head: ScoreHead) -> None:
    inputs, start = problem(3)
    clean = head.refine(inputs, start, LOW, HIGH)
    inputs.state[1] = torch.nan
    spoiled = head.refine(inputs, start, LOW, HIGH)
    assert spoiled.finite.tolist() == [True, False, True]
    torch.testing.assert_close(spoiled.actions[[0, 2]], clean.actions[[0, 2]])


def test_an_infinite_gradient_is_flagged_although_projection_hides_it() -> None:
    class Cliff:
        def value(self, actions: Tensor) -> Tensor:
            return actions.flatten(1).sum(dim=1)

        def gradient(self, actions: Tensor) -> Tensor:
            return torch.full_like(actions, torch.inf)

    found = climb(Cliff(), problem(2)[1], torch.ones(3).double(), LOW, HIGH)
    assert found.actions.isfinite().all()
    assert not found.finite.any()


def test_stopping_early_gives_the_iterate_reached_so_far(head: ScoreHead) -> None:
    inputs, start = problem(2)
    asked: list[bool] = []

    def after_three() -> bool:
        asked.append(True)
        return len(asked) > 3

    stopped = head.refine(inputs, start, LOW, HIGH, stop=after_three)
    score, steps = head.score(head.encoder.encode(inputs)), head.log_steps.exp()
    assert stopped.iterations == 3
    torch.testing.assert_close(stopped.actions, climb(score, start, steps[:3], LOW, HIGH).actions)


def test_the_dropout_mask_is_one_per_solve(head: ScoreHead) -> None:
    inputs, start = problem(4)
    head.train()
    score = head.score(head.encoder.encode(inputs))
    assert torch.equal(score.gradient(start), score.gradient(start))
    again = head.score(head.encoder.encode(inputs))
    assert not torch.equal(score.gradient(start), again.gradient(start))


def test_the_latent_changes_the_solve_and_its_kl_is_not_negative() -> None:
    torch.manual_seed(0)
    network = Network(state=D, feature=8, hidden=16, latent=4)
    head = ScoreHead(network, H, A, iterations=3).double().eval()
    inputs, start = problem(5)
    latent, kl = head.infer(head.encoder.encode(inputs), start)
    assert latent.shape == (5, 4)
    assert (kl >= 0).all()
    zero = head.refine(inputs, start, LOW, HIGH).actions
    assert torch.equal(
        zero, head.refine(inputs, start, LOW, HIGH, latent=torch.zeros(5, 4).double()).actions
    )
    assert not torch.equal(zero, head.refine(inputs, start, LOW, HIGH, latent=latent).actions)


def test_the_control_keeps_the_box_and_has_no_value() -> None:
    torch.manual_seed(0)
    head = ResidualHead(Network(state=D, feature=8, hidden=16), H, A).double().eval()
    inputs, start = problem(8)
    found = head.refine(inputs, 50 * start, LOW, HIGH)
    assert ((found.actions >= LOW) & (found.actions <= HIGH)).all()
    assert found.iterations == 1
    assert found.finite.all()
    assert found.value_after.isnan().all()
