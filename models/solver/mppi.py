# SPDX-License-Identifier: MIT
"""MPPI, the sampling planner of TD-MPC (Hansen et al. 2022, algorithm 1).

    a_i ~ clip(N(mean, std^2)),   w_i ~ exp(temperature * (value_i - best))      over the elites
    mean <- momentum * mean + (1 - momentum) * sum w a,   std <- sqrt(sum w (a - sum w a)^2)

The answer is the mean. To explore, TD-MPC executes one of the elites with noise: see `explore`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from .method import IterativeMethod, State, advance
from .problem import Problem


class Draws(NamedTuple):
    """What a search is given for one solve.

    Attributes:
        noise: Standard normal numbers, shape (B, K, samples, H, A).
        candidates: Actions inside the box that compete in every iteration, shape (B, P, H, A).
    """

    noise: Tensor
    candidates: Tensor


@dataclass(frozen=True)
class MPPI(IterativeMethod):
    """A search without gradients, deterministic for given noise and not differentiable.

    The start is the first mean. The mean and the best actions so far are candidates of every
    iteration. The box must be finite. A candidate whose value is not finite has no weight; where
    none is finite the mean is NaN.

    Attributes:
        iterations: Rounds of sampling.
        samples: New candidates per round.
        elites: How many of the best candidates count.
        momentum: Share of the mean that stays.
        temperature: Weight of a unit of value [1 / value].
        width: First and largest standard deviation [half widths of the box].
        min_std: Smallest standard deviation [half widths of the box].
        seed: Of the noise without `draws`, which all samples of a batch share and all devices have
            alike.
        draws: Noise and candidates of this solve; TD-MPC's candidates are the policy prior's.
    """

    iterations: int = 6
    samples: int = 512
    elites: int = 64
    momentum: float = 0.1
    temperature: float = 0.5
    width: float = 2.0
    min_std: float = 0.05
    seed: int = 0
    draws: Draws | None = None

    def __post_init__(self) -> None:
        """Refuse more elites than candidates."""
        super().__post_init__()
        if not 1 <= self.elites <= self.samples:
            raise ValueError(f"elites must be 1 to samples = {self.samples}, got {self.elites}")

    def schedule(self, like: Tensor) -> Tensor:
        """Rows of the iteration's number, which picks its noise."""
        return torch.arange(self.iterations, dtype=like.dtype, device=like.device)[:, None]

    def memory(self, problem: Problem, start: Tensor) -> tuple[Tensor, ...]:
        """Standard deviation, elites (B, E, H, A) with the best first, weights (B, E), `Draws`."""
        std = self.width * self._half(problem).expand_as(start)
        elites = start[:, None].expand(-1, self.elites, -1, -1)
        weights = start.new_full((len(start), self.elites), 1 / self.elites)
        draws = self.draws or self._seeded(start)
        return std, elites, weights, *(x.expand(len(start), *x.shape[1:]) for x in draws)

    def step(self, problem: Problem, state: State, row: Tensor) -> State:
        """Sample, weigh the elites, and move the mean and the standard deviation to theirs."""
        std, elites, _, noise, given = state.memory
        with torch.no_grad():
            mean = state.actions
            drawn = mean[:, None] + std[:, None] * noise.index_select(1, row.long()).squeeze(1)
            candidates = torch.cat(
                [mean[:, None], elites[:, :1], problem.project(drawn), given], dim=1
            )
            count = candidates.shape[1]
            values = problem.tile(count).evaluate(candidates.flatten(0, 1)).view(-1, count)
            known = torch.where(values.isfinite(), values, -torch.inf)
            top, which = known.topk(self.elites, dim=1)
            elites = candidates.take_along_dim(which[:, :, None, None], dim=1)
            weights = (self.temperature * (top - top[:, :1])).softmax(dim=1)
            shares = weights[:, :, None, None]
            centre = (shares * elites).sum(dim=1)
            spread = (shares * (elites - centre[:, None]).square()).sum(dim=1).sqrt()
            half = self._half(problem)
            std = spread.maximum(self.min_std * half).minimum(self.width * half)
            move = (1 - self.momentum) * (centre - mean)
            return advance(problem, state, values[:, 0], move, std, elites, weights, noise, given)

    @staticmethod
    def explore(state: State) -> Tensor:
        """One of the elites, drawn by its weight, with noise of the last spread, (B, H, A).

        The noise may lead out of the box.
        """
        std, elites, weights, *_ = state.memory
        which = torch.multinomial(weights, 1)[:, :, None, None]
        chosen = elites.take_along_dim(which, dim=1).squeeze(1)
        return chosen + std * torch.randn_like(chosen)

    def _seeded(self, start: Tensor) -> Draws:
        noise = _noise(self.seed, (self.iterations, self.samples, *start.shape[1:])).to(start)
        return Draws(noise[None], start[:, None][:, :0])

    @staticmethod
    def _half(problem: Problem) -> Tensor:
        return 0.5 * (problem.high - problem.low)


@lru_cache(maxsize=8)
def _noise(seed: int, shape: tuple[int, ...]) -> Tensor:
    """The same numbers for the same seed. Kept, so that a traced plan finds them as a constant."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
