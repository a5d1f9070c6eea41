# SPDX-License-Identifier: MIT
"""What a node says about itself: counters and codes for `~/status`, and jumps of the clock."""

from .clock_jump import ClockWatch
from .health import Health, HealthStatus, Percentiles, Rate

__all__ = [
    "ClockWatch",
    "Health",
    "HealthStatus",
    "Percentiles",
    "Rate",
]
