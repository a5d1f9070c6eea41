# SPDX-License-Identifier: MIT
"""A policy learned by reward is deployed like any other."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from difftori_models.checkpoint import load_card
from difftori_models.inference.export import TOLERANCE, export
from difftori_models.inference.planner import Planner
from difftori_models.training.rl.config import RLConfig
from difftori_models.training.rl.learner import Learner
from difftori_models.training.rl.trainer import best_tensors
from difftori_sim.cli.train_commands import train_rl
from difftori_sim.evaluation.through_ros import evaluate_ros
from difftori_sim.suites import make_gym

pytestmark = [pytest.mark.vulkan, pytest.mark.timeout(900)]


def tiny(out, method: str, steps: int = 100) -> RLConfig:
    return RLConfig(
        "robot", "push_cube", out, method=method, steps=steps, seed_steps=50, update_every=5,
        batch=16, hidden=32, latent=8, encoder=16, horizon=3, horizon_steps=1, iterations=2,
        std_steps=100, capacity=2000, eval_every=10**6, eval_episodes=1, save_every=10**6,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("method", ["difftori_rl", "tdmpc"])
def test_trained_briefly_by_reward_it_is_exported_and_drives_the_arm(method, tmp_path):
    config = tiny(tmp_path / "run", method)
    trainer = train_rl(config)
    assert trainer.learner.updates == 20
    folder = config.out / "checkpoint"
    assert load_card(folder).method == method
    assert export(folder, folder).difference <= TOLERANCE
    result = evaluate_ros(str(folder), episodes=1, first_seed=100_000, backend="onnx")
    assert result.episodes == 1
    assert result.plan_ms_p50 > 0


def test_the_node_plans_what_the_run_would_execute(tmp_path):
    config = tiny(tmp_path / "run", "difftori_rl")
    train_rl(config)
    planner = Planner(config.out / "checkpoint", backend="eager")
    with contextlib.closing(make_gym("robot", "push_cube")) as env:
        learner = Learner(config, env.observation_space.shape, 4)
        learner.model.load_state_dict(best_tensors(config.out)[1])
        seen, _ = env.reset(seed=3)
        for _ in range(5):
            wanted = learner.act(seen, config.steps, explore=False)
            plan = planner.plan(env.observation)
            got = plan.actions[0] / np.array(planner.card.action.scale)
            np.testing.assert_allclose(got, wanted, atol=1e-4)
            assert plan.iterations == config.iterations
            seen, *_ = env.step(wanted)


@pytest.mark.slow
def test_push_cube_learned_by_reward_succeeds_as_often_as_was_measured():
    """46 of 50 were, see docs/results/reinforcement.md."""
    result = evaluate_ros("push_cube_rl_state", episodes=50)
    assert result.successes >= 45
