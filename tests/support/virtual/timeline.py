# SPDX-License-Identifier: MIT
"""What happened before a promise was broken, line by line."""

from __future__ import annotations

from difftori_ros.types import Trajectory
from tests.support.virtual.arm import start_ns
from tests.support.virtual.clock import BEGIN_NS, MS
from tests.support.virtual.world import World

BEFORE_MS, AFTER_MS = 900.0, 60.0


def story(world: World, around_ms: float | None = None) -> str:
    """The events around a time [ms after the beginning], or all of them."""
    lines: list[str] = []
    state = ""
    for at_ns, what, *more in world.notes:
        ms = (at_ns - BEGIN_NS) / MS
        if around_ms is not None and not -BEFORE_MS <= ms - around_ms <= AFTER_MS:
            continue
        if what == "status":
            if more[:2] == state:
                continue
            state = more[:2]
        lines.append(f"{ms:9.2f} {_line(world, what, more)}")
    return "\n".join(lines)


def _line(world: World, what: str, more: list) -> str:
    offset_ns = BEGIN_NS + world.offset_ns

    def times(plan: Trajectory) -> str:
        shown = (plan.stamp_ns, start_ns(plan), plan.end_ns)
        stamp, start, end = (f"{(ns - offset_ns) / MS:.1f}" for ns in shown)
        return f"made from {stamp}, from {start} to {end}"

    if what == "plan":
        return f"policy sends a plan {times(more[0])}"
    if what == "command":
        names = "arm" if len(more[0].joint_names) > 1 else "gripper"
        return f"guard commands the {names}, {times(more[0])}"
    if what == "changed":
        return f"guard tells of a change, {times(more[0])}"
    if what == "verdict":
        now_ns, verdict = more
        return f"guard at {(now_ns - offset_ns) / MS:.1f}: {verdict.reason.name} {verdict.detail}"
    if what == "status":
        return f"guard says {more[0]} {more[1]}: {more[2]}"
    if what == "set":
        return "guard streams a set"
    return " ".join([what.upper() if what == "breach" else what, *map(str, more)])[:300]
