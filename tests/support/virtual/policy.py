# SPDX-License-Identifier: MIT
"""The policy's process: the real loop and pipeline, with a planner that never looks away from the
arm, and callbacks that hear joint states and the guard."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from difftori_models.contract.specs import Observation, Plan, PlanStatus
from difftori_ros.codecs.serialized_trajectory import write_trajectory
from difftori_ros.config.parameters import POLICY
from difftori_ros.nodes.node_base import status_message
from difftori_ros.observation import FrameTree, Observer, StreamSet
from difftori_ros.policy.interfaces import Clocks, PlanEvent
from difftori_ros.policy.loop import PolicyLoop
from difftori_ros.policy.mailbox import Mailbox
from difftori_ros.policy.open_policy import Source
from difftori_ros.policy.pipeline import PlanPipeline
from difftori_ros.policy.scripted import ScriptedPlanner
from difftori_ros.policy.start_gate import StartGate
from difftori_ros.status.clock_jump import ClockWatch
from difftori_ros.status.guard_report import GuardReport
from difftori_ros.status.health import Health
from difftori_ros.types import Level, Reason, Trajectory
from tests.support.virtual.clock import MS, Alarm, Process

if TYPE_CHECKING:
    from tests.support.virtual.world import World

HEARTBEAT_NS = 100 * MS
TURN_NS = 5 * MS
"""Time between two turns of the loop when nothing wakes it [ns]."""
LOOK_NS = 20 * MS
"""Time between two looks at whether anybody listens to plans [ns]."""
STEP_S = 0.05
"""Time of one action [s]."""
PULL = 0.8
"""Share of the way home that an action would go in a second [1/s]."""


class Mover(ScriptedPlanner):
    """Actions as a closed loop gives them: on from where the arm is measured to be."""

    def __init__(self, world: World):
        super().__init__(world.profile)
        self._world = world

    def plan(self, observation: Observation, deadline_s: float | None = None) -> Plan:
        """Every joint swings around home, and the gripper opens and closes."""
        made = super().plan(observation, deadline_s)
        case, home = self._world.case, self._world.profile.home
        self._world.work(case.plan_ms)
        here, t = observation.position[: len(home)], observation.stamp_ns * 1e-9
        steps = STEP_S * np.arange(1, len(made.actions) + 1)[:, None]
        swing = np.sin(2 * np.pi * t / np.linspace(1.3, 2.9, len(home)) + np.arange(len(home)))
        actions = made.actions.copy()
        actions[:, :-1] = here + steps * (case.speed * swing + PULL * (home - here))
        actions[:, -1] = 1.0 if t % 1.1 < 0.6 else -1.0
        return replace(made, actions=actions, status=PlanStatus.BASE)


class Permit:
    """What the loop needs of a thread: whether something may come out.

    Attributes:
        stopped: Nothing may.
        held: Something is on its way out, and whoever stops it has to wait.
    """

    def __init__(self) -> None:
        self.stopped = self.held = False

    @contextmanager
    def permission(self) -> Iterator[bool]:
        """Whether something may come out; nobody stops it within the block."""
        self.held = True
        try:
            yield not self.stopped
        finally:
            self.held = False

    def planned(self) -> None:
        """Nobody counts."""


class VirtualPolicy:
    """One process of the policy, from its start to its death.

    Attributes:
        process: What is stopped or killed.
    """

    def __init__(self, world: World):
        self._world, self.process = world, Process("policy")
        timeline, profile = world.timeline, world.profile
        self._dice = random.Random(world.dice.random())
        self._alarm = Alarm(timeline, self.process)
        planner = Mover(world)
        spec = planner.card.observation
        streams = StreamSet(spec, {"joint_states": 0.05 + world.case.joints_ms * 1e-3})
        self._observer = Observer(spec, profile, world.kinematics, FrameTree(), streams)
        self._health = Health()
        values = {one.name: one.default for one in POLICY} | {"deadline_s": 0.0}
        source = Source(planner, Path("mover"), "", "", lambda: Mover(world))
        self._mailbox = Mailbox()
        self._loop = PolicyLoop(
            values,
            source,
            PlanPipeline(planner, profile, world.kinematics),
            self._observer,
            StartGate(profile.arm_joints, profile.home, 0.0, "home pose"),
            self._health,
            self._mailbox,
            self,
            self,
            Clocks(world.data_ns, self._steady_s),
        )
        self._watch = ClockWatch()
        self._newest: Any = None
        self._permit = Permit()
        self._loop.begin()
        timeline.spawn(self.process, self._run)
        timeline.every(HEARTBEAT_NS, self.process, self._heartbeat)

    # callbacks -----------------------------------------------------------------------------------

    def hear_joints(self, measured: Any) -> None:
        """Joint states have come; of those that come between two turns the newest counts."""
        self._newest = measured
        self._alarm.ring()

    def hear_status(self, report: GuardReport) -> None:
        """The guard has spoken."""
        self._mailbox.guard_reported(report, self._steady_s())

    def hear_changed(self, trajectory: Trajectory) -> None:
        """The guard has sent this in place of a plan."""
        self._mailbox.plan_replaced(trajectory)

    # orders --------------------------------------------------------------------------------------

    def deactivate(self) -> None:
        """No plan comes out after its last word."""
        timeline = self._world.timeline
        if self._permit.held:
            timeline.at(timeline.now_ns + MS // 10, self.process, self.deactivate)
            return
        self._permit.stopped = True
        self._world.judge.bade_farewell()
        self._health.set(Reason.STOPPED, self._steady_s(), level=Level.OK)
        self._tell()

    def activate(self) -> None:
        """It plans again."""
        self._permit = Permit()
        self._loop.begin()

    # turns ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        timeline = self._world.timeline
        while not self._world.guard_listens():
            timeline.sleep(LOOK_NS)
        while True:
            self._alarm.wait(timeline.now_ns + TURN_NS)
            if self._newest is not None:
                state, self._newest = self._newest.state, None
                self._observer.streams.push("joint_states", state, self._world.data_ns())
            if not self._permit.stopped:
                self._loop.turn(self._permit)
            self._world.work(0.5 + 2.0 * self._dice.random())

    def take(self) -> None:
        """What has come is pushed before every turn."""

    def unpublished(self, silent_only: bool = False) -> list[str]:
        """Somebody publishes everything."""
        return []

    def publish_latent(self) -> bool:
        """Nobody wants it."""
        return False

    def publish(self, event: PlanEvent) -> None:
        """A plan goes to the guard, a text to the run's notes, and the status with both."""
        world, motion = self._world, event.motion
        if event.error:
            world.note("policy", event.error)
        if event.send and motion is not None and motion.trajectory is not None:
            plan = self._spoilt(motion.trajectory)
            world.work(0.3)
            world.note("plan", plan)
            world.judge.planned(plan)
            world.to_guard("plans", "policy_node/plan", write_trajectory(plan))
        self._tell()

    def _spoilt(self, plan: Trajectory) -> Trajectory:
        """Now and then a plan is not what it should be; whatever it is, it is smooth."""
        dice = self._dice
        if dice.random() >= self._world.case.wild:
            return plan
        kind, arm = dice.randrange(3), plan.positions.shape[1] - 1
        if kind == 0:
            offset = np.array([dice.uniform(-0.04, 0.04) for _ in range(arm)] + [0.0])
            return replace(plan, positions=plan.positions + offset)
        if kind == 1:
            late_s = max(dice.uniform(-0.1, 0.1), -float(plan.times[0]))
            return replace(plan, times=plan.times + late_s)
        offset = np.zeros(arm + 1)
        offset[-1] = dice.uniform(-0.04, 0.04)
        low, high = -0.002, 0.042
        positions = np.clip(plan.positions + offset, [*[-9.0] * arm, low], [*[9.0] * arm, high])
        return replace(plan, positions=positions)

    def _heartbeat(self) -> None:
        now_s, now_ns = self._steady_s(), self._world.data_ns()
        jump_s = self._watch.look(now_s, now_ns, now_s)
        if jump_s is not None:
            self._loop.clock_jumped(f"by {jump_s:+.3f} s")
        self._tell()

    def _tell(self) -> None:
        report = self._health.status(self._steady_s())
        since_ns = report.values.get("plans_since_ns", "0")
        values = {"code": report.code, "plans_since_ns": since_ns}
        message = status_message("policy_node", report.level, report.text, values)
        self._world.to_guard("plans", "policy_node/status", message)

    def _steady_s(self) -> float:
        return self._world.timeline.now_ns * 1e-9
