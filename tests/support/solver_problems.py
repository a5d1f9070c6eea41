# SPDX-License-Identifier: MIT
"""Problems for the solver's tests: random, seeded, some of them in the reference's shapes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from difftori_models.solver.method import Method, State
from difftori_models.solver.problem import Problem
from difftori_models.solver.trajectory_value import TrajectoryValue
from difftori_models.world_model.world_model import WorldModel, WorldModelSizes

LOW, HIGH = (-1.0, -0.5, -2.0), (1.0, 0.5, 2.0)
"""A box of three actions that is not the same for all."""


def corners(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return torch.tensor(LOW, dtype=dtype), torch.tensor(HIGH, dtype=dtype)


def quadratic(
    batch: int, horizon: int = 4, seed: int = 0, dtype: torch.dtype = torch.float64
) -> tuple[Problem, Tensor]:
    """-|L'(a - p)|^2 / 2 for each sample's own L and p, as least squares; some p lie outside."""
    torch.manual_seed(seed)
    n = horizon * len(LOW)
    root = torch.eye(n, dtype=dtype) + 0.15 * torch.randn(batch, n, n, dtype=dtype)
    peak = 1.2 * torch.randn(batch, n, dtype=dtype)

    def residuals(_: None, context: tuple[Tensor, Tensor], actions: Tensor) -> Tensor:
        factor, middle = context
        away = actions.flatten(1) - middle
        return (away[:, None, :] @ factor).squeeze(1)

    problem = Problem.least_squares(residuals, *corners(dtype), None, (root, peak))
    return problem, 0.5 * torch.randn(batch, horizon, len(LOW), dtype=dtype)


def residual_net(
    batch: int, horizon: int = 4, seed: int = 0, dtype: torch.dtype = torch.float64
) -> tuple[Problem, Tensor]:
    """The squared length of a random network's output: least squares, and not concave."""
    torch.manual_seed(seed)
    n = horizon * len(LOW)
    net = nn.Sequential(nn.Linear(5 + n, 24), nn.Tanh(), nn.Linear(24, 10)).to(dtype)

    def residuals(net: nn.Module, context: Tensor, actions: Tensor) -> Tensor:
        return 2 * net(torch.cat([context, actions.flatten(1)], dim=1))

    context = torch.randn(batch, 5, dtype=dtype)
    problem = Problem.least_squares(residuals, *corners(dtype), net, context)
    return problem, torch.randn(batch, horizon, len(LOW), dtype=dtype)


def ripple(
    batch: int,
    horizon: int = 4,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    gain: float = 3.0,
) -> tuple[Problem, Tensor]:
    """A random network of the whole chunk with many hills, in a box that changes with time."""
    torch.manual_seed(seed)
    n = horizon * len(LOW)
    net = nn.Sequential(nn.Linear(5 + n, 32), nn.Tanh(), nn.Linear(32, 32), nn.ELU()).to(dtype)
    net.append(nn.Linear(32, 1).to(dtype))
    with torch.no_grad():
        net[0].weight.mul_(gain)  # type: ignore[operator]
        net[-1].weight.mul_(gain)  # type: ignore[operator]
    low, high = corners(dtype)
    narrower = torch.linspace(1.0, 0.5, horizon, dtype=dtype)[:, None]
    problem = Problem(chunk_score, low * narrower, high * narrower, net)
    context = torch.randn(batch, 5, dtype=dtype)
    return replace(problem, context=context), torch.randn(batch, horizon, len(LOW), dtype=dtype)


def chunk_score(net: nn.Module, context: Tensor, actions: Tensor) -> Tensor:
    return net(torch.cat([context, actions.flatten(1)], dim=1)).squeeze(1)


def imitation(batch: int, dtype: torch.dtype, seed: int = 0) -> tuple[Problem, Tensor]:
    """The shape of the reference's imitation code: 336-256-256-1 over chunks of 4 x 4."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(336, 256), nn.ELU(), nn.Linear(256, 256), nn.ELU())
    net.append(nn.Linear(256, 1))
    one = torch.ones(4, dtype=dtype)
    context = torch.randn(batch, 320).to(dtype)
    start = (2 * torch.rand(batch, 4, 4) - 1).to(dtype)
    return Problem(chunk_score, -one, one, net.to(dtype), context), start


def reinforcement(
    batch: int,
    dtype: torch.dtype,
    sizes: WorldModelSizes,
    horizon: int,
    gain: float = 1.0,
    seed: int = 0,
    terminal: str = "min",
) -> tuple[Problem, Tensor]:
    """A random world model, started from its policy prior; `gain` sets the size of gradients.

    A world model begins with zero heads, which has no gradient; here they are random.
    """
    torch.manual_seed(seed)
    model = WorldModel(sizes)
    for head in (model.R, model.Q1, model.Q2):
        nn.init.normal_(head[-1].weight, std=gain * sizes.hidden**-0.5)  # type: ignore[arg-type]
    model = model.to(dtype)
    z = torch.randn(batch, sizes.latent).to(dtype)
    one = torch.ones(sizes.action, dtype=dtype)
    with torch.no_grad():
        start = model.propose(z, horizon)
    return Problem(TrajectoryValue(terminal=terminal), -one, one, model, z), start


def small_world(
    batch: int, seed: int = 0, dtype: torch.dtype = torch.float64
) -> tuple[Problem, Tensor]:
    """A world model of the same structure that costs nothing."""
    return reinforcement(
        batch, dtype, WorldModelSizes(3, latent=6, hidden=16), 4, 1.0, seed, terminal="soft"
    )


def rows(problem: Problem, which: Sequence[int]) -> Problem:
    """The same problem for some of its samples only."""
    return replace(problem, context=tree_map(lambda x: x[list(which)], problem.context))


def scaled(problem: Problem, factor: float) -> Problem:
    """The same problem with its value multiplied."""
    return Problem(
        lambda params, context, actions: factor * problem.objective(params, context, actions),
        problem.low,
        problem.high,
        problem.params,
        problem.context,
    )


def in_double(problem: Problem) -> Problem:
    """The same problem, with the same weights, in double precision."""
    return replace(
        problem,
        low=problem.low.double(),
        high=problem.high.double(),
        params=copy.deepcopy(problem.params).double(),
        context=tree_map(lambda x: x.double(), problem.context),
    )


def states(problem: Problem, start: Tensor, method: Method) -> list[State]:
    """The state before the first and after every iteration, without gradients."""
    with torch.no_grad():
        found = [method.init(problem, start)]
        for row in method.schedule(start):
            found.append(method.step(problem, found[-1], row))
    return found


def iterates(problem: Problem, start: Tensor, method: Method) -> Tensor:
    """The start and every iterate, shape (K + 1, B, H, A)."""
    return torch.stack([state.actions for state in states(problem, start, method)])


def in_box(problem: Problem, actions: Tensor) -> bool:
    return bool(((actions >= problem.low) & (actions <= problem.high)).all())
