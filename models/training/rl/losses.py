# SPDX-License-Identifier: MIT
"""What the networks are trained with: TD-MPC's losses, and the policy gradient through a plan.

TD-MPC (Hansen et al. 2022, section 3), over windows of H steps with weights rho^t:

    2 |d(z_t, a_t) - h-(s_{t+1})|^2 + 0.5 (R - r_t)^2 + 0.1 sum_i (Q_i - (r_t + gamma q-))^2

with targets from averaged weights, marked -. DiffTORI (Wan et al. 2024, section 4.2) adds Q~ of
raw observations, learned likewise, and

    -Q~(s, a(theta)),    a(theta) = first action of the plan from s

whose gradient goes through the solve into h, d, R and Q; neither Q~ nor pi learns from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from difftori_models.contract.world_model_settings import WorldSolver
from difftori_models.solver.backward import truncated, unrolled
from difftori_models.solver.method import Method
from difftori_models.solver.mppi import MPPI
from difftori_models.world_model.planning import require_below_ceiling, world_method, world_problem
from difftori_models.world_model.world_model import PRIOR_STD

from .config import RLConfig
from .networks import TOLD

LARGEST = 1e4
"""No loss of a window counts for more than this."""
PRIOR_CLIP = 0.3
"""Largest noise on pi's actions in targets."""


@dataclass(frozen=True)
class Windows:
    """A `Batch` as tensors; see there for the shapes."""

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    goes_on: Tensor
    valid: Tensor
    weights: Tensor


@dataclass(frozen=True)
class ModelLoss:
    """What a batch came to.

    Attributes:
        total: The loss, a number.
        latents: Latents the windows went through, detached, shape (H + 1, B, Z).
        priorities: New priorities, shape (B,).
        parts: Means of the parts, for the curves.
    """

    total: Tensor
    latents: Tensor
    priorities: Tensor
    parts: dict[str, Tensor]


def model_loss(model: TOLD, target: TOLD, batch: Windows, config: RLConfig) -> ModelLoss:
    """TD-MPC's loss, and that of Q~ where the method has one."""
    world, horizon = model.world, len(batch.actions)
    raw = config.method == "difftori_rl"
    following = batch.observations[1:]
    with torch.no_grad():
        goal = target.h(following, 2)
        z_next = model.h(following, 2)
        a_next = noisy_prior(model, z_next)
        future = config.discount * batch.goes_on
        td = batch.rewards + future * torch.minimum(*target.world.Q(z_next, a_next))
        if raw:
            td_raw = batch.rewards + future * torch.minimum(*target.Q_raw(following, a_next))
    latents = [model.h(batch.observations[0])]
    for a in batch.actions:
        latents.append(world.next(latents[-1], a))
    z = torch.stack(latents)
    weights = batch.valid * _powers(config.rho, horizon, z)[:, None]

    def summed(errors: Tensor) -> Tensor:
        return (weights * errors).sum(dim=0)

    parts = {
        "consistency": summed((z[1:] - goal).square().mean(dim=2)),
        "reward": summed((world.reward(z[:-1], batch.actions) - batch.rewards).square()),
    }
    values = world.Q(z[:-1], batch.actions)
    parts["value"] = summed(sum((q - td).square() for q in values))  # type: ignore[arg-type]
    scales = {"consistency": config.consistency, "reward": config.reward, "value": config.value}
    if raw:
        raw_values = model.Q_raw(batch.observations[:-1], batch.actions)
        parts["raw_value"] = summed(sum((q - td_raw).square() for q in raw_values))  # type: ignore
        scales["raw_value"] = config.value
    each = sum(scale * parts[name].clamp(max=LARGEST) for name, scale in scales.items())
    total = (each * batch.weights).mean() / horizon
    with torch.no_grad():
        surprise = summed(sum((q - td).abs() for q in values)).clamp(max=LARGEST)  # type: ignore
    means = {name: part.detach().mean() for name, part in parts.items()}
    return ModelLoss(total, z.detach(), surprise, means)


def prior_loss(model: TOLD, latents: Tensor, valid: Tensor, config: RLConfig) -> Tensor:
    """Pi climbs the smaller Q along the latents (H + 1, B, Z) of a batch."""
    z = latents[:-1]
    q = torch.minimum(*model.world.Q(z, noisy_prior(model, z)))
    weights = valid * _powers(config.rho, len(z), q)[:, None]
    return -(weights * q).mean()


def planned_loss(
    model: TOLD, observations: Tensor, weights: Tensor, horizon: int, config: RLConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    """The policy gradient's loss on observations (B, ...), all in one solve.

    What is differentiated is what is executed: the last iterate, in the box, from pi's own start.

    Args:
        model: All networks; the graph reaches Q~ and pi too, whose gradients are not to be used.
        observations: Of the episode or the batch.
        weights: Of each, shape (B,).
        horizon: Steps of the plans.
        config: The run's settings.

    Raises:
        CeilingError: A value has reached what `lm_rank1` aims at.
    """
    settings, z = solver_of(config), model.h(observations)
    problem = world_problem(model.world, settings, z)
    with torch.no_grad():
        start = model.world.propose(z, horizon)
    method: Method = world_method(settings)
    if config.in_graph:
        plan = truncated(problem, start, method, config.in_graph)
    else:
        plan = unrolled(problem, start, method)
    require_below_ceiling(settings, plan.objective_before, plan.objective_after)
    a = plan.actions[:, 0]
    loss = -(weights * torch.minimum(*model.Q_raw(observations, a))).mean()
    with torch.no_grad():
        stuck = (plan.actions[:, 0].abs() >= 1.0).float().mean()
    return loss, {"gain": (plan.objective_after - plan.objective_before).mean(), "at_bound": stuck}


def solver_of(config: RLConfig) -> WorldSolver:
    """How plans are made, as it stands in the card."""
    sampling = config.method == "tdmpc"
    return WorldSolver(
        method="mppi" if sampling else config.planner,
        iterations=MPPI.iterations if sampling else config.iterations,
        start="previous" if sampling else "base",
        step_size=config.step_size,
        damping=config.damping,
        ceiling=config.ceiling,
        discount=config.discount,
        terminal="min" if sampling else config.terminal,
        encoder=config.encoder,
    )


def noisy_prior(model: TOLD, z: Tensor) -> Tensor:
    """Pi's action with the noise it has in targets, inside (-1, 1)."""
    mean = model.world.pi(z)
    noise = (PRIOR_STD * torch.randn_like(mean)).clamp(-PRIOR_CLIP, PRIOR_CLIP)
    return (mean + noise).clamp(-1 + 1e-6, 1 - 1e-6)


def _powers(rho: float, horizon: int, like: Tensor) -> Tensor:
    return rho ** torch.arange(horizon, dtype=like.dtype, device=like.device)
