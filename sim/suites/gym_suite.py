# SPDX-License-Identifier: MIT
"""Environments made for reinforcement learning, seen and driven by policies that plan.

Those of the DeepMind Control Suite and of Gymnasium give a flat vector
or a stack of pictures; a policy is told the vector, or the newest picture.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.error import Error

from difftori_models.contract.specs import FloatArray, ImageSpec, Observation, ObservationSpec

from .env import Episode, SuiteError, Turn, env_action, roll_out

DT_S = 0.05
"""Time that an action stands for in cards; these environments do not say."""
LONGEST = 1000
"""Actions after which an episode ends that its environment does not end before."""


def bridged(suite: str, task: str, variant: str, make: Callable[[str, str], Any]) -> Bridge:
    """The environment that `make(task, variant)` makes for reinforcement learning.

    Raises:
        SuiteError: It cannot be made; the message says why.
    """
    if variant == "points":
        raise SuiteError(f"the suite {suite} has no clouds: take --obs state or rgb")
    try:
        bridge = Bridge(suite, task, make(task, variant))
        bridge.reset(0)  # what cannot be rendered is known now
        return bridge
    except (ValueError, ImportError, Error) as error:
        raise SuiteError(str(error)) from error


class Bridge:
    """One environment of `gymnasium.Env`, as the other suites' are.

    Success is what the environment says under the name `success`; most know none, and the sum of
    their rewards counts.
    """

    max_steps = LONGEST

    def __init__(self, suite: str, task: str, env: Any) -> None:
        self._env, self._steps = env, 0
        plain = "".join(c if c.isalnum() or c in "_.-" else "-" for c in task)
        self.task, self.robot = f"{suite}.{plain}", suite
        (size,) = env.action_space.shape
        self.action = env_action(tuple(f"action{k}" for k in range(size)), DT_S)
        shape = env.observation_space.shape
        pixels = len(shape) == 3
        self.observation = ObservationSpec(
            frame="world",
            joint_names=(),
            poses=(),
            features=("step",) if pixels else ("state",),
            images={"camera": ImageSpec(shape[1], shape[2])} if pixels else {},
            vectors={"step": 1} if pixels else {"state": shape[0]},
        )

    def reset(self, seed: int) -> Observation:
        """Start the episode of `seed`."""
        seen, _ = self._env.reset(seed=seed)
        self._steps = 0
        return self._observation(seen)

    def step(self, action: FloatArray) -> Turn:
        """Take an action from -1 to 1."""
        seen, reward, terminated, truncated, info = self._env.step(np.asarray(action, np.float32))
        self._steps += 1
        success = bool(info["success"]) if "success" in info else None
        return Turn(self._observation(seen), reward, success, terminated or truncated)

    def demonstrate(self, seed: int, noise: float) -> Episode:
        """Pendulum-v1 alone has a rule, so that something small can be demonstrated."""
        if self.task != "gymnasium.Pendulum-v1":
            raise SuiteError(
                f"nobody demonstrates '{self.task}': learn it by reward (difftori train --suite "
                f"{self.robot} --method difftori_rl) and give the folder of that checkpoint as "
                "--expert, or take --expert random"
            )
        return roll_out(self, seed, _swing_up, noise)

    def _observation(self, seen: Any) -> Observation:
        spec = self.observation
        vector = np.asarray(seen, dtype=np.float64) if "state" in spec.vectors else np.zeros(1)
        name = next(iter(spec.vectors))
        newest = {n: np.ascontiguousarray(seen[-3:].transpose(1, 2, 0)) for n in spec.images}
        return Observation(
            stamp_ns=round(self._steps * DT_S * 1e9),
            joint_names=(),
            position=np.zeros(0),
            velocity=np.zeros(0),
            poses={},
            images=newest,
            vectors={name: vector},
        )

    def close(self) -> None:
        """Free the simulator."""
        self._env.close()


def _swing_up(seen: Observation) -> FloatArray:
    """Energy is pumped in until the pendulum is up; there it is held by its angle and speed.

    Energy shaping (Åström and Furuta, Automatica 36, 2000), for Gymnasium's pendulum of mass 1,
    length 1, gravity 10 and a torque of at most 2.
    """
    cosine, sine, speed = seen.vectors["state"]
    angle = float(np.arctan2(sine, cosine))
    if cosine > 0.9 and abs(speed) < 3.0:
        torque = -16.0 * angle - 4.0 * speed
    else:
        missing = 5.0 - (speed**2 / 6.0 + 5.0 * cosine)
        torque = 2.0 * missing * np.sign(speed if speed else 1.0)
    return np.array([np.clip(torque / 2.0, -1.0, 1.0)])
