# SPDX-License-Identifier: MIT
"""The 15 tasks of the DeepMind Control Suite that DiffTORI was tried on, from state and pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from difftori_models.contract.specs import FloatArray, Observation

from .env import StepResult, SuiteEpisode, SuiteError
from .single_input import SIDE, no_expert, refuse_clouds, single_input, single_input_info

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


def make(task: str, variant: str) -> DMCEnv:
    """The environment of a task, observed as `state` or `rgb`."""
    return DMCEnv(task, variant)


class DMCEnv:
    """A task of the suite; an episode is 1000 of its steps, and never terminates early.

    An action holds for `action_repeat` steps of the suite, and their rewards are added.
    """

    def __init__(self, task: str, variant: str) -> None:
        if task not in ACTION_REPEAT:
            raise SuiteError(f"unknown task '{task}' of dmc; known: {', '.join(tasks())}")
        refuse_clouds("dmc", variant)
        domain, _, name = task.partition("-")
        self._env: Any = _suite().load(_DOMAINS.get(domain, domain), name.replace("-", "_"))
        spec = self._env.action_spec()
        self._low, self._high = spec.minimum, spec.maximum
        self._camera = _CAMERAS.get(domain, 0) if variant == "rgb" else None
        size = sum(int(np.prod(x.shape)) for x in self._env.observation_spec().values())
        (actions,) = spec.shape
        self.info = single_input_info(
            "dmc", task, actions, size, variant, action_repeat=ACTION_REPEAT[task]
        )
        self.reset(0)  # what cannot be rendered is known now

    def reset(self, seed: int) -> Observation:
        """Start the episode of `seed`."""
        # The suite draws from this alone, and takes a seed when a task is made only.
        self._env.task._random = np.random.RandomState(seed)
        self._steps = 0
        return self._observe(self._env.reset())

    def step(self, action: FloatArray) -> StepResult:
        """One action from -1 to 1, stretched to the suite's bounds and repeated."""
        share = (np.asarray(action, np.float32).astype(np.float64) + 1.0) / 2.0
        control = self._low + share * (self._high - self._low)
        reward, now = 0.0, None
        for _ in range(self.info.action_repeat):
            now = self._env.step(control)
            reward += float(now.reward or 0.0)
            if now.last():
                break
        assert now is not None
        self._steps += 1
        return StepResult(self._observe(now), reward, None, truncated=now.last())

    def demonstrate(self, seed: int, noise: float) -> SuiteEpisode:
        """None: the suite has no experts."""
        raise no_expert(self.info)

    def close(self) -> None:
        """Free the simulator."""
        self._env.close()

    def _observe(self, now: Any) -> Observation:
        vector = picture = None
        if self._camera is None:
            vector = np.concatenate([np.ravel(x) for x in now.observation.values()])
        else:
            picture = self._env.physics.render(SIDE, SIDE, camera_id=self._camera)
        return single_input(self.info, self._steps, vector, picture)


def _suite() -> Any:
    try:
        from dm_control import suite
    except ImportError as error:
        raise SuiteError(
            f"the suite dmc needs dm_control and mujoco ({error}): "
            "pip install 'difftori_ros[dmc]' -c constraints.txt"
        ) from error
    return suite
