# SPDX-License-Identifier: MIT
"""A robot that follows: an arm, its controllers, a camera, and faults on its wires.

It follows as a joint_trajectory_controller does, and exactly: the joints are where the running
trajectory is, sampled at 100 Hz; a new one replaces the running one from its first point on."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field, replace

import numpy as np
from geometry_msgs.msg import PoseStamped
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState as JointStateMessage
from sensor_msgs.msg import PointCloud2
from trajectory_msgs.msg import JointTrajectory

from difftori_ros import codecs
from difftori_ros.nodes.node_base import COMMAND_QOS
from difftori_ros.types import JointState, Trajectory
from difftori_sim.ros.fault_injection import FaultInjector, StreamFault, parse
from tests.support.fake_robot import HOME, PROFILE
from tests.support.promises import start_ns
from tests.support.virtual.scene import CLOUD_EVERY, POSE_EVERY, cloud, cube_at, poses

PERIOD_S = 0.01
STREAMS = {
    "clock": Clock,
    "joint_states": JointStateMessage,
    "goal": PoseStamped,
    "object": PoseStamped,
    "points": PointCloud2,
}


@dataclass
class SimulatedTime:
    """A clock that can be paused and moved; it runs with the steady one."""

    offset_ns: int = 100_000_000_000
    paused_ns: int | None = None
    _past: list[tuple[int, int, int | None]] = field(default_factory=list)
    """Until when offset and pause were others, and those [ns]."""

    def now_ns(self) -> int:
        return self.at_ns(time.monotonic_ns())

    def at_ns(self, steady_ns: int) -> int:
        """What it showed at a time of the steady one [ns]."""
        now = (steady_ns + 1, self.offset_ns, self.paused_ns)
        _, offset_ns, paused_ns = next(one for one in (*self._past, now) if steady_ns < one[0])
        return steady_ns + offset_ns if paused_ns is None else paused_ns

    def jump(self, seconds: float) -> None:
        self._change(self.offset_ns + round(seconds * 1e9), self.paused_ns)

    def pause(self) -> None:
        self._change(self.offset_ns, self.now_ns())

    def resume(self) -> None:
        assert self.paused_ns is not None
        self._change(self.paused_ns - time.monotonic_ns(), None)

    def _change(self, offset_ns: int, paused_ns: int | None) -> None:
        self._past.append((time.monotonic_ns(), self.offset_ns, self.paused_ns))
        self.offset_ns, self.paused_ns = offset_ns, paused_ns


def steady_at(wall_ns: int) -> int:
    """The steady clock at a time of the wall clock that is not long ago [ns]."""
    looks = [(time.monotonic_ns(), time.time_ns(), time.monotonic_ns()) for _ in range(3)]
    before, wall, after = min(looks, key=lambda look: look[2] - look[0])  # nothing came between
    return wall_ns - wall + (before + after) // 2


class Controllers:
    """What the joints follow: exactly, and as a joint_trajectory_controller takes it.

    A new trajectory replaces the running one from its first point on. `at_ns` gives the clock of
    the stamps at a time of the wall clock.
    """

    def __init__(self, node, now_ns, at_ns):
        self._node, self._now_ns, self._at_ns = node, now_ns, at_ns
        self.taken: deque[tuple[int, int]] = deque(maxlen=1000)
        """When the commands were published and when taken, by the clock of the stamps [ns]."""
        self._running: dict[tuple[str, ...], tuple[Trajectory, Trajectory | None]] = {}
        self._listeners = []
        self.plug_in()

    def plug_in(self) -> None:
        """They listen."""
        for topic in (PROFILE.topic, PROFILE.gripper.topic):
            self._listeners.append(
                self._node.create_subscription(JointTrajectory, topic, self._follow, COMMAND_QOS)
            )

    def unplug(self) -> None:
        """There are none any more."""
        while self._listeners:
            self._node.destroy_subscription(self._listeners.pop())
        self.let_go()

    def let_go(self) -> None:
        """Nothing is followed any more."""
        self._running.clear()

    def take(self) -> bool:
        """Whether a command has come; it is followed now. No executor needs to spin for that."""
        came = False
        for listener in self._listeners:
            with listener.handle:
                found = listener.handle.take_message(listener.msg_type, listener.raw)
            if found is not None:
                self._follow(*found)
                came = True
        return came

    def _follow(self, message: JointTrajectory, info: dict[str, int]) -> None:
        command = codecs.decode_trajectory(message)
        before, _ = self._running.get(command.joint_names, (None, None))
        self._running[command.joint_names] = (command, before)
        self.taken.append((self._at_ns(info["source_timestamp"]), self._now_ns()))

    def path(self, times_ns: np.ndarray, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions and velocities (K, 8) of all joints at times (K,) [ns].

        A joint without a command stays at its `position` (8,).
        """
        positions = np.tile(position, (len(times_ns), 1))
        velocities = np.zeros_like(positions)
        for names, (running, before) in self._running.items():
            columns = [PROFILE.joint_names.index(name) for name in names]
            begun = times_ns >= start_ns(running)
            for followed, rows in ((running, begun), (before or running, ~begun)):
                if rows.any():
                    found = followed.samples(times_ns[rows])
                    positions[np.ix_(rows, columns)], velocities[np.ix_(rows, columns)] = found
        return positions, velocities


class FakeArm:
    """Call `step` often; it does what is due."""

    def __init__(self, node, *, cloud=False, simulated: SimulatedTime | None = None):
        self._node, self.cloud, self.simulated = node, cloud, simulated
        self.line = FaultInjector()
        self.position, self.velocity = HOME.copy(), np.zeros(len(HOME))
        self.history: deque[JointState] = deque(maxlen=3000)
        self._periods, self._stepped_s = 0, 0.0
        self._out = {
            name: node.create_publisher(kind, "/clock" if name == "clock" else name, 100)
            for name, kind in STREAMS.items()
            if name != "clock" or simulated
        }
        self._rng = np.random.default_rng(0)
        self._controllers = Controllers(node, self.now_ns, self.at_ns)

    def plug_in(self) -> None:
        """The controllers listen."""
        self._controllers.plug_in()

    def unplug(self) -> None:
        """There are no controllers any more; the joints stay where they are."""
        self._controllers.unplug()

    @property
    def taken(self) -> deque[tuple[int, int]]:
        """When the commands were published and when the arm took them [ns]."""
        return self._controllers.taken

    # faults --------------------------------------------------------------------------------------

    def inject(self, text: str) -> StreamFault:
        """Add a fault whose start counts from now."""
        fault = parse(text, STREAMS)
        fault = replace(fault, start_s=fault.start_s + time.monotonic())
        self.line.faults = [*self.line.faults, fault]
        return fault

    def clear_faults(self) -> None:
        """Nothing is wrong any more."""
        self.line.faults = []

    # time ----------------------------------------------------------------------------------------

    def now_ns(self) -> int:
        """The clock of the stamps [ns]."""
        return self.simulated.now_ns() if self.simulated else time.time_ns()

    def at_ns(self, wall_ns: int) -> int:
        """The clock of the stamps at a time of the wall clock, which DDS goes by [ns]."""
        return self.simulated.at_ns(steady_at(wall_ns)) if self.simulated else wall_ns

    @property
    def speed(self) -> float:
        """Greatest speed of the arm's joints [rad/s]."""
        return float(np.abs(self.velocity[:7]).max())

    def step(self) -> None:
        """Take what has been commanded; move and publish, if that is due."""
        self._controllers.take()
        now_s = time.monotonic()
        if now_s - self._stepped_s < PERIOD_S:
            self._send_pairs(self.line.due(now_s))
            return
        self._stepped_s = max(self._stepped_s + PERIOD_S, now_s - PERIOD_S)
        now_ns = self.now_ns()
        path = self._controllers.path(np.array([now_ns]), self.position)
        self.position, self.velocity = (rows[0] for rows in path)
        if self.simulated:
            clock = Clock()
            codecs.ns_to_stamp(now_ns, clock.clock)
            self._send("clock", clock)
        names = PROFILE.joint_names
        measured = JointState(now_ns, names, self.position.copy(), self.velocity.copy())
        self.history.append(measured)
        message = JointStateMessage()
        codecs.encode_joint_state(measured, message)
        self._send("joint_states", message)
        # by time: when a busy machine leaves joint states out, a camera keeps its own rate
        before, self._periods = self._periods, int(now_s / PERIOD_S)
        cube, frame = cube_at(time.monotonic()), PROFILE.base_frame
        if self._periods // POSE_EVERY > before // POSE_EVERY:
            for name, pose in poses(now_ns, frame, cube).items():
                self._send(name, pose)
        if self.cloud and self._periods // CLOUD_EVERY > before // CLOUD_EVERY:
            self._send("points", cloud(now_ns, frame, cube, self._rng))

    # out -----------------------------------------------------------------------------------------

    def _send(self, stream: str, message) -> None:
        self._send_pairs(self.line.apply(stream, message, time.monotonic()))

    def _send_pairs(self, pairs) -> None:
        for stream, message in pairs:
            self._out[stream].publish(message)
