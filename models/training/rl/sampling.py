# SPDX-License-Identifier: MIT
"""TD-MPC's planner as it acts in training: MPPI with pi among its candidates, and warm starts.

Hansen et al. 2022, algorithm 1. `difftori_models.solver.MPPI` is its deterministic part, which a
checkpoint of TD-MPC is deployed with.
"""

from __future__ import annotations

import torch
from torch import Tensor

from difftori_models.solver.trajectory_value import TrajectoryValue
from difftori_models.world_model.world_model import WorldModel

ITERATIONS = 6
SAMPLES = 512
ELITES = 64
PRIOR_SHARE = 0.05
"""Share of the candidates that are pi's, with its noise."""
MOMENTUM = 0.1
TEMPERATURE = 0.5
FIRST_STD = 2.0
PRIOR_STD = 0.05


@torch.no_grad()
def mppi(
    world: WorldModel,
    value: TrajectoryValue,
    z: Tensor,
    horizon: int,
    previous: Tensor | None,
    std: float,
    explore: bool,
) -> tuple[Tensor, Tensor]:
    """The action to be executed, shape (A,), and the mean, shape (H, A).

    Args:
        world: The world model.
        value: What is maximised.
        z: The latent, shape (1, Z).
        horizon: H.
        previous: Mean of the plan one step earlier, shape (H', A), or None.
        std: Smallest spread of the candidates, and of the noise.
        explore: Draw one of the elites and add noise; the weighted mean otherwise.
    """
    action = world.sizes.action
    from_prior = int(PRIOR_SHARE * SAMPLES)
    prior = _roll(world, z.expand(from_prior, -1), horizon)
    mean = z.new_zeros(horizon, action)
    if previous is not None and len(previous) > 1:
        shifted = previous[1:][:horizon]
        mean[: len(shifted)] = shifted
    spread = torch.full_like(mean, FIRST_STD)
    elite, weight = prior, z.new_ones(from_prior) / from_prior
    wide = z.expand(SAMPLES + from_prior, -1)
    for _ in range(ITERATIONS):
        drawn = mean + spread * torch.randn(SAMPLES, horizon, action, device=z.device)
        candidates = torch.cat([drawn.clamp(-1, 1), prior])
        values = value(world, wide, candidates)
        top, which = values.topk(ELITES)
        elite = candidates[which]
        weight = (TEMPERATURE * (top - top[0])).softmax(dim=0)
        centre = (weight[:, None, None] * elite).sum(dim=0)
        variance = (weight[:, None, None] * (elite - centre).square()).sum(dim=0)
        mean = MOMENTUM * mean + (1 - MOMENTUM) * centre
        spread = variance.sqrt().clamp(std, FIRST_STD)
    if not explore:
        return mean[0], mean
    chosen = elite[torch.multinomial(weight, 1).item()][0]  # type: ignore[index]
    return (chosen + spread[0] * torch.randn_like(chosen)).clamp(-1, 1), mean


def _roll(world: WorldModel, z: Tensor, horizon: int) -> Tensor:
    """Pi with noise through the model, shape (B, H, A)."""
    actions = []
    for _ in range(horizon):
        mean = world.pi(z)
        actions.append((mean + PRIOR_STD * torch.randn_like(mean)).clamp(-1, 1))
        z = world.next(z, actions[-1])
    return torch.stack(actions, dim=1)
