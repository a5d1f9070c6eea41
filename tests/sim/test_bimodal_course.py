# SPDX-License-Identifier: MIT
"""The course with two ways round: the expert gets there on both, and the mean of both does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.support.bimodal_course import ACTION, expert_action, record_course, run_course
from difftori_models.contract.specs import Observation, Plan, PlanStatus
from difftori_models.data import load_demos
from difftori_sim.arm.tasks import TEST_SEEDS

SEEDS = range(TEST_SEEDS.start, TEST_SEEDS.start + 20)


class Scripted:
    """Plans with a rule of tip and goal."""

    def __init__(self, rule: Callable[[np.ndarray, np.ndarray], np.ndarray]):
        self._rule = rule

    def reset(self, seed: int) -> None:
        del seed

    def plan(self, observation: Observation) -> Plan:
        tip, goal = (observation.poses[name][:2] for name in ("tip", "goal"))
        actions = []
        for _ in range(ACTION.horizon):
            actions.append(self._rule(tip, goal) * ACTION.scale)
            tip = tip + actions[-1]
        return Plan(observation.stamp_ns, np.array(actions), 0, 0, 0, 0, PlanStatus.BASE)


def test_the_expert_gets_there_either_way() -> None:
    for side in (-1.0, 1.0):

        def rule(tip: np.ndarray, goal: np.ndarray, side: float = side) -> np.ndarray:
            return expert_action(tip, goal, side)

        for seed in SEEDS:
            assert run_course(Scripted(rule), seed) == (True, side > 0)


def test_the_mean_of_both_ways_does_not() -> None:
    def rule(tip: np.ndarray, goal: np.ndarray) -> np.ndarray:
        return 0.5 * (expert_action(tip, goal, 1.0) + expert_action(tip, goal, -1.0))

    assert not any(run_course(Scripted(rule), seed)[0] for seed in SEEDS)


def test_demonstrations_go_both_ways_from_the_same_place(tmp_path: Path) -> None:
    written = record_course(tmp_path / "demos.npz", 20)
    demos = load_demos(tmp_path / "demos.npz")
    assert np.array_equal(demos.actions, written.actions)
    middle = np.abs(demos.position[:, 0]) < 0.05
    above = demos.position[middle, 1] > 0
    assert 0.2 < above.mean() < 0.8
    assert (np.linalg.norm(demos.position, axis=1) > 0.08).all()
