# SPDX-License-Identifier: MIT
"""Wrappers keep their word: the best iterate, the deadline, the best start, the rate limits."""

from __future__ import annotations

import pytest
import torch

from difftori_models.solver.adam_box import AdamBox
from difftori_models.solver.lm_rank1 import LMRank1
from difftori_models.solver.method import Method, solve
from difftori_models.solver.normalised_gradient import NormalisedGradient
from difftori_models.solver.projected_gradient import ProjectedGradient
from difftori_models.solver.solution import SolverStatus
from difftori_models.solver.wrappers import BestSoFar, MultiStart
from tests.support.solver_problems import (
    iterates,
    quadratic,
    ripple,
    rows,
)

INNER = [
    pytest.param(AdamBox(12), id="adam"),
    pytest.param(NormalisedGradient(12), id="normalised"),
    pytest.param(ProjectedGradient(12, 1.5), id="long-steps"),
    pytest.param(LMRank1(12, step_size=1e-2), id="lm"),
]


# --- BestSoFar


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("seed", range(4))
def test_the_best_so_far_is_the_best_of_all_iterates(inner: Method, seed: int) -> None:
    problem, start = ripple(8, seed=seed)
    every = iterates(problem, start, inner)
    with torch.no_grad():
        found = solve(problem, start, BestSoFar(inner))
        values = torch.stack([problem.evaluate(problem.project(actions)) for actions in every])
    torch.testing.assert_close(found.objective_after, values.amax(dim=0))
    torch.testing.assert_close(found.actions, every[values.argmax(dim=0), torch.arange(8)])
    torch.testing.assert_close(found.objective_before, values[0])
    assert found.statuses == (SolverStatus.COMPLETE,) * 8


def test_the_best_so_far_is_neither_always_the_start_nor_always_the_last() -> None:
    problem, start = quadratic(32)
    method = ProjectedGradient(12, 1.0)
    every = iterates(problem, start, method)
    best = solve(problem, start, BestSoFar(method)).actions
    for one in (every[0], every[-1]):
        assert (best != one).flatten(1).any(dim=1).sum() >= 4


# --- MultiStart


@pytest.mark.parametrize("inner", [AdamBox(10), BestSoFar(AdamBox(10))], ids=["last", "best"])
def test_many_starts_give_the_best_of_separate_solves(inner: Method) -> None:
    problem, _ = ripple(6)
    starts = torch.randn(6, 5, 4, 3, dtype=torch.float64)
    with torch.no_grad():
        found = solve(problem.tile(5), starts.flatten(0, 1), MultiStart(inner, 5))
        apart = [solve(problem, starts[:, k], inner) for k in range(5)]
    values = torch.stack([one.objective_after for one in apart])
    which = values.argmax(dim=0)
    assert len(set(which.tolist())) > 1
    torch.testing.assert_close(found.objective_after, values.amax(dim=0))
    best = torch.stack([one.actions for one in apart])[which, torch.arange(6)]
    torch.testing.assert_close(found.actions, best)
    # The value to compare with is the first start's: it is the one there would be otherwise.
    torch.testing.assert_close(found.objective_before, apart[0].objective_before)
    assert found.statuses == (SolverStatus.COMPLETE,) * 6


def test_a_start_that_fails_does_not_win_and_does_not_spoil_the_others() -> None:
    problem, _ = ripple(2)
    starts = torch.randn(2, 3, 4, 3, dtype=torch.float64)
    spoiled = starts.clone()
    spoiled[0, 1, 2, 0] = torch.nan
    method = MultiStart(BestSoFar(AdamBox(6)), 3)
    found = solve(problem.tile(3), spoiled.flatten(0, 1), method)
    rest = solve(
        rows(problem, [0]).tile(2), starts[0, [0, 2]], MultiStart(BestSoFar(AdamBox(6)), 2)
    )
    assert found.statuses == (SolverStatus.COMPLETE,) * 2
    torch.testing.assert_close(found.actions[:1], rest.actions)
