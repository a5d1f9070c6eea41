# SPDX-License-Identifier: MIT
"""The newest pictures of an environment, stacked: one picture shows no motion."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

STACK = 3
"""Pictures in a stack, as in TD-MPC."""
SIDE = 84
"""Height and width of a picture [px]."""


class FrameStack:
    """Pictures (SIDE, SIDE, 3) in, the `STACK` newest of them out, oldest first."""

    shape = (3 * STACK, SIDE, SIDE)

    def __init__(self) -> None:
        self._frames: deque[NDArray[np.uint8]] = deque(maxlen=STACK)

    def first(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The stack at the start of an episode: the same picture everywhere."""
        self._frames.extend([self._turned(picture)] * STACK)
        return np.concatenate(self._frames)

    def add(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The stack with one more picture."""
        self._frames.append(self._turned(picture))
        return np.concatenate(self._frames)

    @staticmethod
    def _turned(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if picture.shape != (SIDE, SIDE, 3) or picture.dtype != np.uint8:
            raise ValueError(
                f"wanted a picture of shape {(SIDE, SIDE, 3)} and type uint8, got "
                f"{picture.shape} {picture.dtype}"
            )
        return np.ascontiguousarray(picture.transpose(2, 0, 1))
