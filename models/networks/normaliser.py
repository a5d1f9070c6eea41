# SPDX-License-Identifier: MIT
"""From physical numbers to numbers of order one and back; the statistics travel in the card."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from difftori_models.contract.specs import ActionSpec

Statistics = Mapping[str, Mapping[str, tuple[float, ...]]]
"""`state` and `action`, each with `mean` and `std`."""

STATE_CLIP = 10.0
"""Normalised state entries are held within plus and minus this."""
STATE_STD_FLOOR = 0.01
"""Least std of a state entry [m, rad, ...]: 1 mm of a constant entry must not become huge."""
ACTION_STD_FLOOR = 0.05
"""Least std of an action entry [network units]."""


def statistics(states: NDArray[np.float32], actions: NDArray[np.float32]) -> Statistics:
    """Mean and std of states (T, D) and network actions (T, A), with a floor under every std."""

    def of(rows: NDArray[np.float32], floor: float) -> dict[str, tuple[float, ...]]:
        data = rows.astype(np.float64)
        std = np.maximum(data.std(axis=0), floor)
        return {"mean": tuple(data.mean(axis=0).tolist()), "std": tuple(std.tolist())}

    return {"state": of(states, STATE_STD_FLOOR), "action": of(actions, ACTION_STD_FLOOR)}


class Normaliser(nn.Module):
    """The map between physical, network and unit numbers.

    Unit actions `u = (a - mean) / std` are what the networks compare, perturb and optimise;
    network actions `a` lie in the box of the action spec. Nothing here is learned by gradient or
    saved as weights.

    Attributes:
        low: Lower corner of the box in unit actions, shape (A,).
        high: Upper corner.
        shape: Of a chunk, (H, A).
    """

    low: Tensor
    high: Tensor

    def __init__(self, statistics: Statistics, action: ActionSpec, point_scale: float) -> None:
        super().__init__()
        self.point_scale = point_scale
        self.shape = (action.horizon, len(action.names))
        for kind in ("state", "action"):
            for name in ("mean", "std"):
                values = torch.tensor(statistics[kind][name], dtype=torch.float32)
                self.register_buffer(f"{kind}_{name}", values, persistent=False)
        for name, corner in (("low", action.low), ("high", action.high)):
            values = self.to_unit(torch.tensor(corner, dtype=torch.float32))
            self.register_buffer(name, values, persistent=False)

    def state(self, state: Tensor) -> Tensor:
        """Normalised state, shape (..., D); NaN stays NaN."""
        scaled = (state - self.state_mean) / self.state_std  # type: ignore[operator]
        return scaled.clamp(-STATE_CLIP, STATE_CLIP)

    def points(self, points: Tensor) -> Tensor:
        """Normalised points, shape (..., N, C): xyz over `point_scale`, rgb minus one half."""
        return torch.cat([points[..., :3] / self.point_scale, points[..., 3:] - 0.5], dim=-1)

    def to_unit(self, actions: Tensor) -> Tensor:
        """Unit actions of network actions, shape (..., A)."""
        return (actions - self.action_mean) / self.action_std  # type: ignore[operator]

    def from_unit(self, actions: Tensor) -> Tensor:
        """Network actions of unit actions, shape (..., A)."""
        return actions * self.action_std + self.action_mean  # type: ignore[operator]
