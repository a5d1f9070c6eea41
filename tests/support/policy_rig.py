# SPDX-License-Identifier: MIT
"""A policy loop with a planner of any fault and a clock that the test moves."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from difftori_models.contract.specs import PlanStatus
from difftori_ros.config.parameters import POLICY
from difftori_ros.observation import FrameTree, Observer
from difftori_ros.policy.interfaces import Clocks
from difftori_ros.policy.loop import PolicyLoop
from difftori_ros.policy.mailbox import Mailbox
from difftori_ros.policy.open_policy import Source
from difftori_ros.policy.pipeline import PlanPipeline
from difftori_ros.policy.planner_thread import PlannerThread
from difftori_ros.policy.runner import PolicyRunner
from difftori_ros.policy.scripted import ScriptedPlanner
from difftori_ros.policy.start_gate import StartGate
from difftori_ros.robot.kinematics import Kinematics
from difftori_ros.robot.profile import load_profile
from difftori_ros.status.guard_report import GuardReport, PlanVerdict
from difftori_ros.status.health import Health
from difftori_ros.types import GuardState, JointState, Reason

PANDA = load_profile("panda")
ARM = Kinematics(PANDA)
HOME = np.append(PANDA.home, 0.04)
MS = 1_000_000
PERIOD_NS = 100 * MS
LIMIT_S = 20.0


class FaultyPlanner(ScriptedPlanner):
    """Holds the pose, with the fault that the test gives it."""

    def __init__(self):
        super().__init__(PANDA)
        self.status, self.error, self.resets = PlanStatus.BASE, None, 0
        self.hang: threading.Event | None = None
        self.hanging = threading.Event()

    def reset(self, seed):
        super().reset(seed)
        self.resets += 1

    def plan(self, observation, deadline_s=None):
        if self.hang is not None:
            self.hanging.set()
            assert self.hang.wait(LIMIT_S)
        if self.error is not None:
            raise self.error
        return replace(super().plan(observation, deadline_s), status=self.status)


class Rig:
    """A loop with a clock that the test moves."""

    def __init__(self, tolerance_rad=0.0, after_stops=False, **values):
        self.now_ns, self.steady_s = 5_000_000_000, time.monotonic
        self.values = {one.name: one.default for one in POLICY} | values
        self.planner, self.made = FaultyPlanner(), []
        self.fail_to_make: Exception | None = None
        source = Source(self.planner, Path("faulty"), "", "", self._make)
        card = self.planner.card
        self.observer = Observer(card.observation, PANDA, ARM, FrameTree())
        self.pipeline = PlanPipeline(self.planner, PANDA, ARM)
        self.health = Health()
        self.sent, self.motions, self.log, self.received = [], [], [], []
        self.told = threading.Semaphore(0)
        self.mailbox, self.waiting = Mailbox(), []
        gate = StartGate(
            PANDA.arm_joints, PANDA.home, tolerance_rad, "home pose", after_stops=after_stops
        )
        self.loop = PolicyLoop(
            self.values,
            source,
            self.pipeline,
            self.observer,
            gate,
            self.health,
            self.mailbox,
            self,
            self,
            Clocks(lambda: self.now_ns, lambda: self.steady_s()),
        )
        self.runner = PolicyRunner(self.loop, self.mailbox)
        self.thread = PlannerThread(self.loop, self.mailbox.news)

    def publish(self, event):
        """What comes out of the loop is kept."""
        if event.error:
            self.log.append(event.error)
        if event.motion is None:
            self.received.append(self.code)
            self.told.release()
            return
        self.motions.append(event.motion)
        if event.send and event.motion.trajectory is not None:
            self.sent.append(event.motion.trajectory)

    def publish_latent(self):
        """Nobody wants it."""
        return False

    def take(self):
        """What waits comes in, one thing at a time."""
        if self.waiting:
            self.waiting.pop()()

    def unpublished(self, silent_only=False):
        """Somebody publishes everything."""
        return []

    def guard(self, state, accepted_ns=None):
        """The guard says its state, and which plan it has accepted."""
        verdict = accepted_ns and PlanVerdict(accepted_ns, True, Reason.OK)
        report = GuardReport(GuardState[state], Reason.OK, verdict=verdict)
        self.mailbox.guard_reported(report, self.steady_s())

    def _make(self):
        if self.fail_to_make is not None:
            raise self.fail_to_make
        self.made.append(FaultyPlanner())
        return self.made[-1]

    def see(self, position=HOME):
        """One period later the joints are measured."""
        self.now_ns += PERIOD_NS
        state = JointState(self.now_ns, PANDA.joint_names, np.array(position), np.zeros(8))
        self.observer.streams.push("joint_states", state, self.now_ns)

    def turn(self, position=HOME):
        """See, and take one turn in this thread."""
        self.see(position)
        self.loop.turn(self.thread)
        return self.code

    @property
    def status(self):
        return self.health.status(time.monotonic())

    @property
    def code(self):
        return self.status.code

    def until(self, done):
        """Let the loop's own thread work, with new joints, until `done()`."""
        end = time.monotonic() + LIMIT_S
        while not done():
            self.see()
            self.runner.watch()
            self.mailbox.wake()
            self.told.acquire(timeout=0.02)
            assert time.monotonic() < end, (self.code, self.log[-1:])
