# SPDX-License-Identifier: MIT
"""A suite's environment as `gymnasium.Env`, to learn in by reward."""

from __future__ import annotations

from collections import deque
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from difftori_models.contract.features import policy_images, state_size, state_vector
from difftori_models.contract.specs import Observation
from difftori_models.networks.normaliser import STATE_CLIP

from .env import SuiteEnv

STACK = 3
"""Newest pictures in an observation, as in TD-MPC: one picture shows no motion."""


class GymAdapter(gymnasium.Env[NDArray[Any], NDArray[np.float32]]):
    """The state vector (D,) float32, or the newest pictures (3 STACK, height, width) uint8.

    Pictures are those of the first camera, oldest first; an episode begins with the same one
    everywhere. It goes on after success, until `max_steps` actions are over.

    Attributes:
        info: What the environment is.
        action_repeat: Steps of the simulator per action.
        observation: The last observation.
    """

    observation: Observation

    def __init__(self, env: SuiteEnv) -> None:
        """Show `env` as it is observed: its variant is `state` or `rgb`."""
        self._env, self.info, self.action_repeat = env, env.info, env.info.action_repeat
        self._steps, self._frames = 0, deque[NDArray[np.uint8]](maxlen=STACK)
        spec, scaling = env.info.observation, env.info.scaling
        self.action_space = Box(-1.0, 1.0, (len(env.info.action.names),), np.float32)
        if spec.images:
            image = next(iter(spec.images.values()))
            shape = (3 * STACK, image.height, image.width)
            self.observation_space = Box(0, 255, shape, np.uint8)
            return
        bound = np.inf if scaling is None else STATE_CLIP
        self.observation_space = Box(-bound, bound, (state_size(spec),), np.float32)
        if scaling is not None:
            self._mean, self._std = np.array(scaling.mean), np.array(scaling.std)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Start the episode of `seed`; see `gymnasium.Env.reset`."""
        del options
        if seed is None:
            raise ValueError("the seed decides an episode: give one")
        self._steps = 0
        self._frames.clear()
        return self._shown(self._env.reset(seed)), {}

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        """One action; see `gymnasium.Env.step`."""
        result = self._env.step(np.asarray(action, dtype=np.float64))
        self._steps += 1
        info = {} if result.success is None else {"success": result.success}
        truncated = result.truncated or self._steps >= self.info.max_steps
        shown = self._shown(result.observation)
        return shown, result.reward, result.terminated, truncated, info

    def close(self) -> None:
        """Free the simulator."""
        self._env.close()

    def _shown(self, observation: Observation) -> NDArray[Any]:
        self.observation, spec = observation, self.info.observation
        if spec.images:
            picture = policy_images(observation, spec)[0].transpose(2, 0, 1)
            self._frames.extend([picture] * (1 if self._frames else STACK))
            return np.concatenate(self._frames)
        state = state_vector(observation, spec)
        if self.info.scaling is None:
            return state
        scaled = (state - self._mean) / self._std
        return np.clip(scaled, -STATE_CLIP, STATE_CLIP).astype(np.float32)
