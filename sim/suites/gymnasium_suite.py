# SPDX-License-Identifier: MIT
"""Any Gymnasium environment with a flat box of actions."""

from __future__ import annotations

from typing import Any

import numpy as np

from difftori_models.contract.specs import FloatArray, Observation

from .env import StepResult, SuiteEpisode, SuiteError, roll_out
from .single_input import LONGEST, SIDE, no_expert, refuse_clouds, single_input, single_input_info


def tasks() -> list[str]:
    """Ids of the environments that are registered; those of other packages once imported."""
    import gymnasium

    return sorted(gymnasium.registry)


def make(task: str, variant: str) -> GymnasiumEnv:
    """`gymnasium.make(task)`, observed as `state` or `rgb`."""
    return GymnasiumEnv(task, variant)


class GymnasiumEnv:
    """One environment: observations flat or rendered, actions from -1 to 1 stretched to its box.

    Success is what the environment says under the name `success`; most know none, and the sum of
    their rewards counts.
    """

    def __init__(self, task: str, variant: str) -> None:
        import gymnasium

        refuse_clouds("gymnasium", variant)
        self._env, self._pixels = _wrapped(task, variant == "rgb"), variant == "rgb"
        box, limit = self._env.action_space, self._env.spec.max_episode_steps
        self._low, self._high = box.low.astype(np.float64), box.high.astype(np.float64)
        actions = self._low.size
        size = 0 if self._pixels else self._env.observation_space.shape[0]
        self.info = single_input_info(
            "gymnasium", task, actions, size, variant, max_steps=limit or LONGEST
        )
        try:
            self.reset(0)  # a camera may be aimed at the first scene drawn: always this one
        except (gymnasium.error.Error, ImportError) as error:
            raise SuiteError(f"'{task}' cannot be rendered: {error}") from error

    def reset(self, seed: int) -> Observation:
        """Start the episode of `seed`."""
        observed, _ = self._env.reset(seed=seed)
        self._steps = 0
        return self._observe(observed)

    def step(self, action: FloatArray) -> StepResult:
        """Take an action (A,) from -1 to 1."""
        # not `RescaleAction`: it rounds what it stretches by to the box's float32
        share = (np.asarray(action, np.float32).astype(np.float64) + 1.0) / 2.0
        inside = self._low + share.reshape(self._low.shape) * (self._high - self._low)
        inside = inside.astype(self._env.action_space.dtype)
        observed, reward, terminated, truncated, info = self._env.step(inside)
        self._steps += 1
        success = bool(info["success"]) if "success" in info else None
        return StepResult(
            self._observe(observed), float(reward), success, bool(terminated), bool(truncated)
        )

    def demonstrate(self, seed: int, noise: float) -> SuiteEpisode:
        """Pendulum-v1 alone has an expert, so that something small can be demonstrated."""
        if self.info.task != "gymnasium.Pendulum-v1":
            raise no_expert(self.info)
        return roll_out(self, seed, _swing_up, noise)

    def close(self) -> None:
        """Free the environment."""
        self._env.close()

    def _observe(self, observed: Any) -> Observation:
        if not self._pixels:
            return single_input(self.info, self._steps, observed)
        from PIL import Image

        # not `ResizeObservation`: checkpoints have learned from this filter
        drawn = Image.fromarray(np.asarray(self._env.render()))
        resized = drawn.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        return single_input(self.info, self._steps, picture=np.asarray(resized))


def _wrapped(task: str, pixels: bool) -> Any:
    """The environment with a time limit, and flat observations where it is not drawn.

    Raises:
        SuiteError: There is no such environment, it needs a package that is missing, or its
            actions are no finite box.
    """
    import gymnasium
    from gymnasium import wrappers

    try:
        env: Any = gymnasium.make(task, render_mode="rgb_array" if pixels else None)
    except (gymnasium.error.DependencyNotInstalled, ImportError) as error:
        raise SuiteError(f"'{task}' needs a package that is not installed: {error}") from error
    except (gymnasium.error.Error, ValueError) as error:
        raise SuiteError(f"'{task}' is no environment of Gymnasium: {error}") from error
    box = env.action_space
    if not isinstance(box, gymnasium.spaces.Box) or not box.is_bounded():
        env.close()
        raise SuiteError(f"actions must be a finite box, '{task}' has {box}")
    if env.spec.max_episode_steps is None:
        env = wrappers.TimeLimit(env, LONGEST)
    return env if pixels else wrappers.FlattenObservation(env)


def _swing_up(observation: Observation) -> FloatArray:
    """Energy is pumped in until the pendulum is up; there it is held by its angle and speed.

    Energy shaping (Åström and Furuta, Automatica 36, 2000), for Gymnasium's pendulum of mass 1,
    length 1, gravity 10 and a torque of at most 2.
    """
    cosine, sine, speed = observation.vectors["state"]
    angle = float(np.arctan2(sine, cosine))
    if cosine > 0.9 and abs(speed) < 3.0:
        torque = -16.0 * angle - 4.0 * speed
    else:
        missing = 5.0 - (speed**2 / 6.0 + 5.0 * cosine)
        torque = 2.0 * missing * np.sign(speed if speed else 1.0)
    return np.array([np.clip(torque / 2.0, -1.0, 1.0)])
