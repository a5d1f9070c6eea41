# SPDX-License-Identifier: MIT
"""Plans in a latent world model: the problem, and the method that a card or a run names."""

from __future__ import annotations

import torch
from torch import Tensor

from difftori_models.contract.world_model_settings import WorldSolver
from difftori_models.errors import LearningError
from difftori_models.solver.adam_box import AdamBox
from difftori_models.solver.lm_rank1 import LMRank1
from difftori_models.solver.method import Method, State
from difftori_models.solver.mppi import MPPI, Draws
from difftori_models.solver.normalised_gradient import NormalisedGradient
from difftori_models.solver.problem import Problem
from difftori_models.solver.trajectory_value import TrajectoryValue
from difftori_models.solver.wrappers import Boxed

from .trajectory_gradient import TrajectoryGradient
from .world_model import WorldModel

PRIOR_CANDIDATES = 25
"""Candidates of a search that are the policy prior's, with noise."""


class CeilingError(LearningError, ValueError):
    """A value has reached what `lm_rank1` aims at: above it there is no step and no gradient."""


def world_method(settings: WorldSolver) -> Method:
    """The method that `settings` name, with the box enforced; `search` runs `mppi`."""
    count = settings.iterations
    if settings.method == "lm_rank1":
        damped = LMRank1(count, settings.step_size, settings.damping, settings.ceiling)
        return Boxed(damped)
    if settings.method == "adam_box":
        return AdamBox(count, settings.step_size)
    if settings.method == "mppi":
        return MPPI(count)
    return NormalisedGradient(count, settings.step_size)


def search_noise(settings: WorldSolver, horizon: int, action: int) -> tuple[int, ...]:
    """Shape of the standard normal numbers that one plan takes; (0,) where it takes none."""
    if settings.method != "mppi":
        return (0,)
    # The first row moves pi's candidates, each of the others is one round of the search.
    return (settings.iterations + 1, MPPI.samples, horizon, action)


def search_draws(world: WorldModel, z: Tensor, noise: Tensor) -> Draws:
    """What a search from latents (B, Z) is given: its noise, and candidates of the prior.

    Args:
        world: The world model.
        z: The latents.
        noise: Standard normal numbers, shape (B, *search_noise).
    """
    return Draws(noise[:, 1:], world.propose_around(z, noise[:, 0, :PRIOR_CANDIDATES]))


@torch.no_grad()
def search(
    world: WorldModel,
    settings: WorldSolver,
    z: Tensor,
    start: Tensor,
    noise: Tensor,
    min_std: float = MPPI.min_std,
) -> State:
    """Where a search of `mppi` ends: its actions are the plan, `MPPI.explore` draws from it.

    Args:
        world: The world model.
        settings: Of the card or of the run.
        z: Latents, shape (B, Z).
        start: First mean, shape (B, H, A): the plan before shifted to now, pi's plan past its end.
        noise: Standard normal numbers, shape (B, *search_noise).
        min_std: Smallest standard deviation.
    """
    problem = world_problem(world, settings, z)
    draws = search_draws(world, z, noise)
    method = MPPI(settings.iterations, min_std=min_std, draws=draws)
    state = method.init(problem, start)
    for row in method.schedule(start):
        state = method.step(problem, state, row)
    return state


def world_problem(world: WorldModel, settings: WorldSolver, z: Tensor) -> Problem:
    """The planning problem of latents (B, Z), actions in [-1, 1]."""
    value = TrajectoryValue(settings.discount, settings.terminal)
    high = torch.ones(world.sizes.action, dtype=z.dtype, device=z.device)
    return Problem(value, -high, high, world, z, TrajectoryGradient(value))


def require_below_ceiling(settings: WorldSolver, *values: Tensor) -> None:
    """Pass silently while the constant of `lm_rank1` is above every value.

    Raises:
        CeilingError: It is not; the message says what to do.
    """
    if settings.method != "lm_rank1":
        return
    highest = max(float(value.max()) for value in values)
    if highest >= settings.ceiling:
        raise CeilingError(
            f"a plan's value is {highest:.4g}, lm_rank1 aims at {settings.ceiling:g} and climbs "
            "no further: set a higher ceiling, or take another planner"
        )
