# SPDX-License-Identifier: MIT
"""Implicit behaviour cloning: the action of least energy (Florence et al. 2021).

Trained with InfoNCE: among the expert's chunk and others it is the expert's that is picked,

    loss = -log( exp(-E(z, a*)) / (exp(-E(z, a*)) + sum_j exp(-E(z, a_j))) )
           + mean( max(0, |dE/da| - MARGIN)^2 )

and at test time searched for, either by Langevin dynamics (a <- a - step/2 dE/da + noise) or
without derivatives (sample, weigh by exp(-E), draw anew around the good ones, with less and less
spread). With either, the chunk of least energy among all that are left is the answer. The second
term is the paper's gradient penalty: without it the energy of the many numbers of a chunk has
valleys that no other chunk of the loss has come near, and a search finds those.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from difftori_models.contract.network_settings import Network
from difftori_models.networks import Encoder, Inputs
from difftori_models.networks.mlp import perceptron

from .base import Base, Box, Proposed

NEGATIVES = 8
"""Other chunks of each of three kinds that each of the expert's is compared with."""
NEAREST, FARTHEST = 0.03, 1.0
"""Least and greatest spread of those that lie around the expert's chunk [std of the actions]."""
MARGIN = 2.0
"""Slope of the energy that costs nothing [1 / std of the actions]; the paper takes 1."""
SAMPLES = 256
"""Chunks that a search without derivatives looks at side by side."""
ROUNDS = 10
"""Its rounds."""
SPREAD, NARROWER = 0.33, 0.8
"""Spread of its first redrawing [std of the actions], and by what it falls every round."""
CHAINS, MOVES = 16, 25
"""Chains of Langevin dynamics, and their steps."""
STEP = 1.0
"""First step of a chain [squared std]; it falls to zero quadratically, as in the paper."""
WARMTH = 0.1
"""Share of the noise that Langevin dynamics would have; what is wanted is the least energy."""


class ImplicitCloning(Base):
    """An energy of chunks, and how its least one is found."""

    def __init__(self, network: Network, horizon: int, size: int, sampler: str) -> None:
        super().__init__()
        self.shape = (horizon, size)
        self.sampler = sampler
        rows = (MOVES + 1, CHAINS) if sampler == "langevin" else (ROUNDS + 1, SAMPLES)
        self.noise = (*rows, horizon, size)
        self.encoder = Encoder(network)
        # chunks are compared: all of them need the same units
        compared = replace(network, dropout=0.0)
        self.energy = perceptron(compared, network.feature + horizon * size, 1)

    def energies(self, z: Tensor, chunks: Tensor) -> Tensor:
        """E of chunks (B, N, H, A) given z (B, feature), shape (B, N)."""
        flat = chunks.flatten(2)
        both = torch.cat([z[:, None].expand(-1, flat.shape[1], -1), flat], dim=-1)
        return self.energy(both).squeeze(-1)

    def propose(self, inputs: Inputs, box: Box, noise: Tensor, memory: Tensor) -> Proposed:
        """See `Base.propose`."""
        z = self.encoder.encode(inputs)
        # unit actions have mean 0 and spread 1: the search begins where actions were demonstrated
        chunks = noise[:, 0].clamp(*box)
        search = self._langevin if self.sampler == "langevin" else self._redraw
        chunks = search(z, chunks, noise[:, 1:], box)
        best = self.energies(z, chunks).argmin(dim=1)[:, None, None, None]
        return Proposed(chunks.take_along_dim(best, dim=1).squeeze(1), memory)

    def loss(self, inputs: Inputs, labels: Tensor, box: Box, real: Tensor) -> Tensor:
        """InfoNCE with the gradient penalty.

        The other chunks are from anywhere, from around the expert's, and the expert's of other
        observations, of which the batch must have one. The paper draws all of them from
        everywhere; in the many dimensions of a chunk hardly one then comes near enough to teach
        where exactly the valley is.
        """
        del real
        shape = (len(labels), NEGATIVES, *self.shape)
        far = torch.randn(shape, device=labels.device)
        ratio = torch.rand(*shape[:2], 1, 1, device=labels.device)
        width = NEAREST * (FARTHEST / NEAREST) ** ratio
        near = labels[:, None] + width * torch.randn_like(far)
        rows = torch.arange(len(labels), device=labels.device)[:, None]
        ahead = torch.randint(1, len(labels), shape[:2], device=labels.device)
        others = labels[(rows + ahead) % len(labels)]
        chunks = torch.cat([labels[:, None], far.clamp(*box), near.clamp(*box), others], dim=1)
        z = self.encoder.encode(inputs)
        some = torch.randperm(chunks.shape[1], device=labels.device)[:NEGATIVES]
        return info_nce(-self.energies(z, chunks)) + self._steepness(z, chunks[:, some])

    def _steepness(self, z: Tensor, chunks: Tensor) -> Tensor:
        """The gradient penalty."""
        chunks = chunks.detach().requires_grad_()
        energy = self.energies(z, chunks).sum()
        (slope,) = torch.autograd.grad(energy, chunks, create_graph=True)
        return (slope.flatten(2).norm(dim=2) - MARGIN).clamp(min=0).square().mean()

    def _redraw(self, z: Tensor, chunks: Tensor, noise: Tensor, box: Box) -> Tensor:
        for k in range(noise.shape[1]):
            chosen = resampled((-self.energies(z, chunks)).softmax(dim=1), chunks)
            chunks = (chosen + SPREAD * NARROWER**k * noise[:, k]).clamp(*box)
        return chunks

    def _langevin(self, z: Tensor, chunks: Tensor, noise: Tensor, box: Box) -> Tensor:
        for k in range(noise.shape[1]):
            with torch.enable_grad():
                chunks = chunks.detach().requires_grad_()
                energy = self.energies(z.detach(), chunks).sum()
                (slope,) = torch.autograd.grad(energy, chunks)
            step = STEP * (1 - k / noise.shape[1]) ** 2
            move = -0.5 * step * slope + math.sqrt(step) * WARMTH * noise[:, k]
            chunks = (chunks.detach() + move).clamp(*box)
        return chunks


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
