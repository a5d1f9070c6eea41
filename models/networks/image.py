# SPDX-License-Identifier: MIT
"""A camera's encoder: convolutions that say where in the picture things are."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

IMAGE_FEATURE = 64
"""Length of an encoded image."""
CHANNELS = (32, 32, 32)
"""Channels of the layers; the last ones are the keypoints."""
STRIDE = 4
"""The first layer looks at every fourth pixel: the resolution on which keypoints are found."""
GROUP = 8
"""Channels that are normalised together."""
FIRST_SHARPNESS = 3.0
"""Factor on the normalised maps before training: of a flat soft-max nothing is learned."""


class ImageEncoder(nn.Module):
    """Keypoints of an RGB picture, projected: (B, H, W, 3) uint8 becomes (B, 64).

    Convolutions with group norm and ReLU, then the spatial soft-max of Levine et al. 2016
    ("End-to-end training of deep visuomotor policies"): of every channel the expected place in the
    picture, -1 to 1 in x and y. Weights begin at random and fit pictures of every size.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, CHANNELS[0], 2 * STRIDE, STRIDE, STRIDE // 2)]
        for narrow, wide in pairwise(CHANNELS):
            layers += [nn.GroupNorm(narrow // GROUP, narrow), nn.ReLU()]
            layers += [nn.Conv2d(narrow, wide, 3, padding=1)]
        layers += [nn.GroupNorm(CHANNELS[-1] // GROUP, CHANNELS[-1])]
        self.maps = nn.Sequential(*layers)
        self.log_sharpness = nn.Parameter(torch.full((1,), math.log(FIRST_SHARPNESS)))
        self.project = nn.Sequential(
            nn.Linear(2 * CHANNELS[-1], IMAGE_FEATURE), nn.LayerNorm(IMAGE_FEATURE), nn.ELU()
        )

    def forward(self, images: Tensor) -> Tensor:
        """Encoded images, shape (B, 64)."""
        return self.project(self.keypoints(images).flatten(1))

    def keypoints(self, images: Tensor) -> Tensor:
        """Where each channel is seen, shape (B, K, 2): x to the right and y down, -1 to 1."""
        scaled = images.permute(0, 3, 1, 2).contiguous().to(torch.float32) / 127.5 - 1.0
        maps = self.maps(scaled)
        height, width = maps.shape[2:]
        share = (maps.flatten(2) * self.log_sharpness.exp()).softmax(dim=-1)
        share = share.unflatten(-1, (height, width))
        x = torch.linspace(-1.0, 1.0, width, dtype=maps.dtype, device=maps.device)
        y = torch.linspace(-1.0, 1.0, height, dtype=maps.dtype, device=maps.device)
        return torch.stack([share.sum(dim=2) @ x, share.sum(dim=3) @ y], dim=-1)
