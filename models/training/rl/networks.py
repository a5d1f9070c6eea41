# SPDX-License-Identifier: MIT
"""Everything that is learned: h, d, R, Q, pi, and DiffTORI's value Q~ of raw observations.

Sizes and starts are those of TD-MPC (Hansen et al. 2022) and of DiffTORI's appendix B.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from difftori_models.training.random_shift import random_shift
from difftori_models.world_model.world_model import (
    WorldModel,
    WorldModelSizes,
    action_value,
    init_orthogonal_,
    state_encoder,
)

CHANNELS = 32
PAD = {84: 4}
"""Pixels by which a picture of this side is shifted at most, in training."""


@dataclass(frozen=True)
class Sizes:
    """Widths of all networks.

    Attributes:
        observation: Shape of an observation.
        world: Sizes of the latent world model.
        encoder: Width of the state encoder's hidden layer.
    """

    observation: tuple[int, ...]
    world: WorldModelSizes
    encoder: int = 256


class TOLD(nn.Module):
    """The task-oriented latent dynamics of TD-MPC, with Q~ beside them.

    Attributes:
        encoder: h, from observation to latent.
        world: d, R, Q and pi.
        see: Encoder of Q~: its own convolutions for pictures, nothing for states.
        raw: Both Q~, on the raw observation.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        z, hidden, action = sizes.world.latent, sizes.world.hidden, sizes.world.action
        self.encoder = _encoder(sizes)
        self.world = WorldModel(sizes.world)
        pictures = len(sizes.observation) == 3
        self.see = _encoder(sizes) if pictures else nn.Identity()
        width = z if pictures else sizes.observation[0]
        self.raw = nn.ModuleList(action_value(width + action, hidden) for _ in range(2))
        for part in (self.encoder, self.see, self.raw):
            init_orthogonal_(part)
        for head in self.raw:
            nn.init.zeros_(head[-1].weight)  # type: ignore[index]

    def Q_raw(self, observation: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:  # noqa: N802
        """Q~1 and Q~2 of observations (..., *shape) and actions (..., A), each (...)."""
        both = torch.cat([encode(self.see, observation, a.dim() - 1), a], dim=-1)
        one, other = self.raw
        return one(both).squeeze(-1), other(both).squeeze(-1)

    def h(self, observation: Tensor, lead: int = 1) -> Tensor:
        """Latents of observations with `lead` leading dimensions, shape (..., Z)."""
        return encode(self.encoder, observation, lead)


def encode(encoder: nn.Module, observation: Tensor, lead: int) -> Tensor:
    """`encoder` on observations with any number of leading dimensions."""
    if observation.dim() - lead == 1:
        return encoder(observation)
    return encoder(observation.flatten(0, lead - 1)).unflatten(0, observation.shape[:lead])


def shifted(pictures: Tensor) -> Tensor:
    """Pictures (B, C, N, N) moved by up to `PAD` pixels each way; those of a stack alike."""
    side = pictures.shape[-1]
    pixels = PAD.get(side, max(1, side // 21))
    return random_shift(pictures.movedim(1, -1), pixels).movedim(-1, 1).contiguous()


class Pixels(nn.Module):
    """0 to 255 become 0 to 1."""

    def forward(self, pictures: Tensor) -> Tensor:
        """Scaled pictures."""
        return pictures.float() / 255.0


def _encoder(sizes: Sizes) -> nn.Sequential:
    shape, z = sizes.observation, sizes.world.latent
    if len(shape) == 1:
        return state_encoder(shape[0], sizes.encoder, z)
    layers: list[nn.Module] = [Pixels()]
    channels = shape[0]
    for kernel in (7, 5, 3, 3):
        layers += [nn.Conv2d(channels, CHANNELS, kernel, stride=2), nn.ReLU()]
        channels = CHANNELS
    convolutions = nn.Sequential(*layers, nn.Flatten())
    with torch.no_grad():
        width = convolutions(torch.zeros(1, *shape)).shape[1]
    return nn.Sequential(*convolutions, nn.Linear(width, z))
