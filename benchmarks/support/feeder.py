# SPDX-License-Identifier: MIT
"""A process of its own for all that a robot sends: joint states, poses, a cloud and pictures.

    python benchmarks/support/feeder.py --joint-hz 1000 --cloud --pictures

The arm follows the commands as that of the fault tests does, exactly. It must be cheap and
regular, for it runs beside what is measured: messages are serialised once, and then only their
stamps and numbers are written over; the motion is sampled ahead once per command, and between two
samples the arm is where its velocity takes it; no executor spins, and every turn begins at a time
that was set beforehand. SIGTERM and the end of its parent end it.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import signal
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from geometry_msgs.msg import PoseStamped
from numpy.typing import NDArray
from rclpy.serialization import serialize_message
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image, PointCloud2, PointField
from sensor_msgs.msg import JointState as JointStateMessage

from difftori_ros import codecs
from difftori_ros.codecs import point_cloud as point_cloud_codec
from difftori_ros.types import Cloud, JointState, Pose

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from tests.support.fake_arm import Controllers
from tests.support.fake_robot import HOME, PROFILE
from tests.support.virtual.scene import CENTRE, LIFT, cube_at

POINTS, NEAR = 16384, 2500
"""Points of a cloud, and how many of them lie where the policy looks."""
POSE_S, CLOUD_S, PICTURE_S = 0.05, 0.1, 1 / 30
TAKE_S = 0.002
"""Time between two looks for a new command [s]."""
GRID_NS, AHEAD = 1_000_000, 100
"""The motion is sampled so closely [ns], and so many samples ahead."""
MADE_UP_S = 0.02
"""Joint states that could not be sent for so long are made up for, as by a driver's queue [s]."""
STAMP_AT = 4
"""Where the stamp is in the bytes of a message that begins with a header."""
WITH_PARENT = 1
"""PR_SET_PDEATHSIG: the kernel sends a signal when the parent has ended."""


class Serialised:
    """The bytes of a message; stamp and chosen values in them are written over."""

    def __init__(self, publisher: Any, message: Any, *values: NDArray[Any]) -> None:
        """Serialise the message and find those values, each of which it holds exactly once."""
        self._publisher, self._bytes = publisher, bytearray(serialize_message(message))
        self._places = []
        for given in values:
            mark = given.tobytes()
            assert self._bytes.count(mark) == 1
            at = self._bytes.index(mark)
            self._places.append(slice(at, at + len(mark)))

    def send(self, stamp_ns: int, *values: NDArray[Any]) -> None:
        """Publish it with that stamp [ns] and those values, as many and as long as at first."""
        struct.pack_into("<iI", self._bytes, STAMP_AT, *divmod(stamp_ns, codecs.SECOND_NS))
        for place, given in zip(self._places, values, strict=True):
            self._bytes[place] = given.tobytes()
        self._publisher.publish(bytes(self._bytes))


class Joints:
    """The arm: where it is on what it follows."""

    def __init__(self, node: Any) -> None:
        marks = np.arange(1.0, 1 + 2 * len(HOME)).reshape(2, -1) / 7
        message = JointStateMessage()
        codecs.encode_joint_state(JointState(1, PROFILE.joint_names, *marks), message)
        publisher = node.create_publisher(JointStateMessage, "joint_states", 100)
        self._message = Serialised(publisher, message, *marks)
        self._controllers = Controllers(node, time.time_ns, lambda wall_ns: wall_ns)
        self._position, self._sampled_ns, self._looked_s = HOME.copy(), 0, 0.0
        self.sent = 0

    def send(self, due_s: float) -> None:
        """Take what has been commanded, and publish where the arm was when it was due."""
        now_ns, now_s, came = time.time_ns(), time.monotonic(), False
        now_ns -= round((now_s - due_s) * 1e9)
        if now_s - self._looked_s >= TAKE_S:
            self._looked_s, came = now_s, self._controllers.take()
        k, past_ns = divmod(now_ns - self._sampled_ns, GRID_NS)
        if came or not 0 <= k < AHEAD:
            self._sampled_ns, k, past_ns = now_ns, 0, 0
            times_ns = now_ns + GRID_NS * np.arange(AHEAD)
            self._path = self._controllers.path(times_ns, self._position)
        positions, velocities = self._path
        self._position = positions[k] + velocities[k] * (past_ns * 1e-9)
        self._message.send(now_ns, self._position, velocities[k])
        self.sent += 1


def poses(node: Any) -> Callable[[], None]:
    """What publishes the cube and the goal, which go round in a circle."""
    marks = np.array([1.0, 2.0, 3.0]) / 7
    messages = []
    for name in ("object", "goal"):
        message = PoseStamped()
        pose = Pose(1, PROFILE.base_frame, np.array([*marks, 0.0, 0.0, 0.0, 1.0]))
        codecs.encode_pose(pose, message)
        messages.append(Serialised(node.create_publisher(PoseStamped, name, 100), message, marks))

    def send() -> None:
        cube = cube_at(time.monotonic())
        for message, xyz in zip(messages, (cube, cube + LIFT), strict=True):
            message.send(time.time_ns(), xyz)

    return send


def clouds(node: Any) -> Callable[[], None]:
    """What publishes the cloud; one point of it moves, so that no two are the same."""
    rng = np.random.default_rng(0)
    near = CENTRE + rng.uniform(-0.2, 0.2, (NEAR, 3)) * [1, 1, 0.05]
    far = rng.uniform([1.5, -1.0, -0.5], [3.0, 1.0, 1.5], (POINTS - NEAR, 3))
    xyz = np.vstack([near, far]).astype(np.float32)
    message = PointCloud2()
    cloud = Cloud(1, PROFILE.base_frame, xyz, np.full((POINTS, 3), 0.5, np.float32))
    point_cloud_codec.encode_cloud(cloud, message, PointField)
    made = Serialised(node.create_publisher(PointCloud2, "points", 100), message, xyz[0])
    steps = rng.uniform(-0.001, 0.001, (1000, 3)).astype(np.float32)

    def send() -> None:
        now_ns = time.time_ns()
        made.send(now_ns, xyz[0] + steps[now_ns // 1_000_000 % len(steps)])

    return send


def pictures(node: Any) -> Callable[[], None]:
    """What publishes the picture."""
    message = Image(height=480, width=640, step=1920, encoding="rgb8")
    message.data = bytes(640 * 480 * 3)
    made = Serialised(node.create_publisher(Image, "camera/image_raw", 10), message)
    return lambda: made.send(time.time_ns())


def feed(joints: Joints, period_s: float, others: list[tuple[Callable[[], None], float]]) -> None:
    """Publish until SIGTERM or SIGINT: the joints first in each turn, and what else is due."""
    ended: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: ended.append(number))
    due_s = time.monotonic()
    dues_s = [due_s + 0.3 * every_s for _, every_s in others]  # not all in the same turn
    while not ended:
        joints.send(due_s)
        now_s = time.monotonic()
        for k, (send, every_s) in enumerate(others):
            if now_s >= dues_s[k]:
                dues_s[k] = max(dues_s[k] + every_s, now_s)
                send()
        due_s = max(due_s + period_s, time.monotonic() - MADE_UP_S)
        time.sleep(max(0.0, due_s - time.monotonic()))


def main() -> None:
    """Feed, then say how many joint states a second there were."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--joint-hz", type=float, default=200.0)
    parser.add_argument("--cloud", action="store_true")
    parser.add_argument("--pictures", action="store_true")
    arguments = parser.parse_args()
    ctypes.CDLL(None).prctl(WITH_PARENT, signal.SIGTERM)
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("feeder")
    joints = Joints(node)
    others = [(poses(node), POSE_S)]
    if arguments.cloud:
        others.append((clouds(node), CLOUD_S))
    if arguments.pictures:
        others.append((pictures(node), PICTURE_S))
    gc.collect()
    gc.freeze()
    began_s = time.monotonic()
    feed(joints, 1 / arguments.joint_hz, others)
    took_s = time.monotonic() - began_s
    node.destroy_node()
    rclpy.shutdown()
    sys.stdout.write(f"{joints.sent / took_s:.1f}\n")


if __name__ == "__main__":
    main()
