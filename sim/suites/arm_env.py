# SPDX-License-Identifier: MIT
"""This package's own simulated arm as an environment: what is trained here drives the ROS node.

World, observer, driver and guard are those of an evaluation, so an action means and does the same.
The rewards are ManiSkill's dense ones, of order 1 per action. An episode goes on after success.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NoReturn

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from difftori_models.contract.features import state_names, state_size, state_vector
from difftori_models.contract.specs import Card, Observation, Plan, PlanStatus
from difftori_models.networks.normaliser import STATE_CLIP, Statistics
from difftori_ros.observation.observer import Refusal
from difftori_ros.robot.kinematics import Kinematics
from difftori_ros.robot.profile import load_profile
from difftori_sim.arm.direct_loop import DirectLoop
from difftori_sim.arm.tasks import Task, find_task
from difftori_sim.arm.world import World

from .env import SuiteError

STEPS = 50
"""Actions of an episode in training."""
HELD = 3
"""Times the driver is told an action: a plan of one would come to rest after it."""
STATE_STD = {"position": 0.3, "velocity": 1.0}
"""Spread of state entries that is given to the networks as 1 [rad, rad/s]."""
LENGTH_STD = 0.1
"""The same of all other entries [m]."""


def tasks() -> list[str]:
    """Names of the tasks that have a dense reward."""
    return ["pick_cube", "push_cube", "stack_cube"]


def open_env(task: str, variant: str) -> NoReturn:
    """Nothing: the arm is driven as a real one is."""
    raise SuiteError(
        f"the arm of '{task}' is driven through its own stages: take `difftori record` and "
        "`difftori evaluate --checkpoint`, without --suite"
    )


def make(task: str, obs: str = "state") -> RobotEnv:
    """The environment of a task, seen as `state`."""
    if task not in tasks():
        raise ValueError(f"unknown task '{task}' of robot; known: {', '.join(tasks())}")
    if obs != "state":
        raise ValueError(f"the suite robot is seen as state alone, not as '{obs}'")
    return RobotEnv(find_task(task))


def state_statistics(task: Task) -> Statistics:
    """How the networks' inputs are scaled; nothing of it comes from demonstrations."""
    names = state_names(task.state)
    std = [STATE_STD.get(name.split(".")[0], LENGTH_STD) for name in names]
    profile = load_profile("panda")
    home = {
        f"position.{joint}": float(angle)
        for joint, angle in zip(profile.arm_joints, profile.home, strict=True)
    }
    tip = Kinematics(profile).tip_pose(profile.home)
    home |= {f"tip.{axis}": float(x) for axis, x in zip("xyz", tip[:3], strict=True)}
    mean = [home.get(name, 0.0) for name in names]
    count = len(task.action.names)
    return {
        "state": {"mean": tuple(mean), "std": tuple(std)},
        "action": {"mean": (0.0,) * count, "std": (1.0,) * count},
    }


class _Told:
    """A planner that plans what it is told."""

    def __init__(self, card: Card) -> None:
        self.card = card
        self.action = np.zeros(len(card.action.names))

    def reset(self, seed: int) -> None:
        """Nothing is remembered."""

    def plan(self, observation: Observation, deadline_s: float | None = None) -> Plan:
        """The action, held."""
        actions = np.tile(self.action * np.array(self.card.action.scale), (HELD, 1))
        return Plan(observation.stamp_ns, actions, 0.0, 0.0, 0, 0.0, PlanStatus.BASE)


class RobotEnv(gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]):
    """One task of `config/tasks`; an episode takes `STEPS` actions.

    Attributes:
        action_repeat: 1.
        task: The task.
    """

    action_repeat = 1

    def __init__(self, task: Task) -> None:
        from difftori_sim.arm.vulkan import use_shipped_driver

        use_shipped_driver()
        self.task, self._spec = task, task.state
        profile = load_profile("panda")
        self._told = _Told(environment_card(task))
        self._world = World(task, profile)
        self._loop = DirectLoop(self._world, profile, task.state, self._told)
        scales = state_statistics(task)["state"]
        self._mean, self._std = np.array(scales["mean"]), np.array(scales["std"])
        size = state_size(task.state)
        self.observation_space = Box(-STATE_CLIP, STATE_CLIP, (size,), np.float32)
        self.action_space = Box(-1.0, 1.0, (len(task.action.names),), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """The episode of `seed` begins; see `gymnasium.Env.reset`."""
        del options
        if seed is None:
            raise ValueError("this environment has no random state of its own: give a seed")
        self._loop.begin(seed)
        self._steps = 0
        return self._observed(), {"success": False}

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """One action; see `gymnasium.Env.step`."""
        self._told.action = np.asarray(action, dtype=np.float64)
        self._loop.command(self._seen)
        self._world.advance(self.task.action.dt_s)
        self._steps += 1
        told = {"success": self._world.succeeded}
        return self._observed(), self._world.reward(), False, self._steps >= STEPS, told

    def close(self) -> None:
        """Free the simulator."""
        self._world.close()

    def _observed(self) -> NDArray[np.float32]:
        seen = self._loop.observe()
        if isinstance(seen, Refusal):
            raise RuntimeError(f"the simulated arm cannot be observed: {seen.detail}")
        self._seen = seen
        scaled = (state_vector(seen, self._spec) - self._mean) / self._std
        return np.clip(scaled, -STATE_CLIP, STATE_CLIP).astype(np.float32)


def environment_card(task: Task) -> Card:
    """What the driver needs to know of a policy: what it sees and what its actions mean."""
    return Card(
        name=f"{task.name} environment",
        task=task.name,
        robot="panda",
        method="bc",
        observation=task.state,
        action=replace(task.action, execute=1),
        network={},
        normaliser={},
        solver={},
        training={},
    )
