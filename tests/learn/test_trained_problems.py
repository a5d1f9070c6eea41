# SPDX-License-Identifier: MIT
"""On trained world models Adam in a box needs fewer evaluations than the reference."""

from __future__ import annotations

import pytest
import torch

from benchmarks.support.problems import TASKS, Task, Trained, Training, trained
from difftori_models.solver import AdamBox, BestSoFar, LMRank1, solve

SMALL = Training(steps=120, batch=32, latent=16, hidden=64)


@pytest.fixture(scope="module", params=TASKS, ids=lambda task: task.name)
def solved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    task: Task = request.param
    return trained(task, SMALL, tmp_path_factory.mktemp("problems"))


def test_adam_in_20_evaluations_reaches_the_references_best_of_50(solved: Trained) -> None:
    problem, start = solved.problem(solved.states(64, "test"), "min")
    with torch.no_grad():
        reference = solve(problem, start, BestSoFar(LMRank1(50)))
        ours = solve(problem, start, BestSoFar(AdamBox(20)))
    assert ours.objective_after.median() >= reference.objective_after.median()


def test_adam_stays_in_the_box_where_the_reference_leaves_it(solved: Trained) -> None:
    problem, start = solved.problem(solved.states(64, "test"), "min")
    with torch.no_grad():
        reference = solve(problem, start, LMRank1(50)).actions
        state = AdamBox(20).init(problem, start)
        for row in AdamBox(20).schedule(start):
            state = AdamBox(20).step(problem, state, row)
            assert (state.actions.abs() <= 1).all()
    assert (reference.abs() > 1).any()
