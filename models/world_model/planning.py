# SPDX-License-Identifier: MIT
"""Plans in a latent world model: the problem, and the method that a card or a run names."""

from __future__ import annotations

import torch
from torch import Tensor

from difftori_models.contract.world_model_settings import WorldSolver
from difftori_models.solver.adam_box import AdamBox
from difftori_models.solver.lm_rank1 import LMRank1
from difftori_models.solver.method import Method
from difftori_models.solver.mppi import MPPI
from difftori_models.solver.normalised_gradient import NormalisedGradient
from difftori_models.solver.problem import Problem
from difftori_models.solver.projected_gradient import ProjectedGradient
from difftori_models.solver.trajectory_value import TrajectoryValue
from difftori_models.solver.wrappers import Boxed

from .trajectory_gradient import TrajectoryGradient
from .world_model import WorldModel


class CeilingError(ValueError):
    """A value has reached what `lm_rank1` aims at: above it there is no step and no gradient."""


def world_method(settings: WorldSolver) -> Method:
    """The method that `settings` name, with the box enforced."""
    count = settings.iterations
    if settings.method == "lm_rank1":
        damped = LMRank1(count, settings.step_size, settings.damping, settings.ceiling)
        return Boxed(damped)
    if settings.method == "projected_gradient":
        return ProjectedGradient(count, settings.step_size)
    if settings.method == "adam_box":
        return AdamBox(count, settings.step_size)
    if settings.method == "mppi":
        return MPPI(count)
    return NormalisedGradient(count, settings.step_size)


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
