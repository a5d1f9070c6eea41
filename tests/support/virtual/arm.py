# SPDX-License-Identifier: MIT
"""An arm that follows its commands exactly, as a joint_trajectory_controller does.

The newest trajectory counts from its first point on, before that the one before it, and at its end
the arm rests. Streamed positions are followed as exactly: the arm is where it was told to be last.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from struct import Struct

import numpy as np
from rclpy.serialization import serialize_message
from sensor_msgs.msg import JointState as JointStateMessage

from difftori_models.contract.specs import FloatArray
from difftori_ros.motion.trajectory import hold
from difftori_ros.robot.profile import RobotProfile
from difftori_ros.types import JointState, Trajectory
from tests.support.virtual.clock import BEGIN_NS, MS

KEPT = 3
"""Trajectories remembered before the newest one, which may not have begun."""
STAMP = Struct("<iI")
LIVELY_NS = 60 * MS
"""Time after a streamed set in which the arm is measured to be moving by it [ns]."""


def start_ns(trajectory: Trajectory) -> int:
    """Time of the first point [ns]."""
    return trajectory.stamp_ns + round(float(trajectory.times[0]) * 1e9)


class Followed:
    """What a controller follows, by a clock of its own that nobody sets."""

    def __init__(self, joint_names: tuple[str, ...], position: FloatArray):
        rest = hold(joint_names, BEGIN_NS, position, BEGIN_NS - 1_000_000_000)
        self.pieces: tuple[tuple[int, Trajectory], ...] = ((0, rest),)

    def take(self, command: Trajectory, offset_ns: int) -> None:
        """The command, whose clock is ahead of the own by `offset_ns`, is the newest one."""
        command = replace(command, stamp_ns=command.stamp_ns - offset_ns)
        begins = start_ns(command)
        kept = tuple(piece for piece in self.pieces if piece[0] < begins)
        self.pieces = (*kept[-KEPT:], (begins, command))

    def at(self, time_ns: int) -> Trajectory:
        """The trajectory that is followed at a time."""
        return followed(self.pieces, time_ns)


def followed(pieces: tuple[tuple[int, Trajectory], ...], time_ns: int) -> Trajectory:
    """Of the pieces, in order of their starts, the one that counts at a time."""
    for begins, trajectory in reversed(pieces):
        if begins <= time_ns:
            return trajectory
    return pieces[0][1]


class Measured:
    """Joint states that are computed when somebody looks at them, for nobody does at most."""

    def __init__(self, stamp_ns: int, arm: VirtualArm, now_ns: int):
        """Look at the arm now, for joint states with that stamp."""
        self.stamp_ns, self._now_ns, self._names = stamp_ns, now_ns, arm.profile.joint_names
        self._pieces = tuple(one.pieces for one in arm.controllers.values())
        self._streamed = arm.streamed(now_ns) if arm.streams else None

    @functools.cached_property
    def state(self) -> JointState:
        """Positions and velocities of all joints at the stamp."""
        if self._streamed is not None:
            return JointState(self.stamp_ns, self._names, *self._streamed)
        parts = [followed(p, self._now_ns).sample(self._now_ns) for p in self._pieces]
        position, velocity = (np.concatenate(part) for part in zip(*parts, strict=True))
        return JointState(self.stamp_ns, self._names, position, velocity)

    @property
    def raw(self) -> bytes:
        """As a serialized message."""
        template, at = _template(self._names)
        message = bytearray(template)
        STAMP.pack_into(message, 4, *divmod(self.stamp_ns, 1_000_000_000))
        numbers = Struct(f"<{len(self._names)}d")
        numbers.pack_into(message, at[0], *self.state.position)
        numbers.pack_into(message, at[1], *self.state.velocity)
        return bytes(message)


@functools.cache
def _template(names: tuple[str, ...]) -> tuple[bytes, list[int]]:
    """A serialized message, and where its positions and velocities lie."""
    marks = [[float(k + 1000 * row) for k in range(len(names))] for row in (1, 2)]
    message = JointStateMessage(name=list(names), position=marks[0], velocity=marks[1])
    raw = serialize_message(message)
    return raw, [raw.index(Struct(f"<{len(names)}d").pack(*mark)) for mark in marks]


class VirtualArm:
    """Controllers of the arm and its gripper, and what the joints are measured to be."""

    def __init__(self, profile: RobotProfile):
        self.profile = profile
        gripper = profile.gripper
        assert gripper is not None
        self.controllers = {
            profile.arm_joints: Followed(profile.arm_joints, profile.home),
            (gripper.joint,): Followed((gripper.joint,), np.array([gripper.open])),
        }
        self.streams = False
        self._told = np.append(profile.home, gripper.open)
        self._speed = np.zeros(len(self._told))
        self._told_ns = np.full(len(self._told), BEGIN_NS - 1_000_000_000)

    def take(self, command: Trajectory, offset_ns: int) -> None:
        """A trajectory has reached its controller, whose clock is behind by `offset_ns`."""
        self.controllers[command.joint_names].take(command, offset_ns)

    def take_positions(self, columns: slice, wanted: FloatArray, now_ns: int) -> None:
        """A streamed set of positions has reached its controller."""
        self.streams = True
        passed_s = max(now_ns - self._told_ns[columns].min(), MS) * 1e-9
        self._speed[columns] = (wanted - self._told[columns]) / passed_s
        self._told[columns], self._told_ns[columns] = wanted, now_ns

    def streamed(self, now_ns: int) -> tuple[FloatArray, FloatArray]:
        """Positions and velocities of all joints under forward controllers."""
        lively = now_ns - self._told_ns < LIVELY_NS
        return self._told.copy(), np.where(lively, self._speed, 0.0)
