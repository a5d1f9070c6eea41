# SPDX-License-Identifier: MIT
"""What the policies are made of: mixtures, denoising, contrast, resampling, latent rollouts."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from difftori_models.contract.network_settings import Network, Solver
from difftori_models.networks import Inputs
from difftori_models.policies import ddim
from difftori_models.policies.bc_rnn import MODES, RecurrentCloning, log_density
from difftori_models.policies.ibc import MARGIN, ImplicitCloning, info_nce, resampled
from difftori_models.policies.rollout_objective import DISCOUNT, RolloutHead, rollout
from difftori_models.solver.method import solve
from difftori_models.training.imitation.losses import contrast

SIZES = Network(state=3, feature=8, hidden=16, dropout=0.0)
BOX = (torch.full((2,), -1.0), torch.full((2,), 1.0))


def observations(count: int) -> Inputs:
    return Inputs(torch.randn(count, 3, generator=torch.Generator().manual_seed(0)))


def test_a_mixtures_density_is_that_of_torch() -> None:
    torch.manual_seed(0)
    logits, mean, std = torch.randn(6, 5), torch.randn(6, 5, 4, 2), torch.rand(6, 5, 4, 2) + 0.1
    actions = torch.randn(6, 4, 2)
    theirs = MixtureSameFamily(Categorical(logits=logits), Independent(Normal(mean, std), 2))
    torch.testing.assert_close(log_density(logits, mean, std, actions), theirs.log_prob(actions))


def test_the_heaviest_mode_answers_and_not_the_mean_of_all() -> None:
    torch.manual_seed(0)
    policy = RecurrentCloning(SIZES, 4, 2).eval()
    inputs, memory = observations(7), torch.zeros(7, policy.memory)
    found = policy.propose(inputs, BOX, torch.zeros(7, 0), memory)
    logits, mean, _ = policy.modes(found.memory[:, :16])
    assert logits.shape == (7, MODES)
    for k in range(7):
        assert torch.equal(found.actions[k], mean[k, logits[k].argmax()])
        assert not torch.allclose(found.actions[k], mean[k].mean(dim=0))


def test_an_episode_step_by_step_is_the_sequence_that_was_trained_on() -> None:
    torch.manual_seed(0)
    policy = RecurrentCloning(SIZES, 4, 2).eval()
    inputs, labels = observations(5), torch.randn(5, 4, 2)
    memory, densities = torch.zeros(1, policy.memory), []
    for k in range(5):
        memory = policy.propose(inputs.at(torch.tensor([k])), BOX, memory[:, :0], memory).memory
        densities.append(log_density(*policy.modes(memory[:, :16]), labels[k : k + 1]))
    real = torch.ones(1, 5, dtype=torch.bool)
    expected = -torch.cat(densities).mean() / 8
    torch.testing.assert_close(policy.loss(inputs, labels, BOX, real), expected)
    # what only fills up a sequence does not count
    real[0, 3:] = False
    expected = -torch.cat(densities[:3]).mean() / 8
    torch.testing.assert_close(policy.loss(inputs, labels, BOX, real), expected)


def test_denoising_is_that_of_diffusers() -> None:
    torch.manual_seed(0)
    weights = torch.randn(2, 2)

    def guess(x: torch.Tensor, t: int) -> torch.Tensor:
        return (x @ weights * (1 + t / 50)).tanh()

    theirs = DDIMScheduler(
        num_train_timesteps=ddim.TIMES,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="sample",
        clip_sample=False,
        timestep_spacing="trailing",
    )
    torch.testing.assert_close(ddim.shares(), theirs.alphas_cumprod, rtol=1e-5, atol=1e-7)
    noise = torch.randn(3, 4, 2)
    for steps in (5, 10):
        theirs.set_timesteps(steps)
        x = noise
        for t in theirs.timesteps:
            x = theirs.step(guess(x, int(t)), int(t), x).prev_sample  # type: ignore[union-attr]
        torch.testing.assert_close(ddim.denoise(guess, noise, steps), x, rtol=1e-4, atol=1e-5)
    clean, t = torch.randn(3, 4, 2), torch.tensor([3, 50, 99])
    mine = ddim.noised(clean, noise, ddim.shares()[t])
    torch.testing.assert_close(mine, theirs.add_noise(clean, noise, t))  # type: ignore[arg-type]


def test_denoising_gaussian_data_is_known_in_closed_form() -> None:
    # x_0 ~ N(m, s^2): the best guess is linear, and the flow takes noise e to m + s e
    mean, std = 0.7, 0.5
    share = ddim.shares()

    def guess(x: torch.Tensor, t: int) -> torch.Tensor:
        a = share[t]
        return mean + a.sqrt() * std**2 / (a * std**2 + 1 - a) * (x - a.sqrt() * mean)

    noise = torch.randn(2000, 1, 1, generator=torch.Generator().manual_seed(0))
    found = ddim.denoise(guess, noise, ddim.TIMES)
    torch.testing.assert_close(found, mean + std * noise, rtol=0.0, atol=0.06)
    point = ddim.denoise(lambda x, t: torch.full_like(x, mean), noise)
    torch.testing.assert_close(point, torch.full_like(point, mean))


def test_info_nce_is_least_at_the_ratio_of_densities() -> None:
    # the expert draws 0 or 1 with 0.8 and 0.2, the others evenly: the best scores differ by log 4
    draw = torch.Generator().manual_seed(0)
    expert = (torch.rand(20000, 1, generator=draw) < 0.2).long()
    others = torch.randint(2, (20000, 3), generator=draw)
    every = torch.cat([expert, others], dim=1)
    scores = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.LBFGS([scores], max_iter=50)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = info_nce(scores[every])
        loss.backward()
        return loss

    optimizer.step(closure)
    assert (scores[0] - scores[1]).item() == pytest.approx(math.log(4), abs=0.05)
    assert info_nce(torch.zeros(1, 8)).item() == pytest.approx(math.log(8))


def test_resampling_draws_in_proportion_and_needs_no_luck() -> None:
    weights = torch.tensor([[0.5, 0.25, 0.0, 0.25]])
    chunks = torch.arange(4.0)[None, :, None, None]
    assert resampled(weights, chunks).flatten().tolist() == [0.0, 0.0, 1.0, 3.0]


@pytest.mark.parametrize("sampler", ["derivative_free", "langevin"])
def test_the_action_of_least_energy_is_found(sampler: str) -> None:
    torch.manual_seed(0)
    policy = ImplicitCloning(SIZES, 2, 2, sampler).eval()
    goal = torch.tensor([0.3, -0.6])
    policy.energies = lambda z, chunks: 20 * (chunks - goal).square().sum(dim=(2, 3))  # type: ignore[method-assign]
    noise = torch.randn(4, *policy.noise)
    found = policy.propose(observations(4), BOX, noise, torch.zeros(4, 0)).actions
    assert (found - goal).abs().max() < 0.15


def test_an_energy_learns_where_the_expert_acts_and_has_no_valley_elsewhere() -> None:
    torch.manual_seed(0)
    policy = ImplicitCloning(SIZES, 2, 2, "langevin")
    optimizer = torch.optim.Adam(policy.parameters(), lr=3e-3)
    real, box = torch.ones(64, 1, dtype=torch.bool), (BOX[0] * 3, BOX[1] * 3)
    for _ in range(300):
        inputs = Inputs(torch.randn(64, 3))
        labels = inputs.state[:, None, :2].expand(-1, 2, -1).clamp(-2, 2)
        loss = policy.loss(inputs, labels, box, real)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    policy.eval()
    inputs = observations(32)
    wanted = inputs.state[:, None, :2].expand(-1, 2, -1).clamp(-2, 2)
    found = policy.propose(inputs, box, torch.randn(32, *policy.noise), torch.zeros(32, 0)).actions
    assert (found - wanted).abs().mean() < 0.5 * wanted.abs().mean()
    slopes = found.new_zeros(32, 1, 2, 2).normal_().requires_grad_()
    z = policy.encoder.encode(inputs).detach()
    (slope,) = torch.autograd.grad(policy.energies(z, slopes).sum(), slopes)
    assert slope.flatten(2).norm(dim=2).max() < 2 * MARGIN


def test_a_latent_rollouts_score_is_the_discounted_sum_and_can_be_climbed() -> None:
    torch.manual_seed(0)
    head = RolloutHead(SIZES, 3, 2, Solver(iterations=30)).eval()
    z, actions = torch.randn(5, 8), torch.rand(5, 3, 2) - 0.5
    with torch.no_grad():
        state, total = z, torch.zeros(5)
        for t in range(3):
            both = torch.cat([state, actions[:, t]], dim=1)
            total = total + DISCOUNT**t * head.R(both).squeeze(1)
            state = head.dynamics(both)
        problem = head.problem(z, *BOX)
        torch.testing.assert_close(rollout(head, problem.context, actions), total)
        found = solve(problem, actions, head.method())
    assert (found.objective_after > found.objective_before).all()
    assert (found.actions.abs() <= 1).all()


def test_the_contrastive_term_asks_each_observation_about_its_own_proposals() -> None:
    torch.manual_seed(0)
    head = RolloutHead(SIZES, 3, 2, Solver()).eval()
    z, labels, others = torch.randn(4, 8), torch.randn(4, 3, 2), torch.randn(6, 4, 3, 2)
    problem = head.problem(z, *BOX)
    rows = []
    for k in range(4):
        one = head.problem(z[k : k + 1].expand(7, -1), *BOX)
        rows.append(one.evaluate(torch.cat([labels[k][None], others[:, k]])))
    torch.testing.assert_close(contrast(problem, labels, others), info_nce(torch.stack(rows)))
