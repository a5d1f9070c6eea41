# SPDX-License-Identifier: MIT
"""TD-MPC deploys the very planner it was trained with: in PyTorch and as exported graphs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from difftori_models.checkpoint import save
from difftori_models.contract.features import state_size, state_vector
from difftori_models.contract.network_settings import Network
from difftori_models.contract.specs import Card, Observation
from difftori_models.contract.strict_json import encode
from difftori_models.inference.export import TOLERANCE, export
from difftori_models.inference.planner import Planner
from difftori_models.training.rl.config import RLConfig
from difftori_models.training.rl.learner import Learner
from difftori_models.training.rl.losses import solver_of
from tests.support.reach_task import ACTION, JOINTS, observation_spec

CONFIG = RLConfig(
    "test", "reach", Path("unused"), method="tdmpc", hidden=32, latent=8, encoder=16, horizon=3
)
SPEC = observation_spec()
SIZE, COUNT = state_size(SPEC), len(ACTION.names)
STEP_NS = round(ACTION.dt_s * 1e9)


@pytest.fixture(scope="module")
def learner() -> Learner:
    torch.manual_seed(0)
    learner = Learner(CONFIG, (SIZE,), COUNT)
    world = learner.model.world
    with torch.no_grad():
        for head in (world.R, world.Q1, world.Q2):
            torch.nn.init.normal_(head[-1].weight)
    return learner


@pytest.fixture(scope="module")
def checkpoint(learner: Learner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tdmpc")
    network = Network(SIZE, feature=CONFIG.latent, hidden=CONFIG.hidden, dropout=0.0)
    card = Card(
        name="tdmpc",
        task="reach",
        robot="toy",
        method="tdmpc",
        observation=SPEC,
        action=replace(ACTION, horizon=CONFIG.horizon, execute=1),
        network=encode(network),
        normaliser={
            "state": {"mean": (0.0,) * SIZE, "std": (1.0,) * SIZE},
            "action": {"mean": (0.0,) * COUNT, "std": (1.0,) * COUNT},
        },
        solver=encode(solver_of(CONFIG)),
        training={},
    )
    tensors = {
        f"base.{name}": tensor.numpy()
        for name, tensor in learner.model.state_dict().items()
        if name.startswith(("encoder.", "world."))
    }
    save(folder, card, tensors)
    return folder


def observations(count: int, seed: int = 0) -> list[Observation]:
    rng = np.random.default_rng(seed)
    return [
        Observation(
            stamp_ns=(1 + k) * STEP_NS,
            joint_names=JOINTS,
            position=rng.uniform(-1, 1, len(JOINTS)),
            velocity=np.zeros(len(JOINTS)),
            poses={
                name: np.array([*rng.uniform(-1, 1, 3), 1.0, 0.0, 0.0, 0.0])
                for name in ("tip", "goal")
            },
        )
        for k in range(count)
    ]


def trained_actions(learner: Learner, steps: list[Observation], seed: int) -> np.ndarray:
    """What an evaluation of training executes."""
    learner.begin_episode(seed)
    return np.stack([learner.act(state_vector(one, SPEC), 10**6, explore=False) for one in steps])


def deployed_actions(planner: Planner, steps: list[Observation], seed: int) -> np.ndarray:
    """What the node executes, one action of each plan."""
    planner.reset(seed)
    plans = [planner.plan(one) for one in steps]
    assert all(plan.iterations == 6 for plan in plans)
    return np.stack([plan.actions[0] / np.array(ACTION.scale) for plan in plans])


@pytest.mark.parametrize("seed", [0, 7])
def test_the_planner_plans_what_an_evaluation_in_training_executes(learner, checkpoint, seed):
    steps = observations(6)
    planner = Planner(checkpoint, backend="eager")
    wanted = trained_actions(learner, steps, seed)
    np.testing.assert_allclose(deployed_actions(planner, steps, seed), wanted, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_exported_graphs_plan_the_same(learner, checkpoint, tmp_path):
    """But where a last digit decides whether a candidate is among the elites."""
    assert export(checkpoint, tmp_path).difference <= TOLERANCE
    planner = Planner(tmp_path, backend="onnx")
    apart = [
        np.abs(deployed_actions(planner, [one], 0) - trained_actions(learner, [one], 0)).max()
        for one in observations(12)
    ]
    assert np.quantile(apart, 0.75) <= TOLERANCE
    assert max(apart) <= 0.05


def test_an_episode_has_noise_of_its_own_and_a_plan_begins_at_the_one_before(checkpoint):
    planner = Planner(checkpoint, backend="eager")
    first, second = observations(2)
    one, again, other = (deployed_actions(planner, [first, second], k) for k in (0, 0, 1))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    alone = deployed_actions(planner, [second], 0)
    assert not np.array_equal(one[1], alone[0]), "the plan before was forgotten"


def test_where_training_explores_it_executes_something_else_every_time(learner):
    learner.begin_episode()
    state = state_vector(observations(1)[0], SPEC)
    torch.manual_seed(0)
    explored = np.stack([learner.act(state, 0, explore=True) for _ in range(5)])
    assert len(np.unique(explored, axis=0)) == 5
    assert np.abs(explored).max() <= 1.0
