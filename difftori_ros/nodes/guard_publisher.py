# SPDX-License-Identifier: MIT
"""What the guard's process says: status, diagnostics, verdicts, changed plans; and its latch."""

from __future__ import annotations

from rclpy.node import Node
from trajectory_msgs.msg import JointTrajectory

from difftori_ros.guard.latch_file import LatchFile, latch_path
from difftori_ros.guard.verdict import Latched, State, Status
from difftori_ros.status.health import Percentiles
from difftori_ros.types import Level, Reason, Trajectory

from .node_base import COMMAND_QOS, STATUS_QOS, trajectory_message
from .status_publisher import StatusTeller

STATUS_S = 0.1
"""Time between two `~/status` messages when nothing changes [s, steady clock]."""


class GuardReport:
    """Publishers of the guard node that move nothing.

    Attributes:
        jitter_s: By how much the guard's period is off [s].
        window_s: Time from the last look at the clock to the end of a plan's publishing [s].
    """

    def __init__(self, node: Node, steady_s: float):
        self._node, self._begun_s = node, steady_s
        self._said: tuple[State, Reason, Level] | None = None
        self._verdict: dict[str, str] = {}
        self.latch = LatchFile(latch_path(node.get_namespace(), node.get_name()))
        self.jitter_s, self.window_s = Percentiles(), Percentiles()
        self._teller = StatusTeller(node, STATUS_QOS)
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
        return changed or self._teller.silent_s(steady_s) >= STATUS_S

    def publish(self, status: Status, latched: Latched | None, steady_s: float) -> None:
        """Say how it stands, and keep what is latched for the next process."""
        said, before = (status.state, status.reason, status.level), self._said
        self._said = said
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
        self._teller.tell(status.level, text, values, steady_s)
        if before is None or before[0] is not status.state:
            self._log(status)
        failed = self.latch.keep(latched)
        if failed is not None:
            self._node.get_logger().error(failed, throttle_duration_sec=10.0)

    def _log(self, status: Status) -> None:
        detail = f": {status.detail}" if status.detail else ""
        text = f"{status.state.name}: {status.reason.name}: {status.reason.value}{detail}"
        # rclpy wants one severity for each place that logs
        if status.level is Level.ERROR:
            self._node.get_logger().error(text)
        else:
            self._node.get_logger().info(text)
