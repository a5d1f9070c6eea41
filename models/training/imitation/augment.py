# SPDX-License-Identifier: MIT
"""Images and clouds as another day would have shown them; training alone calls this."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from difftori_models.contract.network_settings import POINT_SCALE
from difftori_models.networks import Inputs
from difftori_models.training.random_shift import random_shift

from .config import TrainConfig

GREY = 127.5
"""What contrast is stretched around."""


def augment(inputs: Inputs, config: TrainConfig) -> Inputs:
    """The batch with every image and cloud moved and its colours changed; the state as it was.

    The frames of a stack are moved and coloured alike, for they show one day.
    """
    changed = []
    for images in inputs.images:
        moved = images
        if config.shift:  # the frames of a stack as channels of one picture
            stack = images.unflatten(1, (config.frames, -1)).movedim(1, 3)
            moved = random_shift(stack.flatten(3), config.shift)
            moved = moved.unflatten(3, (config.frames, -1)).movedim(3, 1).flatten(1, 2)
        changed.append(random_colour(moved, config.brightness, config.contrast))
    points = inputs.points
    if points is not None and (config.cloud_shift or config.cloud_colour):
        points = random_cloud(points, config.cloud_shift / POINT_SCALE, config.cloud_colour)
    return replace(inputs, points=points, images=tuple(changed))


def random_colour(images: Tensor, brightness: float, contrast: float) -> Tensor:
    """Images (B, H, W, C) uint8, each with its own brightness and contrast."""
    if brightness == 0 and contrast == 0:
        return images
    draws = 2 * torch.rand(2, len(images), 1, 1, 1).to(images.device) - 1
    factor, added = 1 + contrast * draws[0], 255 * brightness * draws[1]
    return ((images - GREY) * factor + GREY + added).round().clamp(0, 255).to(images.dtype)


def random_cloud(points: Tensor, shift: float, colour: float) -> Tensor:
    """Normalised clouds (B, N, C), each moved as a whole, with channels of its own brightness.

    Args:
        points: xyz in units of `POINT_SCALE`; rgb minus one half, if there is colour.
        shift: Spread of the motion along each axis, in the same units.
        colour: Largest share by which a channel is brighter or darker.
    """
    moved = shift * torch.randn(len(points), 1, 3).to(points.device)
    gain = 1 + colour * (2 * torch.rand(len(points), 1, 3).to(points.device) - 1)
    rgb = ((points[..., 3:] + 0.5) * gain[..., : points.shape[-1] - 3]).clamp(0, 1) - 0.5
    return torch.cat([points[..., :3] + moved, rgb], dim=-1)
