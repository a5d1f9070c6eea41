# SPDX-License-Identifier: MIT
"""A suite's environment as reinforcement learning wants it."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from difftori_models.contract.features import policy_images, state_size, state_vector

from .env import SuiteEnv, Turn
from .frame_stack import FrameStack


class AsGym(gymnasium.Env[NDArray[Any], NDArray[np.float32]]):
    """The state vector, or the newest pictures of the first camera, stacked.

    An episode goes on after success, until `max_steps` actions are over.

    Attributes:
        action_repeat: 1.
    """

    action_repeat = 1

    def __init__(self, env: SuiteEnv) -> None:
        """Show `env` as it is seen: its variant is `state` or `rgb`."""
        self._env, self._steps = env, 0
        size = len(env.action.names)
        self.action_space = Box(-1.0, 1.0, (size,), np.float32)
        self._frames = FrameStack() if env.observation.images else None
        if self._frames is not None:
            self.observation_space = Box(0, 255, FrameStack.shape, np.uint8)
        else:
            shape = (state_size(env.observation),)
            self.observation_space = Box(-np.inf, np.inf, shape, np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """The episode of `seed` begins; see `gymnasium.Env.reset`."""
        del options
        if seed is None:
            raise ValueError("the seed decides an episode: give one")
        self._steps = 0
        seen = self._env.reset(seed)
        if self._frames is not None:
            return self._frames.first(policy_images(seen, self._env.observation)[0]), {}
        return state_vector(seen, self._env.observation), {}

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        """One action; see `gymnasium.Env.step`."""
        turn: Turn = self._env.step(np.asarray(action, dtype=np.float64))
        self._steps += 1
        told = {} if turn.success is None else {"success": turn.success}
        over = turn.over or self._steps >= self._env.max_steps
        if self._frames is not None:
            picture = policy_images(turn.observation, self._env.observation)[0]
            return self._frames.add(picture), turn.reward, False, over, told
        seen = state_vector(turn.observation, self._env.observation)
        return seen, turn.reward, False, over, told

    def close(self) -> None:
        """Free the simulator."""
        self._env.close()
