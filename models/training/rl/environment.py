# SPDX-License-Identifier: MIT
"""What a policy learns in: the part of `gymnasium.Env` that is used here, without importing it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Space(Protocol):
    """A box of numbers; `gymnasium.spaces.Box` is one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of what is in it."""
        ...

    @property
    def dtype(self) -> Any:
        """Type of what is in it."""
        ...


class Environment(Protocol):
    """A task in episodes.

    Observations are a float32 state (D,), or a uint8 stack (3 k, height, width) of the k newest
    pictures, oldest first. Actions are float32 (A,) in [-1, 1]. The seed that `reset` is given
    decides the episode, whatever ran before. Every episode ends by itself.

    Attributes:
        observation_space: Shape and type of observations.
        action_space: Shape of actions.
        action_repeat: Steps of the simulator per action.
    """

    observation_space: Any
    action_space: Any
    action_repeat: int

    def reset(self, *, seed: int | None = None) -> tuple[NDArray[Any], Mapping[str, Any]]:
        """The first observation of the episode of `seed`."""
        ...

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[Any], float, bool, bool, Mapping[str, Any]]:
        """Observation, reward, terminated, truncated, and perhaps `success` in the rest.

        `terminated` is true only where no reward can follow.
        """
        ...


def require_fit(env: Environment) -> None:
    """Pass silently when the environment is as described.

    Raises:
        ValueError: It is not; the message says what was wanted and what it has.
    """
    observation, action = env.observation_space, env.action_space
    state = len(observation.shape) == 1 and observation.dtype == np.float32
    stack = (
        len(observation.shape) == 3
        and observation.shape[0] % 3 == 0
        and observation.dtype == np.uint8
    )
    if not (state or stack):
        raise ValueError(
            "observations must be a float32 vector or a uint8 stack (3 k, height, width), this "
            f"environment gives {observation.dtype} of shape {observation.shape}"
        )
    if len(action.shape) != 1 or not (np.all(action.low == -1.0) and np.all(action.high == 1.0)):
        raise ValueError(f"actions must be a vector in [-1, 1], this environment takes {action}")
