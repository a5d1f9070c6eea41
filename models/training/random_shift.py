# SPDX-License-Identifier: MIT
"""Random shifts of pictures (DrQ, Yarats et al. 2021), for both trainers."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def random_shift(images: Tensor, pixels: int) -> Tensor:
    """Images (B, H, W, C) each moved by whole pixels, -pixels to pixels in x and in y.

    The border is repeated outwards and a window of the old size cut out.
    """
    count, height, width, _ = images.shape
    wide = functional.pad(images.movedim(-1, 1).float(), (pixels,) * 4, mode="replicate")
    wide = wide.to(images.dtype).movedim(1, -1)
    x, y = torch.randint(0, 2 * pixels + 1, (2, count, 1, 1)).to(images.device)
    rows = y + torch.arange(height, device=images.device)[:, None]
    columns = x + torch.arange(width, device=images.device)
    return wide[torch.arange(count, device=images.device)[:, None, None], rows, columns]
