# SPDX-License-Identifier: MIT
"""Denoising in a few deterministic steps: DDIM (Song, Meng and Ermon 2021).

    noising     x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) e,      e ~ N(0, I)
    one step    e = (x_t - sqrt(abar_t) x_0) / sqrt(1 - abar_t)
                x_s = sqrt(abar_s) x_0 + sqrt(1 - abar_s) e,       s < t

with the network's guess of x_0, and abar of the squared-cosine schedule (Nichol and Dhariwal
2021). The steps are spaced backwards from the noisiest time, so that the first one begins from
what it was trained on: pure noise. Twenty lines of formulas, so that neither a robot nor an
exported graph needs a library; the tests compare them with `diffusers`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

TIMES = 100
"""Noise levels in training, as in Diffusion Policy (Chi et al. 2023)."""
STEPS = 10
"""Denoising steps of a proposal, as in DP3 (Ze et al. 2024)."""
OFFSET = 0.008
"""Keeps the first levels from being all but noiseless (Nichol and Dhariwal 2021)."""
MOST_NOISE = 0.999
"""Largest share of the variance that one level may add (same place)."""


def shares(times: int = TIMES) -> Tensor:
    """abar: share of the data's variance that is left at each level, shape (times,)."""

    def level(u: float) -> float:
        return math.cos((u + OFFSET) / (1 + OFFSET) * math.pi / 2) ** 2

    share, found = 1.0, []
    for t in range(times):
        share *= 1 - min(1 - level((t + 1) / times) / level(t / times), MOST_NOISE)
        found.append(share)
    return torch.tensor(found, dtype=torch.float32)


def noised(clean: Tensor, noise: Tensor, share: Tensor) -> Tensor:
    """x_t of x_0 (B, ...), where `share` (B,) is abar at each sample's time."""
    share = share.view(-1, *[1] * (clean.dim() - 1))
    return share.sqrt() * clean + (1 - share).sqrt() * noise


def denoise(guess: Callable[[Tensor, int], Tensor], noise: Tensor, steps: int = STEPS) -> Tensor:
    """x_0 from pure noise; `guess(x, t)` is the network's x_0 of x at time t."""
    share = shares().tolist()
    times = [round(TIMES - k * TIMES / steps) - 1 for k in range(steps)]
    x = noise
    for k, t in enumerate(times):
        clean = guess(x, t)
        if k + 1 == steps:
            return clean
        here, there = share[t], share[times[k + 1]]
        unexplained = (x - math.sqrt(here) * clean) / math.sqrt(1 - here)
        x = math.sqrt(there) * clean + math.sqrt(1 - there) * unexplained
    return x
