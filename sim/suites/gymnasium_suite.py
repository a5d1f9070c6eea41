# SPDX-License-Identifier: MIT
"""Any Gymnasium environment with a flat box of actions, through one adapter."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from PIL import Image

from .frame_stack import SIDE, FrameStack
from .gym_suite import Bridge, bridged

LONGEST = 1000
"""Steps after which an episode of an environment without a time limit ends."""


def tasks() -> list[str]:
    """Ids of the environments that are registered; those of other packages once imported."""
    return sorted(gymnasium.registry)


def open_env(task: str, variant: str) -> Bridge:
    """A task for policies that plan, seen as `state` or `rgb`."""
    return bridged("gymnasium", task, variant, make)


def make(task: str, obs: str = "state") -> Adapter:
    """`gymnasium.make(task)` behind the adapter.

    Raises:
        ValueError: There is no such environment, or its actions are no finite box.
    """
    try:
        env = gymnasium.make(task, render_mode="rgb_array" if obs == "rgb" else None)
    except gymnasium.error.DependencyNotInstalled as error:
        raise ValueError(f"'{task}' needs a package that is not installed: {error}") from error
    except gymnasium.error.Error as error:
        raise ValueError(f"'{task}' is no environment of Gymnasium: {error}") from error
    if env.spec is not None and env.spec.max_episode_steps is None:
        env = gymnasium.wrappers.TimeLimit(env, LONGEST)
    return Adapter(env, obs)


class Adapter(gymnasium.Env[NDArray[Any], NDArray[np.float32]]):
    """Observations made flat, or rendered; actions from [-1, 1] stretched to the box of `env`.

    Attributes:
        action_repeat: 1.
    """

    action_repeat = 1

    def __init__(self, env: gymnasium.Env[Any, Any], obs: str) -> None:
        inner = env.action_space
        if not isinstance(inner, spaces.Box) or not inner.is_bounded():
            env.close()
            raise ValueError(f"actions must be a finite box, this environment has {inner}")
        self._env, self._inner = env, inner
        self._low, self._high = inner.low.astype(np.float64), inner.high.astype(np.float64)
        self.action_space = spaces.Box(-1.0, 1.0, (int(np.prod(inner.shape)),), np.float32)
        self._frames = FrameStack() if obs == "rgb" else None
        if self._frames is not None:
            self.observation_space = spaces.Box(0, 255, FrameStack.shape, np.uint8)
        else:
            size = spaces.flatdim(env.observation_space)
            self.observation_space = spaces.Box(-np.inf, np.inf, (size,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """See `gymnasium.Env.reset`."""
        seen, info = self._env.reset(seed=seed, options=options)
        return self._observed(seen, first=True), info

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        """See `gymnasium.Env.step`."""
        share = (np.asarray(action, dtype=np.float64).reshape(self._low.shape) + 1.0) / 2.0
        inside = (self._low + share * (self._high - self._low)).astype(self._inner.dtype)
        seen, reward, terminated, truncated, info = self._env.step(inside)
        observed = self._observed(seen, first=False)
        return observed, float(reward), bool(terminated), bool(truncated), info

    def close(self) -> None:
        """Free the environment."""
        self._env.close()

    def _observed(self, seen: Any, first: bool) -> NDArray[Any]:
        if self._frames is None:
            flat = spaces.flatten(self._env.observation_space, seen)
            return np.asarray(flat, dtype=np.float32)
        rendered = Image.fromarray(np.asarray(self._env.render()))
        picture = np.asarray(rendered.resize((SIDE, SIDE), Image.Resampling.BILINEAR))
        return self._frames.first(picture) if first else self._frames.add(picture)
