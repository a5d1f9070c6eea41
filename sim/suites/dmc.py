# SPDX-License-Identifier: MIT
"""The 15 tasks of the DeepMind Control Suite that DiffTORI was tried on, from state and pixels."""

from __future__ import annotations

import os
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from .frame_stack import SIDE, FrameStack
from .gym_suite import Bridge, bridged

ACTION_REPEAT = {
    "cartpole-swingup": 4,
    "cartpole-swingup-sparse": 8,
    "cheetah-run": 2,
    "cup-catch": 2,
    "finger-spin": 2,
    "finger-turn-easy": 2,
    "finger-turn-hard": 2,
    "hopper-stand": 4,
    "pendulum-swingup": 2,
    "quadruped-run": 4,
    "quadruped-walk": 4,
    "reacher-easy": 4,
    "reacher-hard": 4,
    "walker-run": 2,
    "walker-stand": 2,
    "walker-walk": 2,
}
"""Steps of the suite that one action holds, as in the reference's settings. The 15 tasks of the
paper, and `cartpole-swingup`, its easier sister."""

_DOMAINS = {"cup": "ball_in_cup"}
_CAMERAS = {"quadruped": 2}
"""Camera of the pictures, where it is not the first."""


def tasks() -> list[str]:
    """Names of the tasks."""
    return sorted(ACTION_REPEAT)


def open_env(task: str, variant: str) -> Bridge:
    """A task for policies that plan, seen as `state` or `rgb`."""
    return bridged("dmc", task, variant, make)


def make(task: str, obs: str = "state") -> DMC:
    """The environment of a task, seen as `state` or `rgb`."""
    return DMC(task, obs)


class DMC(gymnasium.Env[NDArray[Any], NDArray[np.float32]]):
    """A task of the suite; an episode is 1000 of its steps, and never ends early.

    Attributes:
        action_repeat: Steps of the suite per action; their rewards are added.
    """

    def __init__(self, task: str, obs: str) -> None:
        if task not in ACTION_REPEAT:
            raise ValueError(f"unknown task '{task}' of dmc; known: {', '.join(tasks())}")
        # Without a choice it looks for a display first.
        os.environ.setdefault("MUJOCO_GL", "egl")
        try:
            from dm_control import suite
        except ImportError as error:
            raise ImportError(
                f"the suite dmc needs dm_control and mujoco ({error}): "
                "pip install 'difftori_ros[dmc]' -c constraints.txt"
            ) from error
        domain, _, name = task.partition("-")
        self.action_repeat = ACTION_REPEAT[task]
        self._camera = _CAMERAS.get(domain, 0)
        self._env = suite.load(_DOMAINS.get(domain, domain), name.replace("-", "_"))
        spec = self._env.action_spec()
        self._low, self._high = spec.minimum, spec.maximum
        self.action_space = Box(-1.0, 1.0, spec.shape, np.float32)
        self._frames = FrameStack() if obs == "rgb" else None
        if self._frames is not None:
            self.observation_space = Box(0, 255, FrameStack.shape, np.uint8)
        else:
            size = sum(int(np.prod(x.shape)) for x in self._env.observation_spec().values())
            self.observation_space = Box(-np.inf, np.inf, (size,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """The episode of `seed` begins; see `gymnasium.Env.reset`."""
        del options
        if seed is not None:
            # The suite draws from this alone, and takes a seed when a task is made only.
            self._env.task._random = np.random.RandomState(seed)
        seen = self._env.reset().observation
        return self._observed(seen, first=True), {}

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        """One action, repeated; see `gymnasium.Env.step`."""
        share = (np.asarray(action, dtype=np.float64) + 1.0) / 2.0
        control = self._low + share * (self._high - self._low)
        reward, now = 0.0, None
        for _ in range(self.action_repeat):
            now = self._env.step(control)
            reward += float(now.reward or 0.0)
            if now.last():
                break
        assert now is not None
        return self._observed(now.observation, first=False), reward, False, now.last(), {}

    def close(self) -> None:
        """Free the simulator."""
        self._env.close()

    def _observed(self, seen: Any, first: bool) -> NDArray[Any]:
        if self._frames is None:
            return np.concatenate([np.ravel(x) for x in seen.values()]).astype(np.float32)
        picture = self._env.physics.render(SIDE, SIDE, camera_id=self._camera)
        return self._frames.first(picture) if first else self._frames.add(picture)
