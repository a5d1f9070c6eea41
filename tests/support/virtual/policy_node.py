# SPDX-License-Identifier: MIT
"""The policy's process whole: the real PolicyNode with its planner's threads, and nothing of rclpy
beneath it; only the network is left out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
from rclpy.clock import ClockType
from rclpy.lifecycle import LifecycleNode

from difftori_models.checkpoint import load_card
from difftori_models.contract.specs import Observation, Plan
from difftori_ros.config.paths import find_checkpoint
from difftori_ros.nodes import policy_inputs, policy_node, status_publisher
from difftori_ros.nodes.node_base import status_message, trajectory_message
from difftori_ros.policy import mailbox, planner_thread
from difftori_ros.policy.open_policy import Source
from difftori_ros.policy.scripted import ScriptedPlanner
from difftori_ros.status.guard_report import GuardReport
from difftori_ros.types import Trajectory
from tests.support import injected_faults
from tests.support.virtual.clock import MS, Process
from tests.support.virtual.guard import Answer, kinematics_of, profile_of
from tests.support.virtual.node import VirtualNode
from tests.support.virtual.ros import (
    Machine,
    Named,
    Reader,
    Socket,
    VirtualClock,
    VirtualPublisher,
)
from tests.support.virtual.threads import VirtualThreads

if TYPE_CHECKING:
    from tests.support.virtual.fault_world import FaultWorld

LOOK_NS = 20 * MS
"""Time between two looks at whether anybody listens to plans [ns]."""
MAKE_MS = 200.0
"""What it takes at no load to load a network and warm it up."""
LIFT = np.array([0.0, 0.0, 0.2])
"""The tip is to be that far from what is seen [m]."""
STEP_M = 0.015
"""The tip's greatest step with one action, along each axis [m]."""
HEARD = ("~/plan", "~/status")
"""What somebody listens to."""


class Reacher(ScriptedPlanner):
    """Sees and acts by a checkpoint's card, and reaches for the cube without its network."""

    def __init__(self, world: FaultWorld, checkpoint: str):
        super().__init__(world.profile)
        self._world, self.card = world, load_card(find_checkpoint(checkpoint))

    def plan(self, observation: Observation, deadline_s: float | None = None) -> Plan:
        """Towards a place above the cube; the gripper opens and closes."""
        timeline, began_ns = self._world.timeline, self._world.timeline.now_ns
        made = super().plan(observation, deadline_s)
        self._world.work(self._world.case.plan_ms)
        points, names = observation.points, self.card.action.names
        cube = observation.poses["object"] if points is None else points.mean(axis=0)
        gap = cube[:3] + LIFT - observation.poses["tip"][:3]
        actions = np.zeros((self.card.action.horizon, len(names)))
        actions[:, :3] = np.clip(0.5 * gap, -STEP_M, STEP_M)
        actions[:, 3] = 1.0 if observation.stamp_ns * 1e-9 % 1.1 < 0.6 else -1.0
        elapsed_s = (timeline.now_ns - began_ns) * 1e-9
        return replace(made, actions=actions, elapsed_s=elapsed_s)


class PolledJoints:
    """A subscription whose messages wait, with the times of their coming, until they are taken."""

    def __init__(self, node: VirtualPolicyNode, kind: Any, topic: str, qos: Any):
        self._reader = Reader(topic, None, qos.depth)
        node.machine.readers.append(self._reader)

    def take_timed(self) -> list[tuple[bytes, int]]:
        """What has come since the last time; when, nobody knows."""
        taken = [(message.raw, 0) for message in self._reader.history]
        self._reader.history.clear()
        return taken

    take = take_timed


class PolicyPublisher(VirtualPublisher):
    """One of the policy's publishers."""

    def get_subscription_count(self) -> int:
        """Whether somebody listens."""
        return int(self.topic in HEARD)


class VirtualPolicyNode(VirtualNode, policy_node.PolicyNode):
    """The real node on a machine that is only computed."""

    def __init__(self, host: PolicyProcess):
        self._host, self.machine = host, host.machine
        super().__init__()

    def create_publisher(self, kind: Any, topic: str, qos: Any) -> Any:
        """A publisher whose messages reach the world."""
        return PolicyPublisher(self.machine, topic)

    def create_subscription(self, kind: Any, topic: str, callback: Any, qos: Any, **_: Any) -> Any:
        """A reader, of the depth that is asked for."""
        reader = Reader(topic, callback, getattr(qos, "depth", qos))
        self.machine.readers.append(reader)
        return reader

    def create_service(self, kind: Any, topic: str, callback: Any) -> Any:
        """A service that the world can call."""
        self._host.services[topic] = callback

    def get_parameter(self, name: str) -> Any:
        """What was given, or the default."""
        return Parameter(self._host.values.get(name, False))

    def get_name(self) -> str:
        """As in the graph."""
        return "policy_node"

    def resolve_topic_name(self, topic: str) -> str:
        """All of them lie at the root."""
        return f"/{topic}"

    def count_publishers(self, topic: str) -> int:
        """Everything is published by somebody."""
        return 1

    def get_subscriptions_info_by_topic(self, topic: str) -> Any:
        """The guard, once it is found."""
        return [Named("guard_node")] if self._host.world.guard_listens() else []

    def keep(self, text: str) -> None:
        """It can be read afterwards."""
        self._host.log.append(text)


class Parameter:
    """A parameter's value, in the ways in which it is asked for."""

    def __init__(self, value: Any):
        self.value = self.string_value = value

    def get_parameter_value(self) -> Parameter:
        """What has the value as a string."""
        return self


class PolicyProcess:
    """One process of the policy, from its start on.

    Attributes:
        world: Where it lives.
        process: What is stopped or killed.
        machine: Its executor.
        values: Its parameters.
        services: What can be called.
        log: What it has written to its log.
    """

    def __init__(self, world: FaultWorld, checkpoint: str, values: dict[str, Any]):
        self.world, self.process, self.log = world, Process("policy"), list[str]()
        self.values = {one.name: one.default for one in policy_node.POLICY} | values
        self.services: dict[str, Any] = {}
        self._checkpoint = checkpoint
        self.machine = Machine(
            world.timeline,
            self.process,
            world.work,
            lambda: world.offset_ns,
            world.from_policy,
            by_arrival=True,
        )
        self.arrive = Socket(self.machine, world.drain_ns).arrive
        world.timeline.spawn(self.process, self._run)

    def call(self, service: str, request: Any, hear: Any) -> None:
        """A request has come; `hear` gets the answer."""
        callback = self.services[service]
        self.machine.request(lambda: hear(callback(request, Answer())))

    def hear_status(self, report: GuardReport) -> None:
        """The guard's status has come."""
        message = status_message("guard_node", *report.to_status())
        self.arrive("guard_node/status", message, True)

    def hear_changed(self, trajectory: Trajectory) -> None:
        """The guard has sent this in place of a plan."""
        self.arrive("guard_node/changed", trajectory_message(trajectory), True)

    def open(self, *_: Any) -> Source:
        """Where the plans come from."""
        where = find_checkpoint(self._checkpoint)
        return Source(self._make(), where, "", "", self._make_late)

    def _make(self) -> Any:
        planner = Reacher(self.world, self._checkpoint)
        return injected_faults.FaultyPlanner(planner, lambda: self.world.planner_fault)

    def _make_late(self) -> Any:
        self.world.work(MAKE_MS)
        return self._make()

    def _run(self) -> None:
        while not self.world.guard_listens():
            self.world.timeline.sleep(LOOK_NS)
        node = VirtualPolicyNode(self)
        node.configure()
        node.activate()
        self.machine.spin(node.on_exception)


@contextmanager
def with_policy(world: FaultWorld) -> Iterator[None]:
    """Policy nodes made within need no rclpy, and their threads are actors."""

    def nothing(*_: Any, **__: Any) -> None:
        """Not needed here."""

    def clock(clock_type: Any) -> VirtualClock:
        return VirtualClock(world.policy.machine, clock_type is ClockType.STEADY_TIME)

    threads = VirtualThreads(world.timeline, world.policy.process)
    replaced = {
        (LifecycleNode, "__init__"): nothing,
        (policy_node, "declare"): lambda *_: world.policy.values,
        (policy_node, "let_change"): nothing,
        (policy_node, "leave_memory_alone"): nothing,
        (policy_node, "apply_realtime"): lambda *_: [],
        (policy_node, "Clock"): clock,
        (policy_node, "open_policy"): lambda *_: world.policy.open(),
        (policy_node, "load_profile"): profile_of,
        (policy_node, "Kinematics"): kinematics_of,
        (policy_inputs, "PolledSubscription"): PolledJoints,
        (policy_inputs, "threading"): threads,
        (status_publisher, "threading"): threads,
        (mailbox, "threading"): threads,
        (planner_thread, "threading"): threads,
        (planner_thread, "time"): threads,
        (injected_faults, "threading"): threads,
    }
    with ExitStack() as stack:
        for (owner, name), value in replaced.items():
            stack.enter_context(patch.object(owner, name, value))
        yield
