# SPDX-License-Identifier: MIT
"""Diffusion policy: a chunk is denoised, given the observation (Chi et al. 2023)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from difftori_models.contract.network_settings import Network
from difftori_models.networks import Encoder, Inputs

from .base import Base, Box, Proposed
from .ddim import TIMES, denoise, noised, shares

CHANNELS = (64, 128)
"""Channels at full and at half resolution in time."""
TIME_FEATURE = 32
"""Length of the encoded noise level."""
GROUP = 8
"""Channels that are normalised together."""


class Diffusion(Base):
    """Guesses the clean chunk from a noisy one; a proposal is ten such guesses (see `ddim`).

    The noise of an episode is drawn at its start and held, so the same observation always gives
    the same plan, and a plan does not change its mind about which way to go.
    """

    shares: Tensor

    def __init__(self, network: Network, horizon: int, size: int) -> None:
        super().__init__()
        self.noise = (horizon, size)
        self.encoder = Encoder(network)
        self.unet = UNet(size, network.feature)
        self.register_buffer("shares", shares(), persistent=False)

    def propose(self, inputs: Inputs, box: Box, noise: Tensor, memory: Tensor) -> Proposed:
        """See `Base.propose`."""
        z = self.encoder.encode(inputs)

        def guess(noisy: Tensor, t: int) -> Tensor:
            return self.unet(noisy, noisy.new_full((len(noisy),), t), z).clamp(*box)

        return Proposed(denoise(guess, noise), memory)

    def loss(self, inputs: Inputs, labels: Tensor, box: Box, real: Tensor) -> Tensor:
        """Mean squared error of the guess at a random noise level, per action entry."""
        del box, real
        t = torch.randint(TIMES, (len(labels),), device=labels.device)
        noisy = noised(labels, torch.randn_like(labels), self.shares[t])
        guess = self.unet(noisy, t.to(labels), self.encoder.encode(inputs))
        return (guess - labels).square().mean()


class UNet(nn.Module):
    """Convolutions over the chunk's time, conditioned on noise level and observation by FiLM.

    Two resolutions: chunks are short. One whose length is odd is filled up with zeros.
    """

    def __init__(self, size: int, feature: int) -> None:
        super().__init__()
        wide, deep = CHANNELS
        condition = feature + TIME_FEATURE
        self.down = Block(size, wide, condition)
        self.shrink = nn.Conv1d(wide, wide, 3, stride=2, padding=1)
        self.middle = nn.ModuleList([Block(wide, deep, condition), Block(deep, deep, condition)])
        self.widen = nn.ConvTranspose1d(deep, wide, 2, stride=2)
        self.up = Block(2 * wide, wide, condition)
        self.out = nn.Conv1d(wide, size, 1)

    def forward(self, noisy: Tensor, t: Tensor, z: Tensor) -> Tensor:
        """The clean chunk (B, H, A) of a noisy one at level t (B,), seen z (B, feature)."""
        condition = torch.cat([z, encoded_time(t)], dim=-1)
        horizon = noisy.shape[1]
        x = functional.pad(noisy.transpose(1, 2), (0, horizon % 2))
        level = self.down(x, condition)
        x = self.shrink(level)
        for block in self.middle:
            x = block(x, condition)
        x = self.up(torch.cat([self.widen(x), level], dim=1), condition)
        return self.out(x)[..., :horizon].transpose(1, 2)


class Block(nn.Module):
    """Two convolutions with group norm; between them each channel is scaled and shifted."""

    def __init__(self, size: int, out: int, condition: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv1d(size, out, 3, padding=1), nn.GroupNorm(GROUP, out), nn.SiLU()
        )
        self.film = nn.Sequential(nn.SiLU(), nn.Linear(condition, 2 * out))
        self.second = nn.Sequential(
            nn.Conv1d(out, out, 3, padding=1), nn.GroupNorm(GROUP, out), nn.SiLU()
        )
        self.past = nn.Conv1d(size, out, 1) if size != out else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Shape (B, out, H)."""
        scale, shift = self.film(condition)[..., None].chunk(2, dim=1)
        return self.second(self.first(x) * (1 + scale) + shift) + self.past(x)


def encoded_time(t: Tensor) -> Tensor:
    """Sines and cosines of a noise level (B,), shape (B, TIME_FEATURE) (Vaswani et al. 2017)."""
    half = TIME_FEATURE // 2
    rates = torch.arange(half, device=t.device, dtype=t.dtype) * (-math.log(10_000.0) / (half - 1))
    angles = t[:, None] * rates.exp()
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
