# SPDX-License-Identifier: MIT
"""What every base policy is: something that proposes a chunk, and knows its own loss.

`propose` says everything that deployment needs and `loss` everything that training needs, so a
base can stand alone or carry a head that refines it. Whatever is random comes in as `noise`,
drawn once per episode, and whatever is remembered goes out as `memory` and comes back with the
next observation: a proposal is a function of what it is given.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from difftori_models.networks import Inputs
from difftori_models.solver.mppi import Draws

Box = tuple[Tensor, Tensor]
"""Lower and upper corner of the unit actions, each of shape (A,)."""


class Proposed(NamedTuple):
    """A base policy's answer.

    Attributes:
        actions: Unit actions, shape (B, H, A); not yet projected into the box.
        memory: What is to be given back with the next observation, shape (B, M).
        draws: What the head's search is given, where it searches.
    """

    actions: Tensor
    memory: Tensor
    draws: Draws | None = None


class Base(nn.Module):
    """A base policy.

    Attributes:
        noise: Shape of the standard normal numbers that one proposal takes; (0,) for none.
        memory: Numbers that go from one plan of an episode to the next, M; 0 for none. At the
        start of an episode all are zero.
    """

    noise: tuple[int, ...] = (0,)
    memory: int = 0

    def propose(self, inputs: Inputs, box: Box, noise: Tensor, memory: Tensor) -> Proposed:
        """Propose chunks.

        Args:
            inputs: Normalised observations, B of them.
            box: Where actions may lie.
            noise: Shape (B, *noise).
            memory: What the last proposal of the same episode has left, shape (B, M).
        """
        raise NotImplementedError

    def loss(self, inputs: Inputs, labels: Tensor, box: Box, real: Tensor) -> Tensor:
        """What training makes small.

        Args:
            inputs: Normalised observations, B of them; of a base with memory, sequences of L
                observations one after the other.
            labels: The expert's unit actions, shape (B, H, A).
            box: Where actions may lie.
            real: False for what only fills up a sequence, shape (B / L, L); L = 1 for a base
                without memory.
        """
        raise NotImplementedError
