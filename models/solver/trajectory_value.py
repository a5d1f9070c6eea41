# SPDX-License-Identifier: MIT
"""The value of an action sequence under a latent world model (DiffTORI, section 4.2).

    G(z0, a) = sum_{t<H} gamma^t R(z_t, a_t) + gamma^H Q(z_H, pi(z_H)),   z_{t+1} = d(z_t, a_t)

As in the reference code the last action is the policy prior's and not a variable. The reference
takes the smaller of two Q; that has a kink where they cross, at which the gradient jumps, so a
smooth minimum is the better choice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn


class LatentModel(Protocol):
    """What a trajectory is valued by, such as a `WorldModel`."""

    def next(self, z: Tensor, a: Tensor) -> Tensor:
        """d(z, a), shape (B, Z)."""
        ...

    def reward(self, z: Tensor, a: Tensor) -> Tensor:
        """R(z, a), shape (...)."""
        ...

    def Q(self, z: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:  # noqa: N802
        """Two action values, each of shape (B,)."""
        ...

    def pi(self, z: Tensor) -> Tensor:
        """Action of the policy prior, shape (B, A)."""
        ...


@dataclass(frozen=True)
class TrajectoryValue:
    """`value(params, context, actions)` of a `Problem`: params is the model, context is z0 (B, Z).

    Attributes:
        discount: gamma.
        terminal: How two Q become one: `soft` minimum, or `min` as in the reference.
        temperature: Width of the soft minimum [units of Q].
    """

    discount: float = 0.99
    terminal: str = "soft"
    temperature: float = 0.1

    def __post_init__(self) -> None:
        """Refuse an unknown terminal value."""
        if self.terminal not in ("soft", "min"):
            raise ValueError(f"terminal must be soft or min, got '{self.terminal}'")

    def __call__(self, params: LatentModel, context: Tensor, actions: Tensor) -> Tensor:
        """G of actions (B, H, A) from z0, shape (B,)."""
        horizon = actions.shape[1]
        states = [context]
        for t in range(horizon):
            states.append(params.next(states[-1], actions[:, t]))
        # One call for all times: the weights are read once, which is what costs time at B = 1.
        rewards = params.reward(torch.stack(states[:-1], dim=1), actions)
        total = sum(self.discount**t * rewards[:, t] for t in range(horizon))
        return total + self.discount**horizon * self.terminal_value(params, states[-1])

    def terminal_value(self, params: LatentModel, z: Tensor) -> Tensor:
        """Value of the last latent state, shape (B,)."""
        return self._join(*params.Q(z, params.pi(z)))

    def _join(self, one: Tensor, other: Tensor) -> Tensor:
        if self.terminal == "min":
            return torch.minimum(one, other)
        width = self.temperature
        # -width log(e^(-one/width) + e^(-other/width)); `logaddexp` says the same, but its second
        # derivative is NaN in single precision where the two are 90 widths apart.
        apart = nn.functional.softplus((one - other) / width, threshold=40.0)
        return one + width * (math.log(2) - apart)
