# SPDX-License-Identifier: MIT
"""What the guard's process says: status, diagnostics, verdicts, changed plans; and its latch."""

from __future__ import annotations

from rclpy.node import Node
from trajectory_msgs.msg import JointTrajectory

from difftori_ros.guard.latch_file import LatchFile, latch_path
from difftori_ros.guard.verdict import GuardStatus, Latched
from difftori_ros.status.guard_report import GuardReport, PlanVerdict
from difftori_ros.status.health import Percentiles
from difftori_ros.types import GuardState, Level, Reason, Trajectory

from .node_base import COMMAND_QOS, STATUS_QOS, trajectory_message
from .status_publisher import StatusPublisher

STATUS_S = 0.1
"""Time between two `~/status` messages when nothing changes [s, steady clock]."""


class GuardPublisher:
    """Publishers of the guard node that move nothing.

    Attributes:
        latch: What is held beyond the end of the process.
        jitter_s: By how much the guard's period is off [s].
        window_s: Time from the last look at the clock to the end of a plan's publishing [s].
    """

    def __init__(self, node: Node, steady_s: float):
        self._node, self._begun_s = node, steady_s
        self._published: tuple[GuardState, Reason, Level] | None = None
        self._verdict: PlanVerdict | None = None
        self.latch = LatchFile(latch_path(node.get_namespace(), node.get_name()))
        self.jitter_s, self.window_s = Percentiles(), Percentiles()
        self._status = StatusPublisher(node, STATUS_QOS)
        self._changed = node.create_publisher(JointTrajectory, "~/changed", COMMAND_QOS)

    def changed(self, plan: Trajectory) -> None:
        """This is followed in place of the plan with the same stamp."""
        self._changed.publish(trajectory_message(plan))

    def verdict(self, stamp_ns: int, accepted: bool, reason: Reason, detail: str) -> None:
        """What became of the plan with that stamp: part of every status from now on."""
        self._verdict = PlanVerdict(stamp_ns, accepted, reason, detail)
        if not accepted:
            self._node.get_logger().warning(
                f"plan refused: {reason.name}: {detail}", throttle_duration_sec=1.0
            )

    def forget_verdict(self) -> None:
        """No plan has been judged yet."""
        self._verdict = None

    def due(self, status: GuardStatus, steady_s: float) -> bool:
        """Whether it is time for the next status: on every change, else at a slow rate."""
        changed = (status.state, status.reason, status.level) != self._published
        return changed or self._status.silent_s(steady_s) >= STATUS_S

    def publish(self, status: GuardStatus, latched: Latched | None, steady_s: float) -> None:
        """Publish the status, and keep what is latched for the next process."""
        before = self._published
        self._published = status.state, status.reason, status.level
        sentence = status.reason.value + (f": {status.detail}" if status.detail else "")
        report = GuardReport(
            status.state,
            status.reason,
            status.level,
            sentence,
            steady_s - max(status.since_steady_s, self._begun_s),
            status.accepted,
            status.changed,
            status.refused,
            status.slowdown,
            self.jitter_s.at(99) * 1e3,
            self.window_s.at(99) * 1e3,
            self._verdict,
        )
        self._status.publish(*report.to_status(), steady_s)
        if before is None or before[0] is not status.state:
            self._log(report)
        failed = self.latch.keep(latched)
        if failed is not None:
            self._node.get_logger().error(failed, throttle_duration_sec=10.0)

    def _log(self, report: GuardReport) -> None:
        text = f"{report.state.name}: {report.reason.name}: {report.sentence}"
        # rclpy wants one severity for each place that logs
        if report.level is Level.ERROR:
            self._node.get_logger().error(text)
        else:
            self._node.get_logger().info(text)
