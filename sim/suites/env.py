# SPDX-License-Identifier: MIT
"""What a suite is, what its environments do, and what one episode in them was."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from difftori_models.contract.specs import ActionSpec, FloatArray, Observation, ObservationSpec
from difftori_ros.errors import DifftoriError

os.environ.setdefault("MUJOCO_GL", "egl")
# MuJoCo reads it at its first import, by any suite: no window, no display.

VARIANTS = ("state", "rgb", "points")
"""What a policy may observe of an environment."""


class SuiteError(DifftoriError, ValueError):
    """A suite cannot do what was asked; the message says what it can, or which command helps."""


@dataclass(frozen=True)
class StateScaling:
    """How reinforcement learning scales a state vector (D,): it learns from `(x - mean) / std`."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class EnvironmentInfo:
    """What an environment is: what a card says of it, and how long its episodes last.

    Attributes:
        task: Name in cards, `<suite>.<task>`.
        robot: What acts in it, as it stands in cards.
        observation: What is observed.
        action: What actions mean; its kind is `env`, but for the arm of this package.
        max_steps: Actions after which an episode ends.
        action_repeat: Steps of the simulator per action.
        scaling: How reinforcement learning scales states; None leaves them as they are.
    """

    task: str
    robot: str
    observation: ObservationSpec
    action: ActionSpec
    max_steps: int
    action_repeat: int = 1
    scaling: StateScaling | None = None


@dataclass(frozen=True)
class StepResult:
    """What came of one action.

    Attributes:
        observation: The observation after it.
        reward: The environment's reward of this action.
        success: Whether the task is done now; None where the environment knows no success.
        terminated: The episode is over, and no reward can follow.
        truncated: The environment has ended the episode, because of its length.
    """

    observation: Observation
    reward: float
    success: bool | None
    terminated: bool = False
    truncated: bool = False


@dataclass
class SuiteEpisode:
    """One episode: the observation before every action, the clean actions, and the outcome.

    Attributes:
        seed: Seed that it was started from.
        observations: One before every action.
        actions: Network actions (A,), without the noise that may have been executed with them.
        reward: Sum of the rewards.
        success: Whether the task was done at least once; None where there is no success.
    """

    seed: int
    observations: list[Observation] = field(default_factory=list)
    actions: list[FloatArray] = field(default_factory=list)
    reward: float = 0.0
    success: bool | None = None

    def add(self, observation: Observation, action: FloatArray, result: StepResult) -> None:
        """Append one step: the action taken on the observation, and its result."""
        self.observations.append(observation)
        self.actions.append(action)
        self.reward += result.reward
        if result.success is not None:
            self.success = bool(self.success) or result.success


class SuiteEnv(Protocol):
    """One task of one suite.

    The seed given to `reset` decides the episode, whatever ran before.

    Attributes:
        info: What the environment is.
    """

    info: EnvironmentInfo

    def reset(self, seed: int) -> Observation:
        """Start the episode of `seed`."""
        ...

    def step(self, action: FloatArray) -> StepResult:
        """Take a network action, shape (A,), inside the box of the action spec."""
        ...

    def demonstrate(self, seed: int, noise: float) -> SuiteEpisode:
        """An episode of the suite's own expert; `noise` [network units] is on what it executes.

        Raises:
            SuiteError: There is no expert; the message says where demonstrations come from.
        """
        ...

    def close(self) -> None:
        """Free the simulator."""
        ...


class Suite(Protocol):
    """A family of tasks; a module that has these two functions is one.

    The module imports the suite's own packages inside them, so that knowing a suite costs nothing.
    """

    def tasks(self) -> list[str]:
        """Names of the tasks that can be made without a download."""
        ...

    def make(self, task: str, variant: str) -> SuiteEnv:
        """The environment of a task, observed as `variant`, one of `VARIANTS`.

        Raises:
            SuiteError: Task or variant is not known, or packages or files are missing; the message
                says what exists, or which command helps.
        """
        ...


def roll_out(
    env: SuiteEnv, seed: int, act: Callable[[Observation], FloatArray], noise: float = 0.0
) -> SuiteEpisode:
    """An episode of `act`, until success, the environment's end, or `max_steps` actions.

    Noise is on what is executed and not on the label, so that the demonstrations show how mistakes
    are corrected (Laskey et al., "DART", CoRL 2017). Grippers get none.

    Args:
        env: The environment; it is reset.
        seed: Of the environment and of the noise.
        act: From an observation to a network action.
        noise: Standard deviation [network units].
    """
    rng, spec = np.random.default_rng(seed), env.info.action
    low, high = np.array(spec.low), np.array(spec.high)
    noisy = np.array([name != "gripper" for name in spec.names])
    episode, observation = SuiteEpisode(seed), env.reset(seed)
    while len(episode.actions) < env.info.max_steps:
        action = np.clip(act(observation), low, high)
        executed = np.clip(action + noise * noisy * rng.standard_normal(len(action)), low, high)
        result = env.step(executed)
        episode.add(observation, action, result)
        observation = result.observation
        if result.terminated or result.truncated or result.success:
            break
    return episode


def env_action(
    names: tuple[str, ...], dt_s: float, *, horizon: int = 4, execute: int = 2
) -> ActionSpec:
    """The action spec of an environment that takes numbers from -1 to 1.

    Args:
        names: Name of every entry; noise spares those called `gripper`.
        dt_s: Time that an action takes [s].
        horizon: Actions that a policy plans, unless its training says otherwise.
        execute: Actions of a plan that are executed.
    """
    ones = (1.0,) * len(names)
    return ActionSpec(
        kind="env",
        names=names,
        scale=ones,
        low=tuple(-one for one in ones),
        high=ones,
        dt_s=dt_s,
        horizon=horizon,
        execute=execute,
    )
