# SPDX-License-Identifier: MIT
"""What the guard says on `~/status` is read as it was written; nothing else is taken for it."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest

from difftori_ros.status.guard_report import KEYS, GuardReport, GuardReportError, PlanVerdict
from difftori_ros.types import GuardState, Level, Reason

VERDICT = PlanVerdict(1_700_000_000_123_456_789, False, Reason.BAD_TIMES, "ends: 0.5 s ago")
REPORT = GuardReport(
    GuardState.COAST,
    Reason.PLANS_LATE,
    Level.WARN,
    "no new plan has come: the inputs are 0.41 s old",
    *(12.3, 41, 3, 2, 0.25, 0.12, 1.5),
    VERDICT,
)


def message(report: GuardReport, **changed: str | None) -> SimpleNamespace:
    level, text, values = report.to_status()
    values = {key: value for key, value in (values | changed).items() if value is not None}
    pairs = [SimpleNamespace(key=key, value=value) for key, value in values.items()]
    return SimpleNamespace(level=bytes([level]), message=text, values=pairs)


@pytest.mark.parametrize("verdict", [None, VERDICT, replace(VERDICT, accepted=True)])
@pytest.mark.parametrize("state", GuardState)
def test_a_report_is_read_as_it_was_written(state, verdict):
    report = replace(REPORT, state=state, verdict=verdict)
    assert GuardReport.from_status(message(report)) == report


def test_what_was_never_measured_is_not_a_number():
    read = GuardReport.from_status(message(GuardReport(GuardState.INACTIVE, Reason.STOPPED)))
    assert math.isnan(read.jitter_ms_p99)
    assert math.isnan(read.window_ms_p99)
    assert read.verdict is None


def test_the_last_plan_is_either_accepted_or_refused():
    accepted = replace(REPORT, verdict=replace(VERDICT, accepted=True))
    assert (REPORT.accepted_ns, REPORT.refused_ns) == (None, VERDICT.stamp_ns)
    assert (accepted.accepted_ns, accepted.refused_ns) == (VERDICT.stamp_ns, None)
    unjudged = replace(REPORT, verdict=None)
    assert (unjudged.accepted_ns, unjudged.refused_ns) == (None, None)


@pytest.mark.parametrize("key", [*KEYS, "verdict_code"])
def test_a_message_that_lacks_something_is_refused_by_name(key):
    with pytest.raises(GuardReportError, match=f"it lacks {key}, and has "):
        GuardReport.from_status(message(REPORT, **{key: None}))


@pytest.mark.parametrize(
    ("key", "text"),
    [("state", "DREAMING"), ("code", "SAD"), ("accepted", "1.5"), ("verdict", "perhaps")],
)
def test_a_message_that_cannot_be_understood_is_refused_by_name(key, text):
    with pytest.raises(GuardReportError, match=text):
        GuardReport.from_status(message(REPORT, **{key: text}))
