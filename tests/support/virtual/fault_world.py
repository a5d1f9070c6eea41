# SPDX-License-Identifier: MIT
"""Both real nodes and a robot whose streams can be damaged, on one virtual clock."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from rclpy.serialization import serialize_message

from difftori_ros.codecs.serialized_trajectory import read_trajectory
from difftori_ros.nodes.node_base import status_message
from difftori_ros.status.guard_report import GuardReport
from difftori_ros.types import JointState, Trajectory
from tests.support.virtual.cases import Case
from tests.support.virtual.clock import MS, Process
from tests.support.virtual.fault_arm import FaultArm
from tests.support.virtual.guard import VirtualGuard
from tests.support.virtual.policy_node import PolicyProcess
from tests.support.virtual.world import World

DUE_NS = 2 * MS
"""Time between two looks at what a line holds back [ns]."""


@dataclass(frozen=True)
class ReceivedStatus:
    """A status: when it was published [ns], and its values with the sentence under `message`."""

    at_ns: int
    values: dict[str, str]


@dataclass(frozen=True)
class Sent:
    """A command: when it was published [ns], and where the arm was then."""

    at_ns: int
    command: Trajectory
    measured: JointState


@dataclass(frozen=True)
class Raw:
    """A message as it is on the wire."""

    raw: bytes


class FaultWorld(World):
    """What goes to and fro is written down as an onlooker without any delay would hear it.

    Attributes:
        heard: Statuses by node.
        reports: Those of the guard, read.
        sent: Commands to the controllers.
        plans: What the policy has sent.
        planner_fault: Mode of the faulty planner, one of `injected_faults.PLANNER_FAULTS`; ""
        for none.
    """

    def __init__(
        self,
        checkpoint: str,
        policy: dict[str, Any] | None = None,
        guard: dict[str, Any] | None = None,
    ):
        """Nothing is started yet; without a `checkpoint` there will be no policy."""
        # nobody else has work to do, and everything takes as long as it always does
        super().__init__(Case(load=0.0, by_arrival=True, guard=guard or {}))
        self._checkpoint, self._values = checkpoint, policy or {}
        self.reports: list[GuardReport] = []
        self.received: dict[str, list[ReceivedStatus]] = {"guard_node": [], "policy_node": []}
        self.sent: list[Sent] = []
        self.plans: list[Trajectory] = []
        self.planner_fault = ""
        self._camera = Process("camera")
        self.arm: FaultArm = FaultArm(self, "points" in checkpoint, self._from_robot)
        self.timeline.every(DUE_NS, self._camera, self.arm.publish_due)

    def make_policy(self) -> Any:
        """The process of the real node, if there is to be one."""
        if not self._checkpoint:
            return None
        return PolicyProcess(self, self._checkpoint, self._values)

    def measure(self) -> None:
        """What the robot sends now leaves it."""
        self.arm.measure()

    def _from_robot(self, stream: str, message: Any) -> None:
        if stream == "joint_states":
            message = Raw(serialize_message(message))
            self._joints[0].send(partial(self._to_guards, stream, message, False))
        if self.policy is not None:
            arrive = partial(self.policy.arrive, stream, message, False)
            self._joints[1].send(arrive)

    def from_guard(self, guard: VirtualGuard, topic: str, message: Any) -> None:
        """A guard has published something."""
        if topic == "~/status":
            self._hear("guard_node", message)
            self.reports.append(GuardReport.from_status(message))
        elif topic.endswith("joint_trajectory"):
            command = read_trajectory(message)
            assert command is not None
            self.sent.append(Sent(self.data_ns(), command, self.arm.state()))
        super().from_guard(guard, topic, message)

    def from_policy(self, topic: str, message: Any) -> None:
        """The policy node has published something."""
        if topic == "~/plan":
            plan = read_trajectory(message)
            assert plan is not None
            self.plans.append(plan)
            self.note("plan", plan)
            self.judge.planned(plan)
            self.to_guard("plans", "policy_node/plan", message)
        elif topic == "~/status":
            values = self._hear("policy_node", message)
            # the node writes its next one into the same message
            kept = status_message("policy_node", message.level[0], message.message, values)
            self.to_guard("plans", "policy_node/status", kept)

    def _hear(self, name: str, message: Any) -> dict[str, str]:
        values = {pair.key: pair.value for pair in message.values}
        told = values | {"message": message.message}
        self.received[name].append(ReceivedStatus(self.data_ns(), told))
        return values
