# SPDX-License-Identifier: MIT
"""The planner answers with data: a plan in physical units, or a status that says why not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from difftori_models.contract.features import FeatureError
from difftori_models.contract.specs import Observation, PlanStatus
from difftori_models.data import Demos, action_chunks, load_demos
from difftori_models.inference.planner import Planner
from difftori_models.policies.agent import Agent
from difftori_models.policies.load import LoadedPolicy, load_policy
from tests.support.reach_task import make_demos, train


@pytest.fixture(scope="module")
def data(demos: Path) -> Demos:
    return load_demos(demos)


@pytest.fixture
def planner(trained: Path) -> Planner:
    planner = Planner(trained)
    planner.warm_up()
    planner.reset(0)
    return planner


def spoiled(trained: Path, tensor: str, value: float) -> Planner:
    """A planner whose loaded weights were overwritten with a finite but absurd number."""
    loaded = load_policy(trained)
    dict(loaded.agent.named_parameters())[tensor].fill_(value)
    return Planner(loaded)


def with_solver(folder: Path, **settings: object) -> LoadedPolicy:
    """The checkpoint in `folder`, loaded with other solver settings."""
    loaded = load_policy(folder)
    card = replace(loaded.card, solver=replace(loaded.card.solver, **settings))
    agent = Agent(card)
    agent.load_state_dict(loaded.agent.state_dict())
    return LoadedPolicy(card, agent.eval().requires_grad_(False))


def test_a_plan_is_refined_finite_and_inside_the_box_in_physical_units(
    planner: Planner, data: Demos
) -> None:
    observation = replace(data.observation(3), stamp_ns=77)
    plan = planner.plan(observation)
    scale = np.array(planner.card.action.scale)
    assert plan.status is PlanStatus.REFINED
    assert plan.iterations == 10
    assert plan.stamp_ns == 77
    assert plan.actions.shape == (4, 4)
    assert plan.actions.dtype == np.float64
    assert (np.abs(plan.actions) <= scale).all()
    assert np.isfinite([plan.objective_before, plan.objective_after]).all()
    assert 0 < plan.elapsed_s < 5


def test_the_same_observation_gives_the_same_plan(
    planner: Planner, trained: Path, data: Demos
) -> None:
    first = planner.plan(data.observation(3))
    planner.plan(data.observation(40))
    for other in (planner, Planner(trained)):
        again = other.plan(data.observation(3))
        assert np.array_equal(first.actions, again.actions)
        assert first.objective_after == again.objective_after


def test_plans_are_near_the_experts(planner: Planner, data: Demos) -> None:
    scale, chunks = np.array(planner.card.action.scale), action_chunks(data)
    steps = range(0, len(data), 25)
    errors = [np.abs(planner.plan(data.observation(k)).actions / scale - chunks[k]) for k in steps]
    assert np.mean(errors) < 0.12


def test_without_refinement_the_base_policy_answers(planner: Planner, data: Demos) -> None:
    plan = planner.plan(data.observation(3), refine=False)
    assert plan.status is PlanStatus.BASE
    assert plan.iterations == 0
    assert not np.array_equal(plan.actions, planner.plan(data.observation(3)).actions)


def test_a_deadline_already_passed_gives_the_base_policys_actions(
    planner: Planner, data: Demos
) -> None:
    plan = planner.plan(data.observation(3), deadline_s=0.0)
    base = planner.plan(data.observation(3), refine=False)
    assert plan.status is PlanStatus.DEADLINE
    assert plan.status.usable
    assert plan.iterations == 0
    np.testing.assert_allclose(plan.actions, base.actions, atol=1e-6)


def test_a_deadline_in_the_midst_of_the_solve_gives_the_iterate_reached(
    planner: Planner, data: Demos, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(float(k) for k in range(100))
    monkeypatch.setattr("difftori_models.inference.planner.time.monotonic", lambda: next(ticks))
    plan = planner.plan(data.observation(3), deadline_s=4.5)
    assert plan.status is PlanStatus.DEADLINE
    assert plan.iterations == 4
    assert np.isfinite(plan.actions).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_observation_that_is_not_finite_gives_no_plan(
    planner: Planner, data: Demos, value: float
) -> None:
    good = data.observation(3)
    plan = planner.plan(replace(good, poses={**good.poses, "goal": np.full(7, value)}))
    assert plan.status is PlanStatus.FAILED
    assert not plan.status.usable
    assert np.isnan(plan.actions).all()
    assert planner.plan(good).status is PlanStatus.REFINED


def test_a_network_that_overflows_gives_no_plan(trained: Path, data: Demos) -> None:
    planner = spoiled(trained, "base.chunk.6.weight", 3e38)
    assert planner.plan(data.observation(3)).status is PlanStatus.FAILED


@pytest.mark.parametrize("tensor", ["head.middle.weight", "head.out.weight", "head.log_steps"])
def test_an_optimiser_that_overflows_leaves_the_base_policys_actions(
    trained: Path, data: Demos, tensor: str
) -> None:
    planner = spoiled(trained, tensor, 3e38)
    plan = planner.plan(data.observation(3))
    base = planner.plan(data.observation(3), refine=False)
    assert plan.status is PlanStatus.DIVERGED
    assert np.array_equal(plan.actions, base.actions)


def test_an_observation_that_lacks_a_stream_is_an_error(planner: Planner, data: Demos) -> None:
    good = data.observation(3)
    with pytest.raises(FeatureError, match="goal"):
        planner.plan(replace(good, poses={"tip": good.poses["tip"]}))


@pytest.mark.parametrize(
    ("method", "status", "iterations"),
    [("bc", PlanStatus.BASE, 0), ("residual", PlanStatus.REFINED, 1)],
)
def test_the_controls_plan_too(
    demos: Path, data: Demos, tmp_path: Path, method: str, status: PlanStatus, iterations: int
) -> None:
    planner = Planner(train(demos, tmp_path, method=method, base_steps=20, head_steps=20))
    plan = planner.plan(data.observation(3))
    assert (plan.status, plan.iterations) == (status, iterations)
    assert np.isnan(plan.objective_after)
    late = planner.plan(data.observation(3), deadline_s=0.0)
    assert late.status is (PlanStatus.BASE if method == "bc" else PlanStatus.DEADLINE)


def test_a_sampled_latent_is_held_for_an_episode_and_repeats_with_its_seed(
    demos: Path, data: Demos, tmp_path: Path
) -> None:
    folder = train(demos, tmp_path, cvae=True, base_steps=20, head_steps=20)
    planner = Planner(with_solver(folder, latent="sample"))

    def values(seed: int) -> list[float]:
        planner.reset(seed)
        return [planner.plan(data.observation(3)).objective_before for _ in range(2)]

    first, second = values(1), values(2)
    assert first[0] == first[1]
    assert first != second
    assert values(1) == first


def test_a_cloud_is_planned_from_and_a_bad_point_gives_no_plan(tmp_path: Path) -> None:
    data = make_demos(tmp_path / "cloud.npz", 4, points=32)
    folder = train(tmp_path / "cloud.npz", tmp_path / "run", base_steps=5, head_steps=5, batch=16)
    planner = Planner(folder)
    planner.warm_up()
    good: Observation = data.observation(3)
    assert planner.plan(good).status is PlanStatus.REFINED
    assert good.points is not None
    points = good.points.copy()
    points[0, 1] = np.nan
    assert planner.plan(replace(good, points=points)).status is PlanStatus.FAILED


def test_threads_are_set_in_the_thread_that_plans(trained: Path, data: Demos) -> None:
    before = torch.get_num_threads()
    try:
        planner = Planner(trained, threads=2)
        torch.set_num_threads(1)
        planner.plan(data.observation(3))
        assert torch.get_num_threads() == 2
        Planner(trained, threads=1).plan(data.observation(3))
        planner.plan(data.observation(3))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_plan_before_is_a_start(trained: Path, data: Demos) -> None:
    fresh, warm = Planner(trained), Planner(with_solver(trained, start="previous"))
    dt_ns = round(fresh.card.action.dt_s * 1e9)
    first, second = (replace(data.observation(k), stamp_ns=k * dt_ns) for k in (20, 21))
    assert np.array_equal(fresh.plan(first).actions, warm.plan(first).actions)
    assert not np.array_equal(fresh.plan(second).actions, warm.plan(second).actions)


def test_a_plan_that_is_over_or_of_another_episode_is_no_start(trained: Path, data: Demos) -> None:
    planner = Planner(with_solver(trained, start="previous"))
    seen = replace(data.observation(3), stamp_ns=10**10)
    fresh = planner.plan(seen)
    planner.plan(replace(data.observation(40), stamp_ns=0))  # ends long before
    assert np.array_equal(planner.plan(seen).actions, fresh.actions)
    planner.plan(replace(data.observation(40), stamp_ns=10**10))
    planner.reset(0)
    assert np.array_equal(planner.plan(seen).actions, fresh.actions)


def test_no_iteration_begins_after_a_deadline_in_2000_plans(
    planner: Planner, data: Demos, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    observation = data.observation(3)
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 1.0  # one look at the clock, one iteration
        return now

    monkeypatch.setattr("difftori_models.inference.planner.time.monotonic", clock)
    for _ in range(2000):
        deadline = float(rng.uniform(0, 14))
        plan = planner.plan(observation, deadline)
        # the k-th iteration is begun at k ticks after the call, so before the deadline
        assert plan.iterations == min(10, max(0, int(np.ceil(deadline)) - 1))
