# SPDX-License-Identifier: MIT
"""Everything that is seen at once becomes one latent z."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from difftori_models.contract.network_settings import Network

from .image import IMAGE_FEATURE, ImageEncoder
from .points import POINT_FEATURE, PointEncoder
from .state import StateEncoder


@dataclass(frozen=True)
class Inputs:
    """A batch of observations.

    Attributes:
        state: Normalised state vectors, shape (B, D).
        points: Normalised points, shape (B, N, C), or None.
        images: One tensor per camera in the card's order, shape (B, H, W, 3), uint8 RGB.

    F frames stand one after the other: states (B, F * D), points (B, F * N, C), images
    (B, F * H, W, 3).
    """

    state: Tensor
    points: Tensor | None = None
    images: tuple[Tensor, ...] = ()

    def at(self, rows: Tensor) -> Inputs:
        """Some rows of the batch."""
        points = None if self.points is None else self.points[rows]
        return Inputs(self.state[rows], points, tuple(image[rows] for image in self.images))


class Encoder(nn.Module):
    """Side by side, then through one perceptron: `encode(inputs)` gives z, shape (B, feature).

    Every camera has an encoder of its own, since it has a place of its own. The frames of a stack
    share it, and what moved is what differs between their codes.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.points = PointEncoder(network.points) if network.points else None
        self.images = nn.ModuleList(ImageEncoder() for _ in range(network.images))
        self._frames = network.frames
        seen = (POINT_FEATURE if network.points else 0) + IMAGE_FEATURE * network.images
        size = network.state + network.frames * seen
        self.state = StateEncoder(size, network.hidden, network.feature, network.dropout)

    def encode(self, inputs: Inputs) -> Tensor:
        """The latent z, shape (B, feature)."""
        parts = [inputs.state]
        if self.points is not None and inputs.points is not None:
            parts.append(self._each(self.points, inputs.points))
        for encoder, image in zip(self.images, inputs.images, strict=True):
            parts.append(self._each(encoder, image))
        return self.state(torch.cat(parts, dim=-1))

    def _each(self, encoder: nn.Module, stack: Tensor) -> Tensor:
        """Every frame of a stack (B, F * N, ...) encoded, side by side: (B, F * feature)."""
        if self._frames == 1:
            return encoder(stack)
        frames = stack.unflatten(1, (self._frames, -1)).flatten(0, 1)
        return encoder(frames).unflatten(0, (-1, self._frames)).flatten(1)

    forward = encode
