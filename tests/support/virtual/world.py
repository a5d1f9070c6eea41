# SPDX-License-Identifier: MIT
"""One run: policy, guard, arm and network on one virtual clock, and what is done to them."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from std_msgs.msg import Bool
from std_srvs.srv import SetBool, Trigger

from difftori_ros import codecs
from difftori_ros.codecs.serialized_trajectory import read_trajectory
from difftori_ros.robot.profile import RobotProfile
from difftori_ros.status.guard_report import GuardReport
from tests.support.virtual.arm import Measured, VirtualArm
from tests.support.virtual.cases import Case
from tests.support.virtual.clock import BEGIN_NS, MS, Process, Timeline
from tests.support.virtual.guard import VirtualGuard, kinematics_of, profile_of, without_rclpy
from tests.support.virtual.judge import Judge, Tally
from tests.support.virtual.policy import VirtualPolicy
from tests.support.virtual.ros import Named

ROBOT = "panda"
STALL = 0.002
"""Chance that something else gets the core for a while, for every step at load 1."""
STALL_MS = 20.0
"""Longest such while at load 1."""


class Link:
    """A way through the network: messages arrive late, in order, or not at all.

    Attributes:
        blocked_until_ns: Nothing arrives before that.
        loses: What is sent meanwhile is lost, unless it is sent reliably.
    """

    def __init__(self, world: World, delay_ms: float, lose: float):
        self._world, self._delay_ms, self._lose = world, delay_ms, lose
        self._last_ns = self.blocked_until_ns = 0
        self.loses = False

    def send(self, deliver: Callable[[], object], reliable: bool = False) -> None:
        """`deliver` happens when the message arrives, if it does."""
        dice, timeline = self._world.dice, self._world.timeline
        blocked = timeline.now_ns < self.blocked_until_ns
        if not reliable and (dice.random() < self._lose or (blocked and self.loses)):
            return
        ms = self._delay_ms * (1.0 + 0.3 * dice.random()) + 0.2 * dice.random()
        sent_ns = self.blocked_until_ns if blocked else timeline.now_ns
        self._last_ns = max(sent_ns + round(ms * MS), self._last_ns)
        timeline.at(self._last_ns, self._world.network, deliver)


class World:
    """Everything of one run.

    Attributes:
        case: What the run is a function of.
        timeline: The virtual clock.
        dice: All that is random in it.
        judge: Looks at what comes out.
        notes: What has happened: time [ns], what, and more.
        offset_ns: The clock of the stamps is ahead of the virtual one by this [ns].
        disk: What outlives a process.
        guards: All that were ever started.
        making: The guard whose node is being made.
        policy: The one that was started last, if any.
        controlled: Whether the arm's controllers are there.
        strangers: Other nodes that publish commands.
    """

    making: VirtualGuard

    def __init__(self, case: Case):
        self.case, self.timeline, self.dice = case, Timeline(), random.Random(case.seed)
        self.profile: RobotProfile = profile_of(ROBOT)
        self.kinematics = kinematics_of(self.profile)
        self.notes: list[tuple[Any, ...]] = []
        self.offset_ns = 0
        self.disk: dict[Any, Any] = {}
        self.network, self._hardware = Process("network"), Process("arm")
        self._spike, self._spike_until_ns = 1.0, 0
        self.judge = Judge(self)
        self.arm = VirtualArm(self.profile)
        self._joints = [Link(self, case.joints_ms, case.lose_joints) for _ in range(2)]
        self._plans = Link(self, case.plans_ms, case.lose_plans)
        self._words = Link(self, case.plans_ms, case.lose_words)
        self._commands = Link(self, 0.5, 0.0)
        self.guards: list[VirtualGuard] = []
        self.policy: Any = None
        self.controlled = True
        self.strangers: list[Named] = []
        self._faulty_since_ns: int | None = None

    @property
    def guard(self) -> VirtualGuard:
        """The one that was started last."""
        return self.guards[-1]

    def run(self) -> Tally:
        """Let the case happen; returns what it came to."""
        with without_rclpy(self):
            self.begin()
            for at_ms, what, given in self.case.events:
                call = partial(self._happen, what, given)
                self.timeline.at(BEGIN_NS + round(at_ms * MS), self.network, call)
            try:
                self.timeline.run(round(self.case.end_ms * MS))
            finally:
                self.timeline.close()
        return self.judge.tally

    def begin(self) -> None:
        """Everything is started."""
        self._start_guard(settled=True)
        self.policy = self.make_policy()
        period_ns = round(1e9 / self.case.joint_hz)
        self.timeline.every(period_ns, self._hardware, self.measure)

    def make_policy(self) -> Any:
        """Another process of the policy."""
        return VirtualPolicy(self)

    def note(self, what: str, *more: Any) -> None:
        """Something has happened."""
        self.notes.append((self.timeline.now_ns, what, *more))

    def data_ns(self) -> int:
        """The clock of the stamps [ns]."""
        return self.timeline.now_ns + self.offset_ns

    def work(self, ms: float) -> None:
        """The actor that calls this has work for about so long, and may be kept waiting [ms]."""
        load, dice = self.case.load, self.dice
        if self.timeline.now_ns < self._spike_until_ns:
            load *= self._spike
        ms *= 0.5 + load * dice.random()
        if dice.random() < STALL * load * 0.1:
            ms += STALL_MS * load * dice.random() ** 3
        self.timeline.sleep(round(ms * MS))

    # what goes to and fro ------------------------------------------------------------------------

    def drain_ns(self) -> int:
        """Time that a receiving thread takes for the next message [ns]."""
        ms = self.case.drain_ms * (0.2 + 1.6 * self.dice.random())
        return round(ms * 1e6)

    def measure(self) -> None:
        """Joint states leave the arm."""
        measured = Measured(self.data_ns(), self.arm, self.timeline.now_ns)
        self._joints[0].send(partial(self._to_guards, "joint_states", measured, False))
        self._joints[1].send(partial(self._to_policy, "hear_joints", measured))

    def to_guard(self, link: str, topic: str, message: Any) -> None:
        """The policy sends something to the guard."""
        words = topic.endswith("status")
        self._plans.send(partial(self._to_guards, topic, message, True), reliable=words)

    def _to_guards(self, topic: str, message: Any, reliable: bool) -> None:
        what = "joints" if topic == "joint_states" else "plans"
        for guard in self.guards:
            if guard.process.alive and guard.knows(what):
                guard.arrive(topic, message, reliable)

    def _to_policy(self, method: str, *given: Any) -> None:
        policy = self.policy
        if policy is not None and policy.process.alive:
            hear = partial(getattr(policy, method), *given)
            self.timeline.at(self.timeline.now_ns, policy.process, hear)

    def guards_alive(self) -> int:
        """How many guards there are."""
        return sum(one.process.alive for one in self.guards)

    def guard_listens(self) -> bool:
        """Whether a guard is there that hears plans."""
        guards = [one for one in self.guards if one.process.alive]
        return any(one.listens() for one in guards)

    def guards_known(self, by: VirtualGuard) -> int:
        """How many guards one of them sees: itself, and those that others have discovered."""
        others = [one for one in self.guards if one is not by and one.process.alive]
        return 1 + sum(one.knows("words") and by.knows("words") for one in others)

    def from_guard(self, guard: VirtualGuard, topic: str, message: Any) -> None:
        """A guard has published something."""
        unclosed = guard.machine.held_up()
        if topic.endswith("joint_trajectory"):
            command = read_trajectory(message)
            self.note("command", command)
            self.judge.commanded(guard, command, unclosed)
            take = partial(self.arm.take, command, self.offset_ns)
            self._commands.send(take, reliable=True)
        elif topic.endswith("/commands"):
            self._stream(guard, np.array(message.data), unclosed)
        elif topic == "~/status":
            report = GuardReport.from_status(message)
            self.note("status", report.state.name, report.reason.name, report.sentence)
            self.judge.said(guard, report)
            self._operate(report.state.name)
            if guard.knows("words"):
                self._words.send(partial(self._to_policy, "hear_status", report))
        elif topic == "~/changed":
            changed = codecs.decode_trajectory(message)
            self.note("changed", changed)
            if guard.knows("words"):
                self._words.send(partial(self._to_policy, "hear_changed", changed))

    def _stream(self, guard: VirtualGuard, wanted: np.ndarray, unclosed: bool) -> None:
        n = len(self.profile.arm_joints)
        of_arm = len(wanted) == n
        if of_arm:
            self.note("set", wanted)
            self.judge.streamed(guard, wanted, unclosed)
        columns = slice(0, n) if of_arm else slice(n, n + 1)
        take = partial(self._take_positions, columns, wanted)
        self._commands.send(take, reliable=True)

    def _take_positions(self, columns: slice, wanted: np.ndarray) -> None:
        self.arm.take_positions(columns, wanted, self.timeline.now_ns)

    def _operate(self, state: str) -> None:
        """Somebody resets a fault after a while, if there is somebody."""
        if not self.case.operator_ms:
            return
        if state != "FAULT":
            self._faulty_since_ns = None
        elif self._faulty_since_ns is None:
            self._faulty_since_ns = self.timeline.now_ns
        elif self.timeline.now_ns - self._faulty_since_ns > self.case.operator_ms * MS:
            self._faulty_since_ns = None
            self.timeline.at(
                self.timeline.now_ns, self.network, partial(self._happen, "reset", ())
            )

    # what is done to them ------------------------------------------------------------------------

    def _happen(self, what: str, given: tuple[Any, ...]) -> None:
        self.note("event", what, *given)
        getattr(self, f"do_{what}")(*given)

    def _of(self, whom: str) -> Process | None:
        one = self.policy if whom == "policy" else (self.guards[-1] if self.guards else None)
        return one.process if one is not None and one.process.alive else None

    def do_stop(self, whom: str, for_ms: float) -> None:
        """SIGSTOP, and SIGCONT after a while."""
        if process := self._of(whom):
            process.stop(self.timeline.now_ns + round(for_ms * MS))

    def do_fuse(self, whom: str, for_ms: float, steps: int) -> None:
        """SIGSTOP after so many further steps of the process, wherever that is."""
        if process := self._of(whom):
            process.fuse = steps

            def burn() -> None:
                self.note("event", "stop", whom, for_ms)
                process.stop(self.timeline.now_ns + round(for_ms * MS))

            process.burn = burn

    def do_kill(self, whom: str, for_ms: float) -> None:
        """SIGKILL, and after a while it is started again."""
        if process := self._of(whom):
            process.kill()
            self._later(for_ms, whom)

    def do_terminate(self, whom: str, for_ms: float) -> None:
        """The guard is told to end, and started again after that and a while."""
        if self._of(whom):
            self.guards[-1].terminate()
            self._later(600.0 + for_ms, whom)

    def _later(self, for_ms: float, whom: str) -> None:
        start = partial(self._happen, "start", (whom,))
        self.timeline.at(self.timeline.now_ns + round(for_ms * MS), self.network, start)

    def do_start(self, whom: str) -> None:
        """It is started again, unless somebody has done so already."""
        if self._of(whom):
            return
        if whom == "policy":
            self.policy = self.make_policy()
            return
        self._start_guard()

    def do_twin(self, stopped_ms: float) -> None:
        """The guard hangs, somebody starts another, and the first one goes on."""
        if process := self._of("guard"):
            process.stop(self.timeline.now_ns + round(stopped_ms * MS))
            self._start_guard()

    def _start_guard(self, settled: bool = False) -> None:
        guard = VirtualGuard(self, settled)
        self.judge.born(guard)
        self.guards.append(guard)

    def do_farewell(self, for_ms: float) -> None:
        """The policy is deactivated for a while."""
        policy = self.policy
        if policy is not None and policy.process.alive:
            now_ns = self.timeline.now_ns
            self.timeline.at(now_ns, policy.process, policy.deactivate)
            self.timeline.at(now_ns + round(for_ms * MS), policy.process, policy.activate)

    def do_outage(self, link: str, for_ms: float, loses: bool) -> None:
        """The network hangs: what is sent arrives at its end, or is lost."""
        links = {
            "joints": self._joints,
            "guard_joints": self._joints[:1],
            "plans": [self._plans],
            "words": [self._words],
        }
        for one in links[link]:
            one.blocked_until_ns, one.loses = self.timeline.now_ns + round(for_ms * MS), loses

    def do_spike(self, for_ms: float, factor: float) -> None:
        """The machine is busy for a while."""
        self._spike, self._spike_until_ns = factor, self.timeline.now_ns + round(for_ms * MS)

    def do_clock(self, step_ms: float) -> None:
        """Somebody sets the clock of the stamps."""
        self.offset_ns += round(step_ms * MS)
        self.judge.clock_set()

    def do_estop(self, pressed: bool) -> None:
        """The emergency stop is pressed or released."""
        for guard in self.guards:
            if guard.process.alive:
                guard.arrive("emergency_stop", Bool(data=pressed), True)

    def do_pause(self, wanted: bool) -> None:
        """Somebody pauses the guard or resumes it."""
        self._call("~/pause", SetBool.Request(data=wanted))

    def do_reset(self) -> None:
        """Somebody resets the guard."""
        self._call("~/reset", Trigger.Request())

    def _call(self, service: str, request: Any) -> None:
        for guard in self.guards:
            if guard.process.alive:
                guard.call(service, request)


def run(case: Case) -> World:
    """The world after a case has happened in it."""
    world = World(case)
    world.run()
    return world
