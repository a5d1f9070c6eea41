# SPDX-License-Identifier: MIT
"""What every environment of a suite does, and what one episode in it was."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from difftori_models.contract.specs import ActionSpec, FloatArray, Observation, ObservationSpec

os.environ.setdefault("MUJOCO_GL", "egl")
# MuJoCo reads it when it is first imported, by whichever suite: no window, no display.

VARIANTS = ("state", "rgb", "points")
"""What a policy may see of an environment."""


class SuiteError(ValueError):
    """A suite cannot do what was asked; the message says what it can, or which command helps."""


@dataclass(frozen=True)
class Turn:
    """What came of one action.

    Attributes:
        observation: What is seen now.
        reward: The environment's reward of this action.
        success: Whether the task is done now; None where there is no such thing as success.
        over: The environment has ended the episode.
    """

    observation: Observation
    reward: float
    success: bool | None
    over: bool = False


@dataclass
class Episode:
    """One episode: what was seen before every action, the clean actions, and what came of it.

    Attributes:
        seed: What it was started from.
        observations: One before every action.
        actions: Network actions (A,), without the noise that was perhaps executed with them.
        reward: Sum of the rewards.
        success: Whether the task was done at least once; None where there is no such thing.
    """

    seed: int
    observations: list[Observation] = field(default_factory=list)
    actions: list[FloatArray] = field(default_factory=list)
    reward: float = 0.0
    success: bool | None = None

    def add(self, observation: Observation, action: FloatArray, turn: Turn) -> None:
        """The action was taken on the observation, and `turn` came of it."""
        self.observations.append(observation)
        self.actions.append(action)
        self.reward += turn.reward
        if turn.success is not None:
            self.success = bool(self.success) or turn.success


class SuiteEnv(Protocol):
    """One task of one suite.

    Attributes:
        task: Its name, `<suite>.<task>`, as it stands in cards.
        robot: What acts in it, as it stands in cards.
        observation: What is seen.
        action: What actions mean; its kind is `env`.
        max_steps: Actions after which an episode ends.
    """

    task: str
    robot: str
    observation: ObservationSpec
    action: ActionSpec
    max_steps: int

    def reset(self, seed: int) -> Observation:
        """Start the episode of `seed`."""
        ...

    def step(self, action: FloatArray) -> Turn:
        """Take a network action, shape (A,), inside the box of the action spec."""
        ...

    def demonstrate(self, seed: int, noise: float) -> Episode:
        """An episode of the suite's own expert; `noise` [network units] is on what it executes.

        Raises:
            SuiteError: There is no expert; the message says where demonstrations come from.
        """
        ...

    def close(self) -> None:
        """Free the simulator."""
        ...


def roll_out(
    env: SuiteEnv, seed: int, act: Callable[[Observation], FloatArray], noise: float = 0.0
) -> Episode:
    """An episode of `act`, until it has succeeded, is over, or has lasted `max_steps`.

    Noise is on what is executed and not on what is remembered, so that one sees how mistakes are
    put right (Laskey et al., "DART", CoRL 2017). A gripper is told the truth.

    Args:
        env: The environment; it is reset.
        seed: Of the environment and of the noise.
        act: From an observation to a network action.
        noise: Standard deviation [network units].
    """
    rng = np.random.default_rng(seed)
    low, high = np.array(env.action.low), np.array(env.action.high)
    free = np.array([name != "gripper" for name in env.action.names])
    episode, seen = Episode(seed), env.reset(seed)
    while len(episode.actions) < env.max_steps:
        action = np.clip(act(seen), low, high)
        executed = np.clip(action + noise * free * rng.standard_normal(len(action)), low, high)
        turn = env.step(executed)
        episode.add(seen, action, turn)
        seen = turn.observation
        if turn.over or turn.success:
            break
    return episode


def env_action(
    names: tuple[str, ...], dt_s: float, *, horizon: int = 4, execute: int = 2
) -> ActionSpec:
    """The action spec of an environment that takes numbers from -1 to 1."""
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
