# SPDX-License-Identifier: MIT
"""A policy loop with a planner of any mood and a clock that the test moves."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from difftori_models.contract.specs import PlanStatus
from difftori_ros.config.parameters import POLICY
from difftori_ros.observation import Observer
from difftori_ros.observation.frame_tree import FrameTree
from difftori_ros.policy.loop import PolicyLoop, Ports
from difftori_ros.policy.open_policy import Source
from difftori_ros.policy.pipeline import PlanPipeline
from difftori_ros.policy.planner_thread import PlannerThread
from difftori_ros.policy.scripted import ScriptedPlanner
from difftori_ros.policy.start_gate import StartPose
from difftori_ros.robot.kinematics import Kinematics
from difftori_ros.robot.profile import load_profile
from difftori_ros.status.health import Health
from difftori_ros.types import JointState

PANDA = load_profile("panda")
ARM = Kinematics(PANDA)
HOME = np.append(PANDA.home, 0.04)
MS = 1_000_000
PERIOD_NS = 100 * MS
LIMIT_S = 20.0


class Moody(ScriptedPlanner):
    """Holds the pose, in the mood that the test gives it."""

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
        self.planner, self.made = Moody(), []
        self.fail_to_make: Exception | None = None
        source = Source(self.planner, Path("faulty"), "", "", self._make)
        card = self.planner.card
        self.observer = Observer(card.observation, PANDA, ARM, FrameTree())
        self.pipeline = PlanPipeline(self.planner, PANDA, ARM)
        self.health = Health()
        self.sent, self.motions, self.log, self.received = [], [], [], []
        self.told = threading.Semaphore(0)
        ports = Ports(
            lambda: self.now_ns,
            lambda: self.steady_s(),
            self._deliver,
            lambda: None,
            self._tell,
            self.log.append,
        )
        start = StartPose(
            PANDA.arm_joints, PANDA.home, tolerance_rad, "home pose", after_stops=after_stops
        )
        self.loop = PolicyLoop(
            self.values, source, self.pipeline, self.observer, start, self.health, ports
        )
        self._worker = PlannerThread(lambda worker: None, self.loop.turn)

    def _tell(self):
        self.received.append(self.code)
        self.told.release()

    def _make(self):
        if self.fail_to_make is not None:
            raise self.fail_to_make
        self.made.append(Moody())
        return self.made[-1]

    def _deliver(self, observation, motion, send):
        self.motions.append(motion)
        if send and motion.trajectory is not None:
            self.sent.append(motion.trajectory)

    def see(self, position=HOME):
        """One period later the joints are measured."""
        self.now_ns += PERIOD_NS
        state = JointState(self.now_ns, PANDA.joint_names, np.array(position), np.zeros(8))
        self.observer.streams.push("joint_states", state, self.now_ns)

    def turn(self, position=HOME):
        """See, and take one turn in this thread."""
        self.see(position)
        self.loop.turn(self._worker)
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
            self.loop.watch()
            self.loop.wake()
            self.told.acquire(timeout=0.02)
            assert time.monotonic() < end, (self.code, self.log[-1:])
