# SPDX-License-Identifier: MIT
"""The black box's process: it listens, and writes a file when a fault occurs. Commands nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.logging import get_logging_directory
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Bool, Float32MultiArray, Float64MultiArray
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from difftori_models.checkpoint import load_card
from difftori_models.contract.specs import Card
from difftori_ros.config.parameters import BLACKBOX
from difftori_ros.config.paths import find_checkpoint
from difftori_ros.observation.input_topics import InputTopics
from difftori_ros.recording.mcap_file import (
    Channel,
    Heard,
    RecordingError,
    definition,
    save,
    type_name,
)
from difftori_ros.recording.ring_buffer import FaultWatch, Ring
from difftori_ros.robot.profile import RobotProfile, load_profile
from difftori_ros.status.guard_report import GuardReport, GuardReportError
from difftori_ros.types import Level, Reason

from .node_base import SENSOR_QOS, STATUS_QOS, StartupError, declare, message_class, run
from .polled_subscription import PolledSubscription
from .status_publisher import StatusPublisher

TICK_S = 0.1
"""Period of the look at the clock [s, steady clock], and of taking the joint states."""
JOINTS = "joint_states"
JOINTS_QOS = QoSProfile(depth=512, reliability=ReliabilityPolicy.BEST_EFFORT)
"""At 1 kHz, which would wake this process far too often, none is lost between two ticks."""
STATUS_EVERY = 5
"""Ticks between two `~/status` messages."""
POLICY_STATUS, GUARD_STATUS = "policy_node/status", "guard_node/status"


def inputs(
    card: Card, profile: RobotProfile, values: Mapping[str, Any]
) -> dict[str, tuple[Any, str, QoSProfile]]:
    """What is recorded: role -> message class, relative topic, quality of service.

    Args:
        card: Names the streams.
        profile: Names the controllers' topics.
        values: `image_transport` and `points_from`, as the policy node has them.

    Raises:
        InputTopicError: The streams cannot come in that way.
    """
    sources = InputTopics(card.observation, values)
    found = {
        stream: (message_class(sources.types[stream]), topic, SENSOR_QOS)
        for stream, topic in sources.topics.items()
    }
    found |= {topic: (CameraInfo, topic, SENSOR_QOS) for topic in sources.calibrations.values()}
    ours = {
        "policy_node/plan": JointTrajectory,
        "policy_node/actions": JointTrajectory,
        "policy_node/latent": Float32MultiArray,
        "guard_node/changed": JointTrajectory,
        POLICY_STATUS: DiagnosticStatus,
        GUARD_STATUS: DiagnosticStatus,
    }
    found |= {topic: (kind, topic, STATUS_QOS) for topic, kind in ours.items()}
    found["emergency_stop"] = (Bool, "emergency_stop", STATUS_QOS)
    controllers = {"arm": profile.topic}
    if profile.gripper:
        controllers["gripper"] = profile.gripper.topic
    for name, topic in controllers.items():
        # one of the two, as the guard's parameter `output` says
        stream = topic.removesuffix("/joint_trajectory") + "/commands"
        found[f"command/{name}"] = (JointTrajectory, topic, STATUS_QOS)
        found[f"stream/{name}"] = (Float64MultiArray, stream, STATUS_QOS)
    return found


def decode(name: str, data: bytes) -> Any:
    """The message of type `name` (`sensor_msgs/msg/JointState`) that the bytes hold.

    Raises:
        RecordingError: They hold none.
    """
    try:
        return deserialize_message(data, message_class(name))
    except (RuntimeError, ValueError, ImportError, AttributeError) as error:
        raise RecordingError(f"{len(data)} bytes cannot be read as {name}: {error}") from error


class BlackboxNode(Node):
    """Keeps the last seconds of observations, latents, plans, commands and statuses."""

    def __init__(self, **options: Any):
        super().__init__("blackbox_node", **options)
        values = self._values = declare(self, BLACKBOX)
        try:
            card = load_card(find_checkpoint(values["checkpoint"]))
            profile = load_profile(values["robot"])
            topics = inputs(card, profile, values)
        except (ValueError, OSError) as error:
            raise StartupError(str(error)) from error
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._wall = Clock(clock_type=ClockType.SYSTEM_TIME)
        self._about = {
            "checkpoint": card.name,
            "weights_sha256": card.weights_sha256,
            "robot": profile.name,
        }
        self._folder = (
            Path(values["folder"]).expanduser()
            if values["folder"]
            else Path(get_logging_directory()) / "difftori"
        )
        self._ring = Ring(values["before_s"] + values["after_s"], values["max_megabytes"] * 10**6)
        self._watch = FaultWatch()
        self._due_ns: int | None = None
        self._fault: dict[str, str] = {}
        self._ticks = self._written = 0
        self._last = self._complaint = ""
        self._channels = []
        kind, topic, _ = topics[JOINTS]
        self._joints = PolledSubscription(self, kind, topic, JOINTS_QOS)
        self._taken_ns = self._steady_ns()
        for role, (kind, topic, qos) in topics.items():
            heard = self._joints
            if role != JOINTS:
                hear = partial(self._on_message, role)
                heard = self.create_subscription(kind, topic, hear, qos, raw=True)
            name, text = type_name(kind), definition(kind)
            self._channels.append(Channel(role, heard.topic_name, name, text))
        self._status = StatusPublisher(self, STATUS_QOS)
        self.create_service(Trigger, "~/save", self._on_save)
        self.create_timer(TICK_S, self._tick, clock=self._steady)
        self._try_folder()
        self.get_logger().info(
            f"keeping the last {values['before_s']:g} s of {len(self._channels)} topics; "
            f"a fault writes them to {self._folder}"
        )

    def stop(self) -> None:
        """Write what a fault still waits for before the process ends."""
        if self._due_ns is not None:
            self._write(self._fault)

    def _on_message(self, role: str, data: bytes) -> None:
        now_ns = self._steady_ns()
        self._ring.push(Heard(now_ns, role, bytes(data)))
        if role not in (POLICY_STATUS, GUARD_STATUS):
            return
        try:
            status = decode("diagnostic_msgs/msg/DiagnosticStatus", data)
            if role == GUARD_STATUS:
                report = GuardReport.from_status(status)
                code, fails = report.reason.name, self._watch.guard_fails(report, now_ns)
            else:
                code = next((pair.value for pair in status.values if pair.key == "code"), "")
                fails = self._watch.policy_fails(code)
        except (RecordingError, GuardReportError) as error:
            self.get_logger().warning(f"'{role}': {error}", throttle_duration_sec=2.0)
            return
        if fails:
            self._begin(role.split("/")[0], code, status.message, now_ns)

    def _take_joints(self) -> None:
        """Keep the joint states that have come meanwhile, at the times at which they came."""
        now_ns, wall_ns = self._steady_ns(), self._wall_ns()
        waited_ns, self._taken_ns = now_ns - self._taken_ns, now_ns
        for raw, arrival_ns in self._joints.take_timed():
            ago_ns = wall_ns - (arrival_ns or wall_ns)  # somebody may have set the clock
            self._ring.push(Heard(now_ns - min(max(ago_ns, 0), waited_ns), JOINTS, raw))

    def _tick(self) -> None:
        self._take_joints()
        now_ns = self._steady_ns()
        self._ring.forget(now_ns)
        # its goodbye may be lost, but a process that ends properly leaves the graph at once;
        # one that was killed or hangs stays there for seconds
        there = self.resolve_topic_name(GUARD_STATUS)
        if self._watch.guard_lost(now_ns) and self.count_publishers(there):
            lost = Reason.GUARD_LOST
            self._begin("guard_node", lost.name, lost.value, now_ns)
        if self._due_ns is not None and now_ns >= self._due_ns:
            self._write(self._fault)
        self._ticks += 1
        if self._ticks % STATUS_EVERY == 0:
            self._publish_status()

    def _begin(self, source: str, code: str, sentence: str, now_ns: int) -> None:
        """A fault has begun: its file is written a little later, and tells of this one alone."""
        if self._due_ns is not None:
            return
        self._due_ns = now_ns + round(self._values["after_s"] * 1e9)
        self._fault = self._note(source, code, sentence, now_ns)

    def _note(self, source: str, code: str, sentence: str, steady_ns: int) -> dict[str, str]:
        time_ns = self._wall_ns() - (self._steady_ns() - steady_ns)
        note = {"source": source, "code": code, "sentence": sentence, "time_ns": str(time_ns)}
        return note | self._about

    def _on_save(self, request: Any, response: Any) -> Any:
        note = self._note("operator", "SAVED", "saved on demand", self._steady_ns())
        path = self._write(note)
        response.success = path is not None
        response.message = self._complaint if path is None else f"wrote {path}"
        return response

    def _write(self, note: dict[str, str]) -> Path | None:
        """Write what is kept; a disk that refuses is named and does not end the node."""
        if note is self._fault:
            self._due_ns = None
        self._take_joints()
        try:
            path = save(
                self._folder,
                self._channels,
                self._ring.messages(),
                now_ns=self._wall_ns(),
                steady_ns=self._steady_ns(),
                note=note,
                max_files=self._values["max_files"],
            )
        except OSError as error:
            self._complain(error)
            return None
        self._written, self._last, self._complaint = self._written + 1, str(path), ""
        self.get_logger().warning(
            f"{note['code']}: the last seconds are in {path}; see them with `difftori replay`"
        )
        self._publish_status()
        return path

    def _try_folder(self) -> None:
        """A folder that cannot be written to is named before it is needed."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if not os.access(self._folder, os.W_OK | os.X_OK):
                raise PermissionError(f"no permission to write into {self._folder}")
        except OSError as error:
            self._complain(error)

    def _complain(self, error: OSError) -> None:
        self._complaint = f"{Reason.DISK_ERROR.value}: {error}"
        self.get_logger().error(self._complaint)
        self._publish_status()

    def _publish_status(self) -> None:
        reason, level, text = Reason.RECORDING, Level.OK, Reason.RECORDING.value
        if self._complaint:
            reason, level, text = Reason.DISK_ERROR, Level.ERROR, self._complaint
        values = {
            "code": reason.name,
            "file": self._last,
            "files": str(self._written),
            "heard": " ".join(self._ring.roles),
            "megabytes": f"{self._ring.size * 1e-6:.1f}",
        }
        self._status.publish(level, text, values, self._steady_ns() * 1e-9)

    def _wall_ns(self) -> int:
        return self._wall.now().nanoseconds

    def _steady_ns(self) -> int:
        return self._steady.now().nanoseconds


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM."""
    return run(BlackboxNode, args)


if __name__ == "__main__":
    sys.exit(main())
