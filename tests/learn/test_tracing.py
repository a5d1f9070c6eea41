# SPDX-License-Identifier: MIT
"""A traced step is the step itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from difftori_models.solver import (
    AdamBox,
    BestSoFar,
    LMRank1,
    Problem,
    ProjectedGradient,
    TrajectoryValue,
)
from difftori_models.solver.tracing import TracedStep
from difftori_models.world_model.world_model import WorldModel, WorldModelSizes

LOW, HIGH = -torch.ones(2), torch.ones(2)


def problem(batch: int, seed: int = 0) -> Problem:
    torch.manual_seed(seed)
    model = WorldModel(WorldModelSizes(action=2, latent=6, hidden=16)).eval()
    for head in (model.R, model.Q1, model.Q2):
        torch.nn.init.normal_(head[-1].weight)
    z = torch.randn(batch, 6, generator=torch.Generator().manual_seed(1))
    return Problem(TrajectoryValue(), LOW, HIGH, model, z)


def start(batch: int) -> Tensor:
    return 0.3 * torch.randn(batch, 3, 2, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    "method", [ProjectedGradient(5), AdamBox(5), LMRank1(5), BestSoFar(AdamBox(5))]
)
def test_a_traced_step_repeats_every_iterate(method) -> None:
    one, first = problem(3), start(3)
    traced = TracedStep(method, one, first)
    state = other = method.init(one, first)
    for row in method.schedule(first):
        with torch.no_grad():
            state = method.step(one, state, row)
        other = traced.unflatten(traced.graph(*traced.flatten(one, other, row)))
        for wanted, got in zip(
            torch.utils._pytree.tree_leaves(state),
            torch.utils._pytree.tree_leaves(other),
            strict=True,
        ):
            torch.testing.assert_close(got, wanted, equal_nan=True)
