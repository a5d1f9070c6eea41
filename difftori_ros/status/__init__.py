# SPDX-License-Identifier: MIT
"""What a node says about itself: `~/status` of the guard and of others, and clock jumps."""

from .clock_jump import ClockWatch
from .guard_report import GuardReport, GuardReportError, PlanVerdict
from .health import Health, HealthStatus, Percentiles, Rate

__all__ = [
    "ClockWatch",
    "GuardReport",
    "GuardReportError",
    "Health",
    "HealthStatus",
    "Percentiles",
    "PlanVerdict",
    "Rate",
]
