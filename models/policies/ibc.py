# SPDX-License-Identifier: MIT
"""Implicit behaviour cloning: the action of least energy (Florence et al. 2021).

Trained with InfoNCE: among the expert's chunk and others it is the expert's that is picked,

    loss = -log( exp(-E(z, a*)) / (exp(-E(z, a*)) + sum_j exp(-E(z, a_j))) )

and at test time searched for, either without derivatives (sample, weigh by exp(-E), draw anew
around the good ones, with less and less spread) or by Langevin dynamics (a <- a - step/2 dE/da +
noise). With either, the chunk of least energy among all that are left is the answer.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..encoders import Encoder, Inputs
from ..network import Network
from .base import Base, Box, Proposed
from .bc import perceptron

REACH = 5.0
"""Only chunks within this many standard deviations of the mean action are looked at: an entry that
hardly ever changes has a box of thirty, and nearly all of it was never demonstrated."""
NEGATIVES = 32
"""Other chunks that each of the expert's is compared with."""
SAMPLES = 256
"""Chunks that a search looks at side by side."""
ROUNDS = 4
"""Rounds of the search without derivatives."""
SPREAD = 0.33
"""Spread of its first redrawing [half widths of what is searched], as in the paper; it is halved
every round."""
CHAINS, MOVES = 64, 20
"""Chains of Langevin dynamics, and their steps."""
STEP = 0.1
"""First step of a chain [half widths of what is searched]; it falls to zero quadratically, as in
the paper."""


class ImplicitCloning(Base):
    """An energy of chunks, and how its least one is found."""

    def __init__(self, network: Network, horizon: int, size: int, sampler: str) -> None:
        super().__init__()
        self.shape = (horizon, size)
        self.sampler = sampler
        rows = (MOVES + 1, CHAINS) if sampler == "langevin" else (ROUNDS, SAMPLES)
        self.noise = (*rows, horizon, size)
        self.encoder = Encoder(network)
        self.energy = perceptron(network, network.feature + horizon * size, 1)

    def energies(self, z: Tensor, chunks: Tensor) -> Tensor:
        """E of chunks (B, N, H, A) given z (B, feature), shape (B, N)."""
        flat = chunks.flatten(2)
        both = torch.cat([z[:, None].expand(-1, flat.shape[1], -1), flat], dim=-1)
        return self.energy(both).squeeze(-1)

    def propose(self, inputs: Inputs, box: Box, noise: Tensor, memory: Tensor) -> Proposed:
        """See `Base.propose`."""
        z = self.encoder.encode(inputs)
        low, high = box = searched(box)
        # standard normal numbers become uniform ones by their distribution function
        chunks = low + (high - low) * torch.special.ndtr(noise[:, 0])
        search = self._langevin if self.sampler == "langevin" else self._redraw
        chunks = search(z, chunks, noise[:, 1:], box)
        best = self.energies(z, chunks).argmin(dim=1)[:, None, None, None]
        return Proposed(chunks.take_along_dim(best, dim=1).squeeze(1), memory)

    def loss(self, inputs: Inputs, labels: Tensor, box: Box, real: Tensor) -> Tensor:
        """InfoNCE against chunks from everywhere and, half of them, from near the expert's.

        The paper draws all of them from everywhere; in the many dimensions of a chunk hardly one
        then comes near enough to teach where exactly the valley is.
        """
        del real
        low, high = searched(box)
        shape = (len(labels), NEGATIVES // 2, *self.shape)
        far = low + (high - low) * torch.rand(shape, device=labels.device)
        width = SPREAD * torch.rand(*shape[:2], 1, 1, device=labels.device)
        near = labels[:, None] + 0.5 * (high - low) * width * torch.randn_like(far)
        chunks = torch.cat([labels[:, None], far, near.clamp(low, high)], dim=1)
        return info_nce(-self.energies(self.encoder.encode(inputs), chunks))

    def _redraw(self, z: Tensor, chunks: Tensor, noise: Tensor, box: Box) -> Tensor:
        low, high = box
        for k in range(noise.shape[1]):
            chosen = resampled((-self.energies(z, chunks)).softmax(dim=1), chunks)
            move = 0.5 * (high - low) * SPREAD * 0.5**k * noise[:, k]
            chunks = (chosen + move).clamp(low, high)
        return chunks

    def _langevin(self, z: Tensor, chunks: Tensor, noise: Tensor, box: Box) -> Tensor:
        low, high = box
        half = 0.5 * (high - low)
        for k in range(noise.shape[1]):
            with torch.enable_grad():
                chunks = chunks.detach().requires_grad_()
                energy = self.energies(z.detach(), chunks).sum()
                (slope,) = torch.autograd.grad(energy, chunks)
            step = STEP * (1 - k / noise.shape[1]) ** 2
            # in half widths: the slope of the energy there is half * dE/da
            move = -0.5 * step * half * slope + math.sqrt(step) * 0.1 * noise[:, k]
            chunks = (chunks.detach() + half * move.clamp(-step, step)).clamp(low, high)
        return chunks


def searched(box: Box) -> Box:
    """Corners of what is searched for the least energy."""
    return box[0].clamp(min=-REACH), box[1].clamp(max=REACH)


def info_nce(scores: Tensor) -> Tensor:
    """-log of the softmax share of the first score, mean over rows (van den Oord et al. 2018)."""
    return -scores.log_softmax(dim=1)[:, 0].mean()


def resampled(weights: Tensor, chunks: Tensor) -> Tensor:
    """Chunks (B, N, H, A) drawn in proportion to weights (B, N) with equal strides.

    Systematic resampling (Kitagawa 1996): the k-th one is where the weights' running sum passes
    (k + 1/2) / N. It takes no random numbers.
    """
    count = weights.shape[1]
    marks = (torch.arange(count, device=weights.device, dtype=weights.dtype) + 0.5) / count
    sums = weights.cumsum(dim=1)
    index = (sums[:, None, :] < marks[None, :, None]).sum(dim=2).clamp(max=count - 1)
    return chunks.take_along_dim(index[:, :, None, None], dim=1)
