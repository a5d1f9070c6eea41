# SPDX-License-Identifier: MIT
"""MPPI, the sampling planner of TD-MPC (Hansen et al. 2022, algorithm 1), for comparison.

    a_i ~ clip(N(mean, std^2)),   w_i ~ exp(temperature * (value_i - best))      over the elites
    mean <- momentum * mean + (1 - momentum) * sum w a,   std <- sqrt(sum w (a - sum w a)^2)

The reference picks one elite at random and adds noise, to explore. Here the answer is the mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from .method import Climber, State, advance
from .problem import Problem


@dataclass(frozen=True)
class MPPI(Climber):
    """A seeded search without gradients, deterministic and not differentiable.

    The start is the first mean. The mean and the best actions so far are candidates of every
    iteration, as the policy prior's trajectories are in the reference. The box must be finite.
    A candidate whose value is not finite has no weight; where none is finite the mean is NaN.

    Attributes:
        iterations: Rounds of sampling.
        samples: New candidates per round.
        elites: How many of the best candidates count.
        momentum: Share of the mean that stays.
        temperature: Weight of a unit of value [1 / value].
        width: First and largest standard deviation [half widths of the box].
        min_std: Smallest standard deviation [half widths of the box].
        seed: Of the noise, which all samples of a batch share and all devices have alike.
    """

    iterations: int = 6
    samples: int = 512
    elites: int = 64
    momentum: float = 0.1
    temperature: float = 0.5
    width: float = 2.0
    min_std: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse more elites than candidates."""
        super().__post_init__()
        if not 1 <= self.elites <= self.samples:
            raise ValueError(f"elites must be 1 to samples = {self.samples}, got {self.elites}")

    def schedule(self, like: Tensor) -> Tensor:
        """Rows of the iteration's number, which picks its noise."""
        return torch.arange(self.iterations, dtype=like.dtype, device=like.device)[:, None]

    def memory(self, problem: Problem, start: Tensor) -> tuple[Tensor, ...]:
        """Standard deviation, best actions so far, and all noise (K, samples, H, A)."""
        noise = _noise(self.seed, (self.iterations, self.samples, *start.shape[1:]))
        return self.width * self._half(problem).expand_as(start), start, noise.to(start)

    def step(self, problem: Problem, state: State, row: Tensor) -> State:
        """Sample, weigh the elites, and move the mean and the standard deviation to theirs."""
        std, best, noise = state.memory
        with torch.no_grad():
            mean = state.actions
            drawn = mean[:, None] + std[:, None] * noise.index_select(0, row.long())
            candidates = torch.cat([mean[:, None], best[:, None], problem.project(drawn)], dim=1)
            count = candidates.shape[1]
            values = problem.tile(count).evaluate(candidates.flatten(0, 1)).view(-1, count)
            known = torch.where(values.isfinite(), values, -torch.inf)
            top, which = known.topk(self.elites, dim=1)
            elite = candidates.take_along_dim(which[:, :, None, None], dim=1)
            weight = (self.temperature * (top - top[:, :1])).softmax(dim=1)[:, :, None, None]
            centre = (weight * elite).sum(dim=1)
            spread = (weight * (elite - centre[:, None]).square()).sum(dim=1).sqrt()
            half = self._half(problem)
            std = spread.maximum(self.min_std * half).minimum(self.width * half)
            move = (1 - self.momentum) * (centre - mean)
            return advance(problem, state, values[:, 0], move, std, elite[:, 0], noise)

    @staticmethod
    def _half(problem: Problem) -> Tensor:
        return 0.5 * (problem.high - problem.low)


@lru_cache(maxsize=8)
def _noise(seed: int, shape: tuple[int, ...]) -> Tensor:
    """The same numbers for the same seed. Kept, so that a traced plan finds them as a constant."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
