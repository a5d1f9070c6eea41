# SPDX-License-Identifier: MIT
"""What every node asks of rclpy, answered by a machine that is only computed."""

from __future__ import annotations

from typing import Any

from tests.support.virtual.ros import Machine, Timer, VirtualClock, VirtualLog, VirtualPublisher


class VirtualNode:
    """To be inherited before the real node.

    Attributes:
        machine: Its process's machine.
    """

    machine: Machine

    def create_publisher(self, kind: Any, topic: str, qos: Any) -> Any:
        """A publisher whose messages reach the world."""
        return VirtualPublisher(self.machine, topic)

    def create_timer(self, period_s: float, callback: Any, clock: Any = None) -> Any:
        """A timer of the steady clock."""
        timer = Timer(self.machine, round(period_s * 1e9), callback)
        self.machine.timers.append(timer)
        return timer

    def get_clock(self) -> Any:
        """The clock of the stamps."""
        return VirtualClock(self.machine, steady=False)

    def get_logger(self) -> Any:
        """Its words are kept."""
        return VirtualLog(self.keep)

    def keep(self, text: str) -> None:
        """A line of the log."""
        raise NotImplementedError

    def get_namespace(self) -> str:
        """All nodes have the same."""
        return "/"
