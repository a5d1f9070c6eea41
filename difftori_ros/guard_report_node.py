# SPDX-License-Identifier: MIT
"""What the guard's process says: status, diagnostics, verdicts, changed plans; and its latch."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from trajectory_msgs.msg import JointTrajectory

from difftori_ros.base_node import (
    COMMAND_QOS,
    STATUS_QOS,
    diagnostics,
    status_message,
    trajectory_message,
)
from difftori_ros.health import Percentiles
from difftori_ros.latch_file import LatchFile, latch_path
from difftori_ros.types import Level, Reason, Trajectory
from difftori_ros.verdict import Latched, State, Status

STATUS_S = 0.1
"""Time between two `~/status` messages when nothing changes [s, steady clock]."""
DIAGNOSTICS_S = 1.0
"""Time between two messages on `/diagnostics` when nothing changes [s, steady clock]."""


class GuardReport:
    """Publishers of the guard node that move nothing.

    Attributes:
        jitter_s: By how much the guard's period is off [s].
        window_s: Time from a plan's last check to the end of its publishing [s].
    """

    def __init__(self, node: Node, steady_s: float):
        self._node, self._begun_s, self._told_s, self._diagnosed_s = node, steady_s, 0.0, 0.0
        self._said: tuple[State, Reason, Level] | None = None
        self._verdict: dict[str, str] = {}
        self.latch = LatchFile(latch_path(node.get_namespace(), node.get_name()))
        self.jitter_s, self.window_s = Percentiles(), Percentiles()
        self._status = node.create_publisher(DiagnosticStatus, "~/status", STATUS_QOS)
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", STATUS_QOS)
        self._changed = node.create_publisher(JointTrajectory, "~/changed", COMMAND_QOS)

    def changed(self, plan: Trajectory) -> None:
        """This is followed in place of the plan with the same stamp."""
        self._changed.publish(trajectory_message(plan))

    def verdict(self, stamp_ns: int, accepted: bool, reason: Reason, detail: str) -> None:
        """What became of a plan: part of every status from now on."""
        self._verdict = {
            "verdict": "accepted" if accepted else "refused",
            "verdict_stamp_ns": str(stamp_ns),
            "verdict_code": reason.name,
            "verdict_detail": detail,
        }
        if not accepted:
            self._node.get_logger().warning(
                f"plan refused: {reason.name}: {detail}", throttle_duration_sec=1.0
            )

    def forget_verdict(self) -> None:
        """No plan has been judged yet."""
        self._verdict = {}

    def due(self, status: Status, steady_s: float) -> bool:
        """Whether it is time for the next status: on every change, else at a slow rate."""
        changed = (status.state, status.reason, status.level) != self._said
        return changed or steady_s - self._told_s >= STATUS_S

    def publish(self, status: Status, latched: Latched | None, steady_s: float) -> None:
        """Say how it stands, and keep what is latched for the next process."""
        said, before = (status.state, status.reason, status.level), self._said
        self._said, self._told_s = said, steady_s
        values = {
            "code": status.reason.name,
            "state": status.state.name,
            "since_s": f"{steady_s - max(status.since_steady_s, self._begun_s):.1f}",
            "accepted": str(status.accepted),
            "changed": str(status.changed),
            "refused": str(status.refused),
            "amount": f"{status.amount:.2f}",
            "jitter_ms_p99": f"{self.jitter_s.at(99) * 1e3:.2f}",
            "window_ms_p99": f"{self.window_s.at(99) * 1e3:.2f}",
            **self._verdict,
        }
        text = status.reason.value + (f": {status.detail}" if status.detail else "")
        message = status_message(self._node.get_name(), status.level, text, values)
        self._status.publish(message)
        if said != before or steady_s - self._diagnosed_s >= DIAGNOSTICS_S:
            self._diagnosed_s = steady_s
            self._diagnostics.publish(diagnostics(self._node, [message]))
        if before is None or before[0] is not status.state:
            self._log(status)
        failed = self.latch.keep(latched)
        if failed is not None:
            self._node.get_logger().error(failed)

    def _log(self, status: Status) -> None:
        detail = f": {status.detail}" if status.detail else ""
        text = f"{status.state.name}: {status.reason.name}: {status.reason.value}{detail}"
        # rclpy wants one severity for each place that logs
        if status.level is Level.ERROR:
            self._node.get_logger().error(text)
        else:
            self._node.get_logger().info(text)
