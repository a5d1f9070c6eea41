# SPDX-License-Identifier: MIT
"""This package's own simulated arm as an environment: what is trained here drives the ROS node.

World, observer, pipeline and guard are those of an evaluation, so an action means and does the
same. The rewards are ManiSkill's dense ones, of order 1 per action. An episode goes on after
success.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from difftori_models.contract.features import state_names
from difftori_models.contract.network_settings import Network, Solver
from difftori_models.contract.specs import Card, FloatArray, Observation, Plan, PlanStatus
from difftori_ros.observation import Refusal
from difftori_ros.robot.kinematics import Kinematics
from difftori_ros.robot.profile import load_profile
from difftori_sim.arm.direct_loop import DirectLoop
from difftori_sim.arm.tasks import Task, find_task
from difftori_sim.arm.world import World

from .env import EnvironmentInfo, StateScaling, StepResult, SuiteEpisode, SuiteError

STEPS = 50
"""Actions of an episode in training."""
HELD = 3
"""Actions in the plan of one action: the arm would come to rest after a plan of one."""
STATE_STD = {"position": 0.3, "velocity": 1.0}
"""Spread of state entries that is given to the networks as 1 [rad, rad/s]."""
LENGTH_STD = 0.1
"""The same of all other entries [m]."""


def tasks() -> list[str]:
    """Names of the tasks that have a dense reward."""
    return ["pick_cube", "push_cube", "stack_cube"]


def make(task: str, variant: str) -> ArmEnv:
    """The environment of a task, observed as `state`."""
    if task not in tasks():
        raise SuiteError(f"unknown task '{task}' of robot; known: {', '.join(tasks())}")
    if variant != "state":
        raise SuiteError(f"the suite robot is observed as state alone, not as '{variant}'")
    return ArmEnv(find_task(task))


def state_scaling(task: Task) -> StateScaling:
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
    return StateScaling(tuple(home.get(name, 0.0) for name in names), tuple(std))


class HeldAction:
    """A planner that plans the action it was given, held."""

    def __init__(self, card: Card) -> None:
        self.card = card
        self.action = np.zeros(len(card.action.names))

    def reset(self, seed: int) -> None:
        """Nothing is remembered."""

    def plan(self, observation: Observation, deadline_s: float | None = None) -> Plan:
        """`HELD` times the action."""
        actions = np.tile(self.action * np.array(self.card.action.scale), (HELD, 1))
        return Plan(observation.stamp_ns, actions, 0.0, 0.0, 0, 0.0, PlanStatus.BASE)


class ArmEnv:
    """One task of `config/tasks`; an episode takes `STEPS` actions."""

    def __init__(self, task: Task) -> None:
        from difftori_sim.arm.vulkan import use_shipped_driver

        use_shipped_driver()
        profile = load_profile("panda")
        scaling = state_scaling(task)
        self.info = EnvironmentInfo(
            task.name, profile.name, task.state, task.action, STEPS, scaling=scaling
        )
        self._planner = HeldAction(environment_card(task))
        self._world = World(task, profile)
        self._loop = DirectLoop(self._world, profile, task.state, self._planner)

    def reset(self, seed: int) -> Observation:
        """Start the episode of `seed`."""
        self._loop.begin(seed)
        return self._observe()

    def step(self, action: FloatArray) -> StepResult:
        """One action (A,) through pipeline and guard."""
        self._planner.action = np.asarray(action, dtype=np.float64)
        self._loop.command(self._observation)
        self._world.advance(self.info.action.dt_s)
        return StepResult(self._observe(), self._world.reward(), self._world.succeeded)

    def demonstrate(self, seed: int, noise: float) -> SuiteEpisode:
        """None: the arm's demonstrations are recorded through its own stages."""
        raise SuiteError(
            f"'{self.info.task}' is demonstrated as a real arm is: take `difftori demos record`"
        )

    def close(self) -> None:
        """Free the simulator."""
        self._world.close()

    def _observe(self) -> Observation:
        observation = self._loop.observe()
        if isinstance(observation, Refusal):
            raise RuntimeError(f"the simulated arm cannot be observed: {observation.detail}")
        self._observation = observation
        return observation


def environment_card(task: Task) -> Card:
    """What the pipeline needs to know of a policy: what it observes and what its actions mean."""
    return Card(
        name=f"{task.name} environment",
        task=task.name,
        robot="panda",
        method="bc",
        observation=task.state,
        action=replace(task.action, execute=1),
        network=Network(state=0),
        normaliser={},
        solver=Solver(),
        training={},
    )
