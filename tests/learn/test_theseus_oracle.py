# SPDX-License-Identifier: MIT
"""`LMRank1` goes where Theseus goes, step by step, without Theseus' matrices.

How single precision is compared has a reason: Theseus factorises gg' + damping I, and the rounding
of that costs about eps |g|^2 / damping times the step. Gradients of size 10, with the reference's
damping, make it 1e-4 and more in one step, and the next step starts from there. The closed form
has no such error.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from difftori_models.solver.adam_box import AdamBox
from difftori_models.solver.backward import truncated, unrolled
from difftori_models.solver.lm_rank1 import LMRank1
from difftori_models.solver.method import solve
from difftori_models.solver.problem import Problem
from difftori_models.solver.theseus import TheseusLM
from difftori_models.solver.wrappers import BestSoFar
from difftori_models.world_model.world_model import WorldModelSizes
from tests.support.solver_problems import imitation, in_double, iterates, reinforcement, rows

SHAPES = [pytest.param(4, 5, id="A4-H5"), pytest.param(7, 8, id="A7-H8")]


def single(x: float) -> float:
    """Theseus rounds its damping to single precision whatever the problem's type."""
    return float(np.float32(x))


RL: dict[str, Any] = {"step_size": 1e-3, "damping": single(1e-3)}
IL: dict[str, Any] = {"step_size": 3e-5, "damping": single(0.01), "coupled": True}


def theseus_iterates(problem: Problem, start: Tensor, method: TheseusLM) -> Tensor:
    """The start and every iterate of the real Theseus, shape (K + 1, B, H, A)."""
    found = [start]

    def keep(optimizer: Any, *_: Any) -> None:
        tensor = optimizer.objective.optim_vars["actions"].tensor
        found.append(tensor.detach().clone().view_as(start))

    samples = 1 if method.coupled else len(start)
    with torch.no_grad():
        method.layer(problem, start).forward(
            {
                "actions": start.reshape(samples, -1),
                "context": problem.context.reshape(samples, -1),
            },
            optimizer_kwargs={"damping": method.damping, "end_iter_callback": keep},
        )
    assert len(found) == method.iterations + 1
    return torch.stack(found)


@pytest.mark.parametrize(("size", "horizon"), SHAPES)
@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("gain", [0.03, 1.0])
def test_every_iterate_of_the_rl_shape_is_theseus_own_in_double_precision(
    size: int, horizon: int, batch: int, gain: float
) -> None:
    sizes = WorldModelSizes(size)
    problem, start = reinforcement(batch, torch.float64, sizes, horizon, gain)
    ours = iterates(problem, start, LMRank1(10, **RL))
    theirs = theseus_iterates(problem, start, TheseusLM(10, **RL))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)
    assert (ours[-1] - start).abs().max() > 0.1


@pytest.mark.parametrize(("size", "horizon"), SHAPES)
@pytest.mark.parametrize("batch", [1, 8])
def test_every_iterate_of_the_rl_shape_is_theseus_own_in_single_precision(
    size: int, horizon: int, batch: int
) -> None:
    # Gradients near sqrt(damping), for which steps are longest: iterates of size 10.
    sizes = WorldModelSizes(size)
    problem, start = reinforcement(batch, torch.float32, sizes, horizon, gain=0.003)
    ours = iterates(problem, start, LMRank1(10, **RL))
    theirs = theseus_iterates(problem, start, TheseusLM(10, **RL))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert ours.abs().max() > 5


@pytest.mark.parametrize(("size", "horizon"), SHAPES)
@pytest.mark.parametrize("gain", [0.3, 1.0])
def test_where_single_precision_differs_the_closed_form_is_right(
    size: int, horizon: int, gain: float
) -> None:
    problem, start = reinforcement(8, torch.float32, WorldModelSizes(size), horizon, gain)
    ours = iterates(problem, start, LMRank1(1, **RL))[1]
    theirs = theseus_iterates(problem, start, TheseusLM(1, **RL))[1]
    exact = iterates(in_double(problem), start.double(), LMRank1(1, **RL))[1]
    torch.testing.assert_close(ours.double(), exact, rtol=0, atol=1e-5)
    assert (theirs - exact).abs().max() > 1e-5


@pytest.mark.parametrize(("size", "horizon"), SHAPES)
@pytest.mark.parametrize("gain", [0.03, 0.3, 1.0])
def test_every_step_in_single_precision_is_theseus_own_but_for_the_rounding_of_its_factors(
    size: int, horizon: int, gain: float
) -> None:
    problem, start = reinforcement(8, torch.float32, WorldModelSizes(size), horizon, gain)
    theirs = theseus_iterates(problem, start, TheseusLM(10, **RL))
    for before, after in pairwise(theirs):
        ours = iterates(problem, before, LMRank1(1, **RL))[1]
        _, gradient = problem.objective_and_gradient(problem.project(before))
        square = (gradient * (before.abs() <= 1)).square().sum(dim=(1, 2))
        step = (after - before).flatten(1).norm(dim=1)
        rounding = torch.finfo(torch.float32).eps * square / RL["damping"] * step
        allowed = 1e-5 * (1 + after.abs()) + 2 * rounding[:, None, None]
        assert ((ours - after).abs() <= allowed).all()


@pytest.mark.parametrize(
    ("dtype", "within"), [(torch.float64, 1e-9), (torch.float32, 1e-5)], ids=["fp64", "fp32"]
)
@pytest.mark.parametrize(("batch", "count"), [(1, 10), (16, 10), (128, 3)])
def test_every_iterate_of_the_batch_coupled_il_shape_is_theseus_own(
    batch: int, count: int, dtype: torch.dtype, within: float
) -> None:
    problem, start = imitation(batch, dtype)
    ours = iterates(problem, start, LMRank1(count, **IL))
    theirs = theseus_iterates(problem, start, TheseusLM(count, **IL))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=within)
    assert (ours[-1] - start).abs().max() > 100 * within


def test_coupling_changes_the_answer_of_a_sample() -> None:
    problem, start = imitation(16, torch.float64)
    together = iterates(problem, start, LMRank1(3, **IL))[-1, :1]
    alone = iterates(rows(problem, [0]), start[:1], LMRank1(3, **IL))[-1]
    assert (together - alone).abs().max() > 1e-3


@pytest.mark.parametrize(("size", "horizon"), SHAPES)
def test_the_best_iterate_is_theseus_best_solution(size: int, horizon: int) -> None:
    problem, start = reinforcement(8, torch.float64, WorldModelSizes(size), horizon)
    theirs_last, theirs_best = TheseusLM(10, **RL).solve(problem, start)
    ours = solve(problem, start, BestSoFar(LMRank1(10, **RL)))
    torch.testing.assert_close(ours.actions, theirs_best, rtol=0, atol=1e-9)
    assert (theirs_best - theirs_last).abs().max() > 0.1


def weight_gradients(problem: Problem, actions: Tensor) -> Tensor:
    """Derivative of the squared actions with respect to every weight, as one vector."""
    loss = actions.square().sum()
    weights = list(problem.params.parameters())
    found = torch.autograd.grad(loss, weights, allow_unused=True)
    assert any(x is not None for x in found)
    return torch.cat([x.flatten() for x in found if x is not None])


def test_the_references_training_gradient_is_dead_where_adam_boxs_is_alive() -> None:
    problem, start = reinforcement(8, torch.float64, WorldModelSizes(4), 5)
    ours = truncated(problem, start, LMRank1(50, **RL), 5).actions
    gone = (ours.abs() > 1).flatten(1).all(dim=1).nonzero().flatten().tolist()
    assert len(gone) >= 4  # most samples have left the box with every entry of every action
    problem, start = rows(problem, gone), start[gone]

    method = TheseusLM(50, **RL, backward_iterations=5)
    theirs, best = method.solve(problem, start)
    torch.testing.assert_close(theirs, ours[gone], rtol=0, atol=1e-9)
    assert not best.requires_grad
    for dead in (theirs, truncated(problem, start, LMRank1(50, **RL), 5).actions):
        assert torch.count_nonzero(weight_gradients(problem, dead)) == 0

    alive = weight_gradients(problem, unrolled(problem, start, AdamBox(20)).actions)
    assert alive.isfinite().all()
    assert alive.norm() > 1e-3


def test_theseus_is_a_method_like_the_others() -> None:
    problem, start = reinforcement(
        3, torch.float64, WorldModelSizes(2, latent=6, hidden=16), 3, 1.0
    )
    with torch.no_grad():
        theirs = solve(problem, start, TheseusLM(4, **RL))
        ours = solve(problem, start, LMRank1(4, **RL))
    torch.testing.assert_close(theirs.actions, ours.actions, rtol=0, atol=1e-9)
    torch.testing.assert_close(theirs.objective_after, ours.objective_after, rtol=0, atol=1e-9)
    assert theirs.statuses == ours.statuses
