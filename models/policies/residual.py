# SPDX-License-Identifier: MIT
"""The control of DiffTORI: the same layers, starts and dropout, and no optimiser."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from difftori_models.contract.network_settings import Network
from difftori_models.networks import Encoder
from difftori_models.networks.mlp import perceptron
from difftori_models.solver.method import IterativeMethod, Method, Start, State, advance
from difftori_models.solver.problem import Problem
from difftori_models.solver.solution import Solution


class ResidualHead(nn.Module):
    """Adds a predicted change to the base policy's chunk.

    Whatever DiffTORI gains over this head is the optimiser's; what both gain over the base policy
    comes from the noisy starts.
    """

    latent = 0

    def __init__(self, network: Network, horizon: int, size: int) -> None:
        super().__init__()
        self.encoder = Encoder(network)
        chunk = horizon * size
        self.change = perceptron(network, network.feature + chunk, chunk)

    def method(self) -> Method:
        """One iteration: the predicted change."""
        return OneChange(1)

    def problem(
        self, z: Tensor, low: Tensor, high: Tensor, latent: Tensor | None = None
    ) -> Problem:
        """The box, and what the change depends on; there is no latent, and every value is NaN."""
        del latent
        return self.bound((z,), low, high)

    def bound(self, context: tuple[Tensor, ...], low: Tensor, high: Tensor) -> Problem:
        """The problem of a context that `problem` made."""
        return Problem(_no_value, low, high, self, context)


@dataclass(frozen=True)
class OneChange(IterativeMethod):
    """The head's change as a method of one iteration."""

    def schedule(self, like: Tensor) -> Tensor:
        """Rows of nothing."""
        return like.new_zeros(self.iterations, 1)

    def step(self, problem: Problem, state: State, row: Tensor) -> State:
        """The predicted change, projected into the box."""
        both = torch.cat([problem.context[0], state.actions.flatten(1)], dim=-1)
        move = problem.params.change(both).view_as(state.actions)
        return advance(problem, state, state.objective, move)

    def result(self, problem: Problem, start: Start, state: State) -> Solution:
        """As for every method, but a value that is NaN says nothing against the actions."""
        judged = replace(
            problem, objective=lambda params, context, actions: actions.sum(dim=(1, 2))
        )
        begun = start._replace(objective=start.actions.sum(dim=(1, 2)))
        found = super().result(judged, begun, state)
        nothing = torch.full_like(begun.objective, torch.nan)
        return replace(found, objective_before=nothing, objective_after=nothing)


def _no_value(params: nn.Module, context: tuple[Tensor, ...], actions: Tensor) -> Tensor:
    return actions.new_full((len(actions),), torch.nan)
