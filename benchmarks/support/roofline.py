# SPDX-License-Identifier: MIT
"""What a solve cannot do without: its matrix products, at the speed this machine has for them.

A solve of one sample reads every weight again for each product, so that it is bound by the speed
of matrix-vector products. Of the trajectory value of horizon H an evaluation with its gradient
reads dynamics H times forward and H times backward, and reward, both Q and the policy prior once
each way, since the reward is batched over time. For batches it is the multiplications that count.
Nothing else is part of the floor: no activation, no call from Python but the products' own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from difftori_models.world_model.world_model import WorldModel


@dataclass(frozen=True)
class Work:
    """The products of one solve, told as products of rows (n, size) and matrices (size, size).

    Attributes:
        rows: n.
        size: Width of the networks.
        products: How many.
        matrices: How many different matrices, as many as have the size of all weights.
    """

    rows: int
    size: int
    products: int
    matrices: int

    @property
    def gflop(self) -> float:
        """Floating-point operations [1e9]."""
        return 2e-9 * self.rows * self.size**2 * self.products

    @property
    def gigabytes(self) -> float:
        """Weights read [GB]."""
        return 4e-9 * self.size**2 * self.products


def trajectory_work(
    world: WorldModel, horizon: int, batch: int, iterations: int, backward: int
) -> Work:
    """Work of `iterations` values with gradients and one value, and `backward` of them back.

    The way back through a product is two products.
    """
    dynamics, reward = _entries(world.dynamics), _entries(world.R)
    terminal = sum(_entries(net) for net in (world.Q1, world.Q2, world.policy))
    rewards = 1 if batch == 1 else horizon
    value = horizon * dynamics + rewards * reward + terminal
    total = value * (2 * iterations + 1 + 4 * backward)
    size = world.R[0].out_features
    assert isinstance(size, int)
    return _work(batch, size, total, dynamics + reward + terminal)


def chunk_work(net: torch.nn.Sequential, chunk: int, batch: int, iterations: int) -> Work:
    """Work of a score of chunks whose context goes through the first layer once."""
    first, size = net[0].in_features, net[0].out_features
    assert isinstance(first, int)
    assert isinstance(size, int)
    climbed = _entries(net) - (first - chunk) * size
    total = climbed * (2 * iterations + 1) + (first - chunk) * size
    return _work(batch, size, total, _entries(net))


def _entries(net: torch.nn.Module) -> int:
    return sum(p.numel() for p in net.parameters() if p.dim() == 2)


def _work(rows: int, size: int, entries: int, distinct: int) -> Work:
    return Work(rows, size, round(entries / size**2), max(1, round(distinct / size**2)))


class Floor:
    """Does the work; call it to time it."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self._matrices = [torch.randn(work.size, work.size) for _ in range(work.matrices)]
        self._in = torch.randn(work.rows, work.size)
        self._out = torch.empty_like(self._in)

    @torch.no_grad()
    def __call__(self) -> Tensor:
        """All products, half of them with transposed matrices as on the way back."""
        count = len(self._matrices)
        for k in range(self.work.products):
            matrix = self._matrices[k % count]
            matrix = matrix if (k // count) % 2 else matrix.t()
            if self.work.rows == 1:
                torch.mv(matrix, self._in[0], out=self._out[0])
            else:
                torch.mm(self._in, matrix, out=self._out)
        return self._out
