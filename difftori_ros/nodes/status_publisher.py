# SPDX-License-Identifier: MIT
"""Publishes what a node says of itself: `~/status` each time, `/diagnostics` now and then."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from rclpy.qos import QoSProfile

DIAGNOSTICS_S = 1.0
"""Time between two messages on `/diagnostics` while code and level stay the same [s]."""


class StatusPublisher:
    """Publishes a node's status. Any thread may publish; without a subscriber nothing is built.

    The message is kept, and only what has changed in it is written anew.
    """

    def __init__(self, node: Node, qos: QoSProfile):
        """Nothing is published yet."""
        self._node, self._lock = node, threading.Lock()
        self._status = node.create_publisher(DiagnosticStatus, "~/status", qos)
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", qos)
        self._message = DiagnosticStatus(name=node.get_name())
        self._pairs: dict[str, KeyValue] = {}
        self._shown: tuple[int, str] | None = None
        self._published_s = self._shown_s = -math.inf

    def publish(self, level: int, text: str, values: Mapping[str, str], steady_s: float) -> None:
        """Publish a status; on `/diagnostics` when level or code is new, or it is time again.

        Args:
            level: Severity.
            text: A sentence.
            values: Everything else; the stable code is under `code`.
            steady_s: The time [s, steady clock].
        """
        with self._lock:
            self._published_s = steady_s
            kind = int(level), values.get("code", "")
            show = kind != self._shown or steady_s - self._shown_s >= DIAGNOSTICS_S
            subscribed = self._status.get_subscription_count() > 0
            diagnosed = show and self._diagnostics.get_subscription_count() > 0
            if subscribed or diagnosed:
                self._write(kind[0], text, values)
            if subscribed:
                self._status.publish(self._message)
            if show:
                self._shown, self._shown_s = kind, steady_s
            if diagnosed:
                array = DiagnosticArray(status=[self._message])
                array.header.stamp = self._node.get_clock().now().to_msg()
                self._diagnostics.publish(array)

    def silent_s(self, steady_s: float) -> float:
        """Time since the last status [s]."""
        return steady_s - self._published_s

    def _write(self, level: int, text: str, values: Mapping[str, str]) -> None:
        self._message.level, self._message.message = bytes([level]), text
        if values.keys() != self._pairs.keys():
            self._pairs = {key: KeyValue(key=key) for key in values}
            self._message.values = list(self._pairs.values())
        for key, value in values.items():
            self._pairs[key].value = value
