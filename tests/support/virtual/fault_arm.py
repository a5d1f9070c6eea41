# SPDX-License-Identifier: MIT
"""The robot's side of a fault: an arm that is blocked, pushed or let go of, and what its streams
carry through a line on which they can be damaged."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import JointState as JointStateMessage
from sensor_msgs.msg import PointCloud2

from difftori_models.contract.specs import FloatArray
from difftori_ros import codecs
from difftori_ros.types import JointState, Trajectory
from difftori_sim.ros.fault_injection import FaultInjector, StreamFault, parse
from tests.support.virtual import scene
from tests.support.virtual.arm import Followed, VirtualArm

if TYPE_CHECKING:
    from tests.support.virtual.fault_world import FaultWorld

STREAMS = {
    "joint_states": JointStateMessage,
    "goal": PoseStamped,
    "object": PoseStamped,
    "points": PointCloud2,
}


class FaultArm(VirtualArm):
    """An arm that may do something else than follow.

    Attributes:
        line: What lies between its streams and the network.
        history: Where it was, by its streams' clock.
        plugged: Whether the controllers take what they are sent.
        pushed: By how much each joint is held away from where its controller wants it [rad].
    """

    def __init__(self, world: FaultWorld, cloud: bool, send: Callable[[str, Any], None]):
        super().__init__(world.profile)
        self._world, self._cloud, self._send = world, cloud, send
        self._rng = np.random.default_rng(0)
        self._periods = 0
        self._stuck: FloatArray | None = None
        self.line = FaultInjector()
        self.history: deque[JointState] = deque(maxlen=3000)
        self.plugged, self.pushed = True, np.zeros(len(world.profile.joint_names))

    def now_ns(self) -> int:
        """The clock of the stamps [ns]."""
        return self._world.data_ns()

    # faults --------------------------------------------------------------------------------------

    def inject(self, text: str) -> StreamFault:
        """Add a fault whose start counts from now."""
        fault = parse(text, STREAMS)
        fault = replace(fault, start_s=fault.start_s + self._now_s())
        self.line.faults = [*self.line.faults, fault]
        return fault

    def clear_faults(self) -> None:
        """Nothing is wrong any more."""
        self.line.faults = []
        self._stuck, self.pushed = None, np.zeros_like(self.pushed)

    def block(self) -> None:
        """It cannot move."""
        self._stuck = self.state().position

    def release(self) -> None:
        """It goes to where its controllers want it."""
        self._stuck = None

    def put_down(self) -> None:
        """Whoever has moved it lets go: it stays there, and its controllers agree."""
        self._stay(self.state().position)
        self.pushed = np.zeros_like(self.pushed)

    def unplug(self) -> None:
        """Its controllers drop what they are sent; the joints stay where they are."""
        self._stay(self.state().position)
        self.plugged = False

    def plug_in(self) -> None:
        """Its controllers take what they are sent."""
        self.plugged = True

    def _stay(self, position: FloatArray) -> None:
        names = self.profile.joint_names
        for joints in self.controllers:
            columns = [names.index(name) for name in joints]
            self.controllers[joints] = Followed(joints, position[columns])

    # time ----------------------------------------------------------------------------------------

    def take(self, command: Trajectory, offset_ns: int) -> None:
        """A trajectory has reached its controller."""
        if self.plugged:
            super().take(command, offset_ns)

    def state(self) -> JointState:
        """Where it is now."""
        now_ns, names = self._world.timeline.now_ns, self.profile.joint_names
        parts = [one.at(now_ns).sample(now_ns) for one in self.controllers.values()]
        position, velocity = (np.concatenate(part) for part in zip(*parts, strict=True))
        if self._stuck is not None:
            position, velocity = self._stuck, np.zeros_like(velocity)
        return JointState(self.now_ns(), names, position + self.pushed, velocity)

    @property
    def speed(self) -> float:
        """Greatest speed of the arm's joints [rad/s]."""
        return float(np.abs(self.state().velocity[:7]).max())

    def measure(self) -> None:
        """Its joint states leave it, and now and then poses and a cloud."""
        state = self.state()
        self.history.append(state)
        message = JointStateMessage()
        codecs.encode_joint_state(state, message)
        self.publish("joint_states", message)
        cube, frame = scene.cube_at(self._now_s()), self.profile.base_frame
        if self._periods % scene.POSE_EVERY == 0:
            for name, pose in scene.poses(state.stamp_ns, frame, cube).items():
                self.publish(name, pose)
        if self._cloud and self._periods % scene.CLOUD_EVERY == 0:
            self.publish("points", scene.cloud(state.stamp_ns, frame, cube, self._rng))
        self._periods += 1

    def publish_due(self) -> None:
        """What was held back leaves now if it is time."""
        self._send_pairs(self.line.due(self._now_s()))

    def publish(self, stream: str, message: Any) -> None:
        """A message leaves it, with what the line makes of it."""
        self._send_pairs(self.line.apply(stream, message, self._now_s()))

    def _now_s(self) -> float:
        return self._world.timeline.now_ns * 1e-9

    def _send_pairs(self, pairs: list[tuple[str, Any]]) -> None:
        for stream, message in pairs:
            self._send(stream, message)
