# SPDX-License-Identifier: MIT
"""Demonstrations by motion planning: ManiSkill's own solutions (mplib), recorded step by step.

The solutions plan joint paths and command absolute joint positions. Here every command becomes the
displacement from the measured joints, which is what a policy is to do: the same motion, as long as
it is within the 0.1 rad of the controller. A plan knows where it is going, so that noise on what
is executed is put right by the next label.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import warnings
from typing import Any, Protocol

import numpy as np

from difftori_models.contract.specs import FloatArray

from .env import SuiteEnv, SuiteEpisode, SuiteError

SOLUTIONS = {
    "PickCube-v1": "pick_cube",
    "PushCube-v1": "push_cube",
    "StackCube-v1": "stack_cube",
    "PullCube-v1": "pull_cube",
    "LiftPegUpright-v1": "lift_peg_upright",
    "PegInsertionSide-v1": "peg_insertion_side",
    "PlugCharger-v1": "plug_charger",
    "PlaceSphere-v1": "place_sphere",
    "PullCubeTool-v1": "pull_cube_tool",
    "StackPyramid-v1": "stack_pyramid",
}
"""Environment -> ManiSkill's module that solves it."""
REACH_RAD = 0.1
"""Displacement of a joint that is 1 in network units: the controller's own limit."""


class Solvable(SuiteEnv, Protocol):
    """What the solutions need of ManiSkill's environment, as `maniskill.ManiSkillEnv` has it.

    Attributes:
        env_id: ManiSkill's name of the environment.
        sim: The simulator itself.
    """

    env_id: str
    sim: Any


class _EpisodeOver(Exception):  # noqa: N818  (no error: the way out of a solution that is done)
    """The episode has succeeded or has lasted long enough."""


class _Simulator:
    """The simulator as the solutions want it: taking absolute joint positions."""

    control_mode = "pd_joint_pos"

    def __init__(self, sim: Any) -> None:
        self._sim = sim

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sim, name)


class _RecordedEnv:
    """An environment whose steps are recorded as displacements."""

    def __init__(self, env: Solvable, seed: int, noise: float) -> None:
        self._env, self._noise = env, noise
        self._rng = np.random.default_rng(seed)
        self.unwrapped = _Simulator(env.sim)
        self.episode = SuiteEpisode(seed)
        self._observation = env.reset(seed)

    def reset(self, seed: int | None = None) -> None:
        """It has been reset already."""

    def step(self, target: FloatArray) -> tuple[None, float, bool, bool, dict[str, Any]]:
        """Joint positions and gripper (8,) are commanded, as a displacement."""
        arm = len(target) - 1
        measured = self._observation.position[:arm]
        moves = np.clip((target[:arm] - measured) / REACH_RAD, -1.0, 1.0)
        noisy = np.clip(moves + self._noise * self._rng.standard_normal(arm), -1.0, 1.0)
        result = self._env.step(np.append(noisy, target[arm]))
        self.episode.add(self._observation, np.append(moves, target[arm]), result)
        self._observation = result.observation
        if result.success or len(self.episode.actions) >= self._env.info.max_steps:
            raise _EpisodeOver
        return None, result.reward, False, False, {}


def demonstrate(env: Solvable, seed: int, noise: float) -> SuiteEpisode:
    """An episode of the motion planner, until it first succeeds.

    Raises:
        SuiteError: ManiSkill has no solution for this task, or mplib cannot be imported.
    """
    if env.env_id not in SOLUTIONS:
        raise SuiteError(
            f"'{env.env_id}' has no expert: there are solutions for {', '.join(SOLUTIONS)}; "
            "give the folder of a trained checkpoint as --expert"
        )
    where = f"mani_skill.examples.motionplanning.panda.solutions.{SOLUTIONS[env.env_id]}"
    try:
        solve = importlib.import_module(where).solve
    except ImportError as error:
        raise SuiteError(f"motion planning needs mplib: {error}") from error
    recorded = _RecordedEnv(env, seed, noise)
    with (
        contextlib.suppress(_EpisodeOver),
        # the solutions print what they could not plan; what comes of it is in the episode
        contextlib.redirect_stdout(io.StringIO()),
        warnings.catch_warnings(),
    ):
        # they call functions that their libraries are about to rename
        warnings.simplefilter("ignore", DeprecationWarning)
        solve(recorded, seed=seed, debug=False, vis=False)
    return recorded.episode
