# SPDX-License-Identifier: MIT
"""The guard's process: the real GuardNode with nothing of rclpy beneath it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from rclpy.clock import ClockType
from rclpy.node import Node
from rclpy.qos import ReliabilityPolicy

from difftori_ros.nodes import guard_node, guard_publisher
from difftori_ros.robot import kinematics
from difftori_ros.robot.kinematics import Kinematics
from difftori_ros.robot.profile import RobotProfile, load_profile
from tests.support.virtual.clock import MS, Process
from tests.support.virtual.node import VirtualNode
from tests.support.virtual.ros import Machine, Named, Reader, Socket, VirtualClock

if TYPE_CHECKING:
    from tests.support.virtual.world import World

NAME = "guard_node"
JUDGE_MS, PREPARE_MS, JOIN_MS = 3.0, 0.4, 0.2
"""What it takes at no load to judge a plan, to encode it, and to ask whether it joins."""
FOUND_NS = 100 * MS
"""Time that it takes to find a new node in the graph [ns]."""
LATCH_MS = 0.3
"""What it takes at no load to write a small file."""
START_MS = 30.0
"""From the process's start to the node's at no load."""

profile_of = functools.cache(load_profile)
_kinematics: dict[str, Kinematics] = {}


def kinematics_of(profile: RobotProfile) -> Kinematics:
    """Kinematics of a profile, made once: reading a URDF takes longer than a run."""
    if profile.name not in _kinematics:
        _kinematics[profile.name] = Kinematics(profile)
    return _kinematics[profile.name]


@contextmanager
def without_rclpy(world: World) -> Iterator[None]:
    """Nodes made within need no rclpy, and find the world's clock and parameters."""

    def declare(node: Any, parameters: Any) -> dict[str, Any]:
        return {one.name: one.default for one in parameters} | dict(world.case.guard)

    replaced = {
        (Node, "__init__"): lambda self, *_, **__: None,
        (guard_node, "declare"): declare,
        (guard_node, "Clock"): lambda clock_type: world.making.clock(clock_type),
        (guard_node, "apply_realtime"): lambda *_: [],
        (guard_node, "load_profile"): profile_of,
        (guard_node, "PolledSubscription"): VirtualPolled,
        (guard_publisher, "LatchFile"): lambda path: VirtualLatch(world.making, path),
        (kinematics, "Kinematics"): kinematics_of,
    }
    with ExitStack() as stack:
        for (owner, name), value in replaced.items():
            stack.enter_context(patch.object(owner, name, value))
        yield


class VirtualPolled:
    """A subscription whose messages wait in its reader until they are taken."""

    def __init__(self, node: VirtualGuardNode, kind: Any, topic: str, qos: Any):
        self._reader = Reader(topic, None, qos.depth)
        node.machine.readers.append(self._reader)

    def take(self) -> list[bytes]:
        """What has come since the last time."""
        taken = [measured.raw for measured in self._reader.history]
        self._reader.history.clear()
        return taken


class VirtualLatch:
    """What is latched, on a disk that outlives the process; writing to it takes time."""

    def __init__(self, guard: VirtualGuard, path: Path):
        self._guard, self.path = guard, path
        self._kept: Any = None

    def read(self) -> Any:
        """What an earlier process has held."""
        self._kept = self._guard.world.disk.get(self.path)
        return self._kept

    def keep(self, latched: Any) -> None:
        """The disk says what is latched."""
        if latched != self._kept:
            self._guard.machine.work(LATCH_MS)
            self._kept = self._guard.world.disk[self.path] = latched


class VirtualGuardNode(VirtualNode, guard_node.GuardNode):
    """The real node on a machine that is only computed; its steps take virtual time."""

    def __init__(self, guard: VirtualGuard):
        self._virtual, self.machine = guard, guard.machine
        super().__init__()
        work, inner = guard.machine.work, self._guard
        judge, joins, settle = inner.judge, inner.joins, inner.settle
        prepare = self._prepare

        def slow_judge(plan: Any, now_ns: int) -> Any:
            judged = judge(plan, now_ns)
            work(JUDGE_MS)
            return judged

        def slow_joins(judged: Any, now_ns: int) -> Any:
            refusal = joins(judged, now_ns)
            work(JOIN_MS)
            return refusal

        def noted_settle(judged: Any, now_ns: int, refusal: Any) -> Any:
            verdict = settle(judged, now_ns, refusal)
            guard.world.note("verdict", now_ns, verdict)
            guard.world.judge.verdict(verdict.accepted)
            return verdict

        def slow_prepare(channels: Any) -> Any:
            work(PREPARE_MS)
            return prepare(channels)

        inner.judge, inner.joins, inner.settle = slow_judge, slow_joins, noted_settle
        self._prepare = slow_prepare  # type: ignore[method-assign]

    def create_subscription(
        self, kind: Any, topic: str, callback: Any, qos: Any, raw: bool = False
    ) -> Any:
        """A reader of that depth; orders are judged as well."""
        if qos.reliability is ReliabilityPolicy.RELIABLE:
            callback = self._virtual.judged(topic, callback)
        reader = Reader(topic, callback, qos.depth)
        self.machine.readers.append(reader)
        return reader

    def create_service(self, kind: Any, topic: str, callback: Any) -> Any:
        """A service that the world can call."""
        self._virtual.services[topic] = self._virtual.judged(topic, callback)

    def get_parameter(self, name: str) -> Any:
        """Simulated time is off."""
        return type("Value", (), {"value": False})

    def keep(self, text: str) -> None:
        """Its words stand in the story."""
        self._virtual.world.note("log", text)

    def get_name(self) -> str:
        """Every guard has the same."""
        return NAME

    def get_publishers_info_by_topic(self, topic: str) -> Any:
        """All guards that are known by now, and whoever else commands the arm."""
        world = self._virtual.world
        return [Named(NAME)] * world.guards_known(self._virtual) + world.strangers

    def get_subscriptions_info_by_topic(self, topic: str) -> Any:
        """The controller, while it is there and once it is discovered."""
        there = self._virtual.world.controlled and self._virtual.knows("controller")
        return [Named("controller")] if there else []


class VirtualGuard:
    """One process of the guard, from its start to its end.

    Attributes:
        world: Where it lives.
        process: What is stopped or killed.
        machine: Its executor.
        node: The node, once it is made.
        services: What can be called.
        arrive: A message has come: its topic, itself, and whether it was sent reliably.
        born_ns: When it was started [ns].
        made_ns: When its node was there [ns].
    """

    def __init__(self, world: World, settled: bool = False):
        """Start it; `settled` when everybody knows it from the beginning."""
        self.world, self.process = world, Process("guard")
        self.machine = Machine(
            world.timeline,
            self.process,
            world.work,
            lambda: world.offset_ns,
            functools.partial(world.from_guard, self),
            world.case.by_arrival,
        )
        self.node: VirtualGuardNode | None = None
        self.services: dict[str, Any] = {}
        self.born_ns, self.made_ns, self._settled = world.timeline.now_ns, 0, settled
        self._socket = Socket(self.machine, world.drain_ns)
        self.arrive = self._socket.arrive
        world.timeline.spawn(self.process, self._run)

    def clock(self, clock_type: Any) -> VirtualClock:
        """A clock of this process."""
        return VirtualClock(self.machine, clock_type is ClockType.STEADY_TIME)

    def knows(self, what: str) -> bool:
        """Whether discovery has gone as far."""
        k = ("plans", "joints", "words", "controller").index(what)
        since_ms = (self.world.timeline.now_ns - self.born_ns) * 1e-6
        return self._settled or since_ms >= self.world.case.discover_ms[k]

    def listens(self) -> bool:
        """Whether somebody who looks for it finds that it hears plans."""
        since_ns = self.world.timeline.now_ns - self.made_ns
        found_ns = FOUND_NS + round(2.0 * self.world.case.joints_ms * MS)
        return self.node is not None and self.knows("plans") and since_ns > found_ns

    def call(self, service: str, request: Any, hear: Callable[[Any], object] = id) -> None:
        """A request has come; `hear` gets the answer. Without one a client does not ask again."""
        if service in self.services:
            self.machine.request(lambda: hear(self.services[service](request)))

    def judged(self, topic: str, callback: Any) -> Any:
        """The callback, with the judge told before and after."""

        def call(message: Any) -> Answer:
            begun_ns, answer = self.world.data_ns(), Answer()
            if topic.startswith("~/"):
                callback(message, answer)
            else:
                callback(message)
            self.world.judge.ordered(self, topic, message, answer.success, begun_ns)
            return answer

        return call if topic in ORDERS else callback

    def terminate(self) -> None:
        """SIGTERM: it brakes, says so, and ends."""

        def end() -> None:
            if self.node is not None:
                self.node.stop()
            self.process.kill()
            self.world.timeline.leave()

        self.machine.request(end)

    def _run(self) -> None:
        self.machine.work(START_MS)
        self.world.making = self
        self.node, self.made_ns = VirtualGuardNode(self), self.world.timeline.now_ns
        self.machine.spin(self._on_exception)

    def _on_exception(self, error: Exception) -> None:
        self.world.judge.raised(error)
        assert self.node is not None
        self.node.on_exception(error)


class Answer:
    """What a service answers."""

    success, message = False, ""


ORDERS = ("~/reset", "~/pause", "emergency_stop", "policy_node/status")
"""Where orders to the guard come from."""
