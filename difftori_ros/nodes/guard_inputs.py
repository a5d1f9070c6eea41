# SPDX-License-Identifier: MIT
"""What the policy node hears of the guard: its reports, and what it sends in place of plans."""

from __future__ import annotations

from collections.abc import Callable

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node
from trajectory_msgs.msg import JointTrajectory

from difftori_ros import codecs
from difftori_ros.policy.mailbox import GuardMailbox
from difftori_ros.status.guard_report import GuardReport, GuardReportError

from .node_base import COMMAND_QOS, STATUS_QOS


class GuardInputs:
    """Subscriptions to the guard, from the first to `close`."""

    def __init__(self, node: Node, mailbox: GuardMailbox, steady_s: Callable[[], float]):
        """Listen.

        Args:
            node: The node.
            mailbox: Takes what has come.
            steady_s: The steady clock [s].
        """
        self._node, self._mailbox, self._steady_s = node, mailbox, steady_s
        subscribe = node.create_subscription
        self._open = [
            subscribe(DiagnosticStatus, "guard_node/status", self._on_status, STATUS_QOS),
            subscribe(JointTrajectory, "guard_node/changed", self._on_changed, COMMAND_QOS),
        ]

    def close(self) -> None:
        """Nothing is received any more."""
        while self._open:
            self._node.destroy_subscription(self._open.pop())

    def _on_status(self, message: DiagnosticStatus) -> None:
        try:
            self._mailbox.guard_reported(GuardReport.from_status(message), self._steady_s())
        except GuardReportError as error:
            self._warn("guard_node/status", error)

    def _on_changed(self, message: JointTrajectory) -> None:
        try:
            self._mailbox.plan_replaced(codecs.decode_trajectory(message))
        except codecs.CodecError as error:
            self._warn("guard_node/changed", error)

    def _warn(self, topic: str, error: Exception) -> None:
        self._node.get_logger().warning(f"'{topic}': {error}", throttle_duration_sec=2.0)
