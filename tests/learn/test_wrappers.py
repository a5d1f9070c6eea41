# SPDX-License-Identifier: MIT
"""The best iterate is kept."""

from __future__ import annotations

import pytest
import torch

from difftori_models.solver.adam_box import AdamBox
from difftori_models.solver.lm_rank1 import LMRank1
from difftori_models.solver.method import Method, solve
from difftori_models.solver.normalised_gradient import NormalisedGradient
from difftori_models.solver.projected_gradient import ProjectedGradient
from difftori_models.solver.solution import SolverStatus
from difftori_models.solver.wrappers import BestSoFar
from tests.support.solver_problems import (
    iterates,
    quadratic,
    ripple,
)

INNER = [
    pytest.param(AdamBox(12), id="adam"),
    pytest.param(NormalisedGradient(12), id="normalised"),
    pytest.param(ProjectedGradient(12, 1.5), id="long-steps"),
    pytest.param(LMRank1(12, step_size=1e-2), id="lm"),
]


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
