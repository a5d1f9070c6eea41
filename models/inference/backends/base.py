# SPDX-License-Identifier: MIT
"""The protocol of what runs a policy. No torch."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from difftori_models.contract.specs import Card

BACKENDS = ("auto", "eager", "onnx", "cuda_graph")
"""`auto` takes `cuda_graph` on a GPU; on a CPU `onnx` where exported graphs lie beside the card or
are given, and `eager` otherwise; and `onnx` wherever there are graphs and no weights."""

DEVICES = ("cpu", "cuda")
"""Where the networks can run."""

MANIFEST = "export.json"
"""Marks a directory with exported graphs."""

Floats = NDArray[np.float32]
Images = tuple[NDArray[np.uint8], ...]


class Backend(Protocol):
    """Runs one plan at a time: `propose`, some `step`s, `finish`. Never raises for numbers.

    Attributes:
        card: The policy's card.
        backend: Name of what runs it.
        iterations: Iterations of a complete solve; 0 when there is no head.
        latent: Length of the CVAE latent; 0 for none.
        noise: Shape of the standard normal numbers that the base policy wants; (0,) for none.
        memory: Numbers that the base policy remembers from plan to plan; 0 for none.
    """

    card: Card
    backend: str
    iterations: int
    latent: int
    noise: tuple[int, ...]
    memory: int

    def propose(
        self,
        state: Floats,
        points: Floats | None,
        images: Images,
        latent: Floats,
        previous: Floats,
        refine: bool = True,
        noise: Floats | None = None,
        memory: Floats | None = None,
    ) -> Floats:
        """The base policy's network actions (H, A), NaN where the network gave NaN.

        Args:
            state: State vector, shape (1, D).
            points: Policy points, shape (1, N, C), or None.
            images: Of each camera in the card's order, shape (1, H, W, 3).
            latent: CVAE latent, shape (1, latent).
            previous: The last plan's network actions shifted to now, shape (1, H, A), or NaN.
            refine: False when no step will follow.
            noise: Of the episode, shape `noise`; zero when it is None.
            memory: What `remembered` gave for the episode's last plan, shape (memory,); None at
                its start.
        """
        ...

    def remembered(self) -> Floats:
        """What the base policy remembers after the last `propose`, shape (memory,)."""
        ...

    def step(self) -> int:
        """Do the next iteration, or several where they are one unit; returns how many."""
        ...

    def finish(self) -> tuple[Floats, float, float, bool]:
        """Network actions (H, A), value of the start, value of the actions, all finite."""
        ...

    def context(self) -> Floats | None:
        """The encoded observation of the last `propose`, flat; None when no step can follow."""
        ...
