# SPDX-License-Identifier: MIT
"""The latent world model of model-based DiffTORI: d, R, Q1, Q2 and pi (paper, appendix B)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from difftori_models.networks.mlp import two_layers

PRIOR_STD = 0.05
"""Spread of the noise on pi's actions, in targets and among the candidates of a search."""


@dataclass(frozen=True)
class WorldModelSizes:
    """Widths; the defaults are the paper's.

    Attributes:
        action: Length of an action, A.
        latent: Length of the latent state z.
        hidden: Width of every hidden layer.
    """

    action: int
    latent: int = 50
    hidden: int = 512


class WorldModel(nn.Module):
    """Latent dynamics, reward, two action values and the policy prior, as in TD-MPC.

    Every Linear is orthogonal with zero bias, and the last layer of reward and Q starts at zero.

    Attributes:
        sizes: Widths.
    """

    def __init__(self, sizes: WorldModelSizes) -> None:
        super().__init__()
        self.sizes = sizes
        z, a, h = sizes.latent, sizes.action, sizes.hidden
        self.dynamics = two_layers(z + a, h, z)
        self.R = two_layers(z + a, h, 1)
        self.Q1, self.Q2 = action_value(z + a, h), action_value(z + a, h)
        self.policy = two_layers(z, h, a)
        init_orthogonal_(self)
        for head in (self.R, self.Q1, self.Q2):
            nn.init.zeros_(head[-1].weight)  # type: ignore[arg-type]

    def next(self, z: Tensor, a: Tensor) -> Tensor:
        """The latent state after action a: d(z, a), shape (..., Z)."""
        return self.dynamics(torch.cat([z, a], dim=-1))

    def reward(self, z: Tensor, a: Tensor) -> Tensor:
        """R(z, a), shape (...)."""
        return self.R(torch.cat([z, a], dim=-1)).squeeze(-1)

    def Q(self, z: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:  # noqa: N802
        """Both action values of (z, a), each of shape (...)."""
        both = torch.cat([z, a], dim=-1)
        return self.Q1(both).squeeze(-1), self.Q2(both).squeeze(-1)

    def pi(self, z: Tensor) -> Tensor:
        """Mean action of the policy prior in (-1, 1), shape (..., A)."""
        return self.policy(z).tanh()

    def propose(self, z: Tensor, horizon: int) -> Tensor:
        """The prior rolled out through the dynamics, shape (B, H, A)."""
        actions = []
        for _ in range(horizon):
            a = self.pi(z)
            actions.append(a)
            z = self.next(z, a)
        return torch.stack(actions, dim=1)

    def propose_around(self, z: Tensor, noise: Tensor) -> Tensor:
        """The prior rolled out with noise on its actions, inside the box, shape (B, P, H, A).

        Args:
            z: Latents, shape (B, Z).
            noise: Standard normal numbers, shape (B, P, H, A).
        """
        actions = []
        z = z[:, None].expand(-1, noise.shape[1], -1)
        for drawn in noise.unbind(dim=2):
            a = (self.pi(z) + PRIOR_STD * drawn).clamp(-1, 1)
            actions.append(a)
            z = self.next(z, a)
        return torch.stack(actions, dim=2)


def init_orthogonal_(module: nn.Module) -> None:
    """Weights become orthogonal, biases zero."""
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            nn.init.orthogonal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def state_encoder(size: int, hidden: int, latent: int) -> nn.Sequential:
    """The encoder h of a state vector."""
    return nn.Sequential(nn.Linear(size, hidden), nn.ELU(), nn.Linear(hidden, latent))


def action_value(size: int, hidden: int) -> nn.Sequential:
    """Q of state and action side by side, `size` numbers."""
    return nn.Sequential(
        nn.Linear(size, hidden),
        nn.LayerNorm(hidden),
        nn.Tanh(),
        nn.Linear(hidden, hidden),
        nn.ELU(),
        nn.Linear(hidden, 1),
    )
