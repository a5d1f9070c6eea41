# SPDX-License-Identifier: MIT
"""The black box: the last seconds of every topic in memory, and when they are worth a file.

Messages are kept as the bytes they came as. No clock of its own: every time is passed in.
"""

from __future__ import annotations

import heapq
from collections import deque

from difftori_ros.status.guard_report import GuardReport
from difftori_ros.types import GuardState, Reason

from .mcap_file import Heard

OVERHEAD = 200
"""What a message costs in memory besides its own bytes, so that many empty ones count [bytes]."""
SILENCE_S = 1.0
"""Silence of the guard after which it is lost [s]; it speaks ten times a second."""
CALM = (Reason.OK, Reason.WAITING, Reason.PAUSED, Reason.STOPPED)
"""Reasons that are no fault, although the guard may brake on the operator's wish."""
POLICY_FAULTS = tuple(
    reason.name
    for reason in (Reason.DIVERGED, Reason.DEADLINE, Reason.DEVICE_LOST, Reason.EXCEPTION)
)
"""Codes with which the policy gives up; what else it reports, the guard decides upon."""


class Ring:
    """The messages of the last seconds, within a limit of bytes.

    When the bytes do not suffice, the topic that takes most of them loses its oldest message:
    clouds never push out the commands.

    Attributes:
        size: Bytes held.
    """

    def __init__(self, seconds: float, max_bytes: int):
        self._span_ns, self._max_bytes = round(seconds * 1e9), max_bytes
        self._heard: dict[str, deque[Heard]] = {}
        self._bytes: dict[str, int] = {}
        self.size = 0

    @property
    def roles(self) -> list[str]:
        """What has been heard within the last seconds."""
        return sorted(role for role, heard in self._heard.items() if heard)

    def push(self, message: Heard) -> None:
        """Keep a message, and forget what is too old or too much."""
        role, size = message.role, len(message.data) + OVERHEAD
        self._heard.setdefault(role, deque()).append(message)
        self._bytes[role] = self._bytes.get(role, 0) + size
        self.size += size
        self.forget(message.steady_ns)
        while self.size > self._max_bytes:
            self._drop(max(self._bytes, key=self._bytes.__getitem__))

    def forget(self, now_ns: int) -> None:
        """Forget what is too old at `now_ns` [steady clock]."""
        before_ns = now_ns - self._span_ns
        for role, heard in self._heard.items():
            while heard and heard[0].steady_ns < before_ns:
                self._drop(role)

    def messages(self) -> list[Heard]:
        """Everything held, in the order in which it came."""
        return list(heapq.merge(*self._heard.values(), key=lambda heard: heard.steady_ns))

    def _drop(self, role: str) -> None:
        size = len(self._heard[role].popleft().data) + OVERHEAD
        self._bytes[role] -= size
        self.size -= size


class FaultWatch:
    """Says when a fault begins: once, until its source has been well again."""

    def __init__(self) -> None:
        self._faulty: set[str] = set()
        self._guard_ns: int | None = None

    def policy_fails(self, code: str) -> bool:
        """True when the policy reports a fault that it had not before.

        Args:
            code: Code of its `~/status`.
        """
        return self._note("policy", code in POLICY_FAULTS)

    def guard_fails(self, report: GuardReport, steady_ns: int) -> bool:
        """True when the guard reports a fault that it had not before.

        Args:
            report: Its `~/status`.
            steady_ns: When that came [ns, steady clock].
        """
        # one that is inactive may fall silent; of one in FAULT there is a file already
        silent = report.state in (GuardState.INACTIVE, GuardState.FAULT)
        self._guard_ns = None if silent else steady_ns
        self._note("silence", False)
        faulty = report.state.has_stopped_the_arm and report.reason not in CALM
        return self._note("guard", faulty)

    def guard_lost(self, steady_ns: int) -> bool:
        """True when the guard has just been silent for too long without having said goodbye."""
        silent = self._guard_ns is not None and steady_ns - self._guard_ns > SILENCE_S * 1e9
        return self._note("silence", silent)

    def _note(self, source: str, faulty: bool) -> bool:
        begins = faulty and source not in self._faulty
        (self._faulty.add if faulty else self._faulty.discard)(source)
        return begins
