# SPDX-License-Identifier: MIT
"""What the guard says on `~/status`: one dataclass, and the texts by key that stand for it there.

Whoever writes or reads `guard_node/status` does it here. No ROS: messages are read by attributes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from difftori_ros.errors import DifftoriError
from difftori_ros.types import GuardState, Level, Reason

KEYS = (
    *("code", "state", "since_s", "accepted", "changed", "refused"),
    *("amount", "jitter_ms_p99", "window_ms_p99"),
)
"""Keys of every status of the guard."""
VERDICT_KEYS = ("verdict", "verdict_stamp_ns", "verdict_code", "verdict_detail")
"""Keys that follow once a plan has been judged."""
VERDICTS = {"accepted": True, "refused": False}


class GuardReportError(DifftoriError, ValueError):
    """A message is no status of a guard; the sentence says what it lacks."""


@dataclass(frozen=True)
class PlanVerdict:
    """What has become of one plan.

    Attributes:
        stamp_ns: Stamp of the plan [ns].
        accepted: Whether it went to the controllers.
        reason: OK; GUARD_ACTIVE when it was changed; or why it was refused.
        detail: One sentence with numbers.
    """

    stamp_ns: int
    accepted: bool
    reason: Reason
    detail: str = ""


@dataclass(frozen=True)
class GuardReport:
    """One status of the guard.

    Attributes:
        state: What the guard is doing.
        reason: Why.
        level: Severity.
        sentence: The reason in words, with numbers where there are some.
        since_s: For how long it has been that [s].
        accepted: Plans passed on so far.
        changed: Those of them that were changed.
        refused: Plans refused so far.
        slowdown: Share of speed or path that was taken from the last plan passed on [1].
        jitter_ms_p99: By how much the guard's period is off, 99th percentile [ms].
        window_ms_p99: From the last look at the clock to the end of a plan's publishing, 99th
            percentile [ms].
        verdict: What has become of the last plan; None when none was judged yet.
    """

    state: GuardState
    reason: Reason
    level: Level = Level.OK
    sentence: str = ""
    since_s: float = 0.0
    accepted: int = 0
    changed: int = 0
    refused: int = 0
    slowdown: float = 0.0
    jitter_ms_p99: float = math.nan
    window_ms_p99: float = math.nan
    verdict: PlanVerdict | None = None

    @property
    def accepted_ns(self) -> int | None:
        """Stamp of the last plan if it was accepted [ns]."""
        return self.verdict.stamp_ns if self.verdict and self.verdict.accepted else None

    @property
    def refused_ns(self) -> int | None:
        """Stamp of the last plan if it was refused [ns]."""
        return self.verdict.stamp_ns if self.verdict and not self.verdict.accepted else None

    def to_status(self) -> tuple[Level, str, dict[str, str]]:
        """Level, message and values of a diagnostic_msgs/DiagnosticStatus; numbers are rounded."""
        values = {
            "code": self.reason.name,
            "state": self.state.name,
            "since_s": f"{self.since_s:.1f}",
            "accepted": str(self.accepted),
            "changed": str(self.changed),
            "refused": str(self.refused),
            "amount": f"{self.slowdown:.2f}",
            "jitter_ms_p99": f"{self.jitter_ms_p99:.2f}",
            "window_ms_p99": f"{self.window_ms_p99:.2f}",
        }
        if (verdict := self.verdict) is not None:
            values |= {
                "verdict": "accepted" if verdict.accepted else "refused",
                "verdict_stamp_ns": str(verdict.stamp_ns),
                "verdict_code": verdict.reason.name,
                "verdict_detail": verdict.detail,
            }
        return self.level, self.sentence, values

    @classmethod
    def from_status(cls, message: Any) -> GuardReport:
        """Read a diagnostic_msgs/DiagnosticStatus.

        Raises:
            GuardReportError: It is no status of a guard.
        """
        values: dict[str, str] = {pair.key: pair.value for pair in message.values}
        wanted = KEYS if values.keys().isdisjoint(VERDICT_KEYS) else (*KEYS, *VERDICT_KEYS)
        if missing := [key for key in wanted if key not in values]:
            raise GuardReportError(
                f"a status of the guard has {', '.join(wanted)}; "
                f"it lacks {', '.join(missing)}, and has {', '.join(values) or 'none'}"
            )
        try:
            return cls(
                GuardState[values["state"]],
                Reason[values["code"]],
                Level(message.level[0]),
                message.message,
                float(values["since_s"]),
                int(values["accepted"]),
                int(values["changed"]),
                int(values["refused"]),
                float(values["amount"]),
                float(values["jitter_ms_p99"]),
                float(values["window_ms_p99"]),
                _verdict(values) if wanted is not KEYS else None,
            )
        except (KeyError, ValueError) as error:
            raise GuardReportError(
                f"a status of the guard cannot hold {error}: {values}"
            ) from error


def _verdict(values: dict[str, str]) -> PlanVerdict:
    return PlanVerdict(
        int(values["verdict_stamp_ns"]),
        VERDICTS[values["verdict"]],
        Reason[values["verdict_code"]],
        values["verdict_detail"],
    )
