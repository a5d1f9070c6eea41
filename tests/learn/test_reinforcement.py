# SPDX-License-Identifier: MIT
"""Learning by reward: what is executed, what is differentiated, and the traps on the way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from difftori_models.solver import BestSoFar, Boxed, LMRank1, SolverStatus, solve
from difftori_models.training.errors import ConfigError, DivergedError
from difftori_models.training.rl.config import PAPER, RLConfig, presets
from difftori_models.training.rl.environment import require_fit
from difftori_models.training.rl.learner import Learner
from difftori_models.training.rl.losses import planned_loss
from difftori_models.training.rl.networks import shifted
from difftori_models.training.rl.replay import EpisodeRecord, Replay
from difftori_models.training.rl.trainer import RLTrainer
from difftori_models.world_model.planning import CeilingError, world_problem
from tests.support.point_world import STEPS, PointWorld

SMALL = RLConfig(
    "test", "point", Path("unused"), seed_steps=60, steps=120, hidden=32, latent=8, encoder=16,
    batch=16, horizon=3, horizon_steps=1, iterations=3, pg_batch=2, eval_every=120,
    eval_episodes=1, save_every=40, capacity=500,
)  # fmt: skip


def learner(**changes) -> Learner:
    torch.manual_seed(0)
    return Learner(replace(SMALL, **changes), (4,), 2)


def woken(model: Learner, scale: float = 1.0) -> Learner:
    """Heads that begin at zero say something."""
    world = model.model.world
    with torch.no_grad():
        for head in (world.R, world.Q1, world.Q2, *model.model.raw):
            torch.nn.init.normal_(head[-1].weight, std=scale)
    return model


def batch(horizon: int = 3):
    replay, rng = Replay(200, (4,), 2), np.random.default_rng(0)
    for _ in range(3):
        seen = rng.standard_normal((21, 4)).astype(np.float32)
        actions = rng.uniform(-1, 1, (20, 2)).astype(np.float32)
        replay.add(EpisodeRecord(seen, actions, rng.random(20).astype(np.float32), False))
    return replay.sample(16, horizon, rng)


def pg_gradients(model: Learner, seen: torch.Tensor) -> dict[str, float]:
    loss, _ = planned_loss(model.model, seen, torch.ones(len(seen)), 3, model.config)
    model.model.zero_grad()
    loss.backward(inputs=model._planned)
    return {
        name: 0.0 if p.grad is None else float(p.grad.norm())
        for name, p in model.model.named_parameters()
    }


@pytest.mark.slow
@pytest.mark.parametrize("pg", ["per_update", "per_episode", "none"])
def test_a_point_finds_its_goal_by_reward(pg, tmp_path):
    config = replace(
        SMALL, out=tmp_path, pg=pg, seed_steps=200, steps=700, hidden=64, encoder=64, batch=64,
        latent=16, std_steps=500, std_last=0.1, discount=0.9, eval_every=700, eval_episodes=8,
        pg_every=8, save_every=700, capacity=1000,
    )  # fmt: skip
    trainer = RLTrainer.open(config, PointWorld())
    trainer.run()
    rows = trainer.log.rows
    random = np.mean([r["return"] for r in rows[: 200 // STEPS]])
    assert rows[-1]["phase"] == "eval"
    assert rows[-1]["return"] > 2.5 * random
    assert all(np.isfinite(v) for r in rows for v in r.values() if isinstance(v, float))


def test_tdmpc_learns_on_the_same_networks(tmp_path):
    trainer = RLTrainer.open(replace(SMALL, out=tmp_path, method="tdmpc", steps=80), PointWorld())
    trainer.run()
    assert trainer.learner.updates == 80
    assert "pg" not in trainer.log.rows[-2]


def test_the_iterate_that_is_differentiated_is_the_one_that_is_executed():
    model = woken(learner())
    seen = torch.randn(5, 4)
    with torch.no_grad():
        executed = model.plan(model.model.h(seen), 3)[:, 0]
    raw, asked = model.model.Q_raw, []

    def listen(s, a):
        asked.append(a)
        return raw(s, a)

    model.model.Q_raw = listen  # type: ignore[method-assign]
    planned_loss(model.model, seen, torch.ones(5), 3, model.config)
    torch.testing.assert_close(asked[0].detach(), executed)


def test_q_of_raw_observations_is_asked_about_actions_in_the_box_alone():
    """The reference asks about unclamped ones, and executes them."""
    model = woken(learner(planner="lm_rank1", iterations=30, step_size=1e-2), 3.0)
    seen = torch.randn(20, 4)
    plan = model.plan(model.model.h(seen), 3)
    assert plan.abs().max() <= 1.0
    assert (plan.abs() == 1.0).any(), "nothing pushed against the box: the test shows nothing"
    loose = world_problem(model.model.world, model._settings, model.model.h(seen))
    free = LMRank1(30, 1e-2, 1e-3, 1000.0)
    outside = solve(loose, model.model.world.propose(model.model.h(seen), 3), free)
    assert outside.actions.abs().max() > 1.0


def test_the_policy_gradient_reaches_encoder_dynamics_reward_and_q_but_not_pi_nor_q_raw():
    found = pg_gradients(woken(learner()), torch.randn(8, 4))
    for part in ("encoder", "world.dynamics", "world.R", "world.Q1"):
        assert max(v for k, v in found.items() if k.startswith(part)) > 0, part
    for part in ("world.policy", "raw"):
        assert max(v for k, v in found.items() if k.startswith(part)) == 0, part


def test_heads_that_begin_at_zero_are_taught_by_the_policy_gradient():
    """There the plan's value is zero everywhere, and the plan does not move."""
    model = learner()
    with torch.no_grad():
        for head in model.model.raw:
            torch.nn.init.normal_(head[-1].weight)
    found = pg_gradients(model, torch.randn(8, 4))
    assert found["world.R.4.weight"] > 0
    assert found["world.Q1.5.weight"] > 0
    assert all(np.isfinite(v) for v in found.values())


def test_how_many_actions_stand_at_the_box_where_no_gradient_passes_is_told():
    model = woken(learner(planner="lm_rank1", iterations=30, step_size=1e-2), 3.0)
    _, metrics = planned_loss(model.model, torch.randn(20, 4), torch.ones(20), 3, model.config)
    assert 0 < float(metrics["at_bound"]) <= 1


def test_single_precision_ends_no_plan_early():
    """Theseus compares the error (1000 - G)^2 / 2 in single precision, and calls it converged."""
    model = woken(learner(planner="lm_rank1", iterations=40, step_size=1e-8, damping=1.0), 1e-2)
    z = model.model.h(torch.randn(4, 4))
    problem = world_problem(model.model.world, model._settings, z)
    start = model.model.world.propose(z, 3).detach()
    with torch.no_grad():
        found = solve(problem, start, model._method)
    error = 0.5 * (1000.0 - found.objective_before) ** 2
    assert ((0.5 * (1000.0 - found.objective_after) ** 2 - error).abs() / error < 1e-8).all()
    assert set(found.statuses) == {SolverStatus.COMPLETE}
    assert (found.actions != start).any()


def test_a_value_above_the_ceiling_ends_the_run_instead_of_minimising():
    model = woken(learner(planner="lm_rank1", ceiling=-50.0))
    with pytest.raises(CeilingError, match="climbs no further"):
        model.act(np.zeros(4, np.float32), 10**6, explore=False)
    with pytest.raises(CeilingError, match="climbs no further"):
        planned_loss(model.model, torch.randn(20, 4), torch.ones(20), 3, model.config)


def test_plans_that_begin_above_the_ceiling_are_refused_and_not_pulled_below_it():
    model = woken(learner(planner="lm_rank1", iterations=50, step_size=1.0))
    z = model.model.h(torch.randn(200, 4))
    problem = world_problem(model.model.world, model._settings, z)
    start = model.model.world.propose(z, 3).detach()
    with torch.no_grad():
        ceiling = float(solve(problem, start, model._method).objective_before.median())
        low = woken(learner(planner="lm_rank1", iterations=50, step_size=1.0, ceiling=ceiling))
        found = solve(problem, start, low._method)
    above = found.objective_before >= ceiling
    assert 50 < above.sum() < 150
    torch.testing.assert_close(found.actions[above], start[above])
    with pytest.raises(CeilingError):
        low.plan(z, 3)


def test_noise_never_goes_and_evaluation_has_none():
    model = woken(learner(std_first=0.5, std_last=0.05, std_steps=100))
    seen = np.ones(4, np.float32)
    late = [model.act(seen, 10**6, explore=True) for _ in range(20)]
    assert np.std(late, axis=0).min() > 0.01
    assert np.abs(late).max() <= 1.0
    assert len({model.act(seen, 10**6, explore=False).tobytes() for _ in range(5)}) == 1
    with pytest.raises(ConfigError, match="std_last must be positive"):
        replace(SMALL, std_last=0.0)


def test_one_update_makes_one_solve():
    model, calls = woken(learner()), []
    value = model.model.world.propose

    def count(z, horizon):
        calls.append(len(z))
        return value(z, horizon)

    model.model.world.propose = count  # type: ignore[method-assign]
    model.update(batch(), 1000)
    assert calls == [SMALL.pg_batch * 3]


@pytest.mark.parametrize("task", sorted(PAPER))
def test_the_paper_preset_has_the_references_numbers_in_the_box(task):
    config = replace(SMALL, task=task, **presets(task)["paper"])
    model = Learner(config, (4,), 2)
    inner = model._method.method  # type: ignore[attr-defined]
    assert isinstance(model._method, Boxed)
    assert isinstance(inner, LMRank1)
    assert not isinstance(model._method, BestSoFar)
    assert (inner.iterations, inner.step_size, inner.damping) == PAPER[task]
    assert (config.terminal, config.in_graph) == ("min", 5)


def test_pictures_are_shifted_by_whole_pixels_and_alike_in_a_stack():
    torch.manual_seed(0)
    wide = torch.arange(84.0).repeat(9, 84, 1)[None]
    moved = shifted(wide.repeat(8, 1, 1, 1))
    middle = moved[:, :, 40, 40]
    assert (middle == middle[:, :1]).all()
    assert (middle[:, 0] - 40).abs().max() <= 4
    assert len(set(middle[:, 0].tolist())) > 1


def test_pictures_teach_too(tmp_path):
    config = replace(SMALL, out=tmp_path, obs="rgb", steps=60, seed_steps=40, update_every=10)
    trainer = RLTrainer.open(config, PointWorld(pictures=True))
    trainer.run()
    assert trainer.learner.updates == 6
    assert np.isfinite(trainer.log.rows[-2]["grad_norm"])


def test_an_environment_that_does_not_fit_is_told_apart():
    env = PointWorld()
    env.action_space.high[:] = 2.0
    with pytest.raises(ValueError, match=r"vector in \[-1, 1\]"):
        require_fit(env)
    env = PointWorld()
    env.observation_space.dtype = np.dtype(np.float64)
    with pytest.raises(ValueError, match="float64"):
        require_fit(env)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "sac"}, "unknown method 'sac'; known: difftori_rl, tdmpc"),
        ({"planner": "mppi"}, "unknown planner"),
        ({"pg": "always"}, "unknown pg"),
        ({"seed_steps": 1}, "at least the horizon"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"horizon_steps": 0}, "horizon_steps must be at least 1"),
        ({"std_steps": 0}, "std_steps must be at least 1"),
        ({"eval_episodes": 0}, "eval_episodes must be at least 1"),
        ({"steps": 59}, "steps must be at least seed_steps, 60, got 59"),
        ({"lr": -1.0}, "lr must be positive"),
        ({"name": "bad name/.."}, "is not a plain name"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        replace(SMALL, **changes)


def test_a_run_that_diverges_says_so(tmp_path):
    trainer = RLTrainer.open(replace(SMALL, out=tmp_path, lr=1e12), PointWorld())
    with pytest.raises(DivergedError, match=r"of update \d+ is no finite number"):
        trainer.run()


def test_the_learning_rate_drops_where_it_is_told_to():
    assert [SMALL.lr_at(step) for step in (1, 10**6)] == [SMALL.lr, SMALL.lr]
    late = replace(SMALL, lr_drop=100)
    assert [late.lr_at(step) for step in (99, 100)] == [late.lr, 0.1 * late.lr]
    slow, fast = woken(learner(lr_drop=100)), woken(learner(lr_drop=100))
    same = batch()
    before = slow.state()["model.encoder.0.weight"].clone()
    fast.update(same, 99)
    slow.update(same, 100)
    moved = [(m.state()["model.encoder.0.weight"] - before).abs().max() for m in (fast, slow)]
    assert float(moved[1]) == pytest.approx(0.1 * float(moved[0]), rel=0.01)
