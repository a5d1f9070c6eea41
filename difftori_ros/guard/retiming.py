# SPDX-License-Identifier: MIT
"""A plan that exceeds a limit, executed more slowly or not to its end, on the path it has.

A trajectory is a path with a clock: q(s) with s' = 1. Here s(t) is another clock. All joints
share it, so that the arm goes where the plan goes, only later: velocities become q' s',
accelerations q'' s'^2 + q' s''. Where the plan joins the motion under way the velocity is given,
so the clock starts at rate one there and changes its rate linearly from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from difftori_ros.cubic import states_at
from difftori_ros.motion.ruckig_path import SPACING_S
from difftori_ros.types import FloatArray, Reason, Trajectory

from .plan_checks import RefusedError

RATES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
"""Rates that are tried, the fastest first. What is still too fast then is refused."""

RAMPS_S = (0.02, 0.1, 0.3)
"""Times in which the clock comes to its rate [s]: a short one keeps more of the limits."""

SHORTEST_S = 0.02
"""A plan that may not even last this long beyond its join is refused [s]."""

RESTING = 1e-3
"""Speed below which a plan may start at any rate [rad/s]."""

Check = Callable[[Trajectory], None]
"""Raises `RefusedError` for a plan beyond a limit."""


@dataclass(frozen=True)
class Retimed:
    """A plan that keeps the limits, and what was done to it.

    Attributes:
        plan: The plan.
        slowdown: Share of its speed or of its length that was taken away; 0 for none [1].
        detail: What was done and why; empty for nothing.
    """

    plan: Trajectory
    slowdown: float = 0.0
    detail: str = ""


def retime_to_limits(plan: Trajectory, join_ns: int, check: Check, rate: float = 1.0) -> Retimed:
    """The plan as it is when `check` lets it pass, else the fastest way along its path that does.

    Args:
        plan: A well-formed plan.
        join_ns: Where it leaves the motion under way [ns]; what is before stays as it is.
        check: The limits.
        rate: Rate that may not be exceeded in any case [1].

    Raises:
        RefusedError: There is no such way.
    """
    try:
        check(plan)
    except RefusedError as refusal:
        return _saved(plan, join_ns, check, rate, refusal)
    if rate >= 1.0:
        return Retimed(plan)
    for made in _slowed(plan, join_ns, rate):
        if _passes(check, made):
            return Retimed(made, 1 - rate, f"started softly, at {rate:.0%} of the speed")
    return Retimed(plan)


def _saved(
    plan: Trajectory, join_ns: int, check: Check, most: float, refusal: RefusedError
) -> Retimed:
    if refusal.reason in (Reason.POSITION_LIMIT, Reason.WORKSPACE, Reason.SELF_COLLISION):
        for made, share in _stopped(plan, join_ns, refusal.from_s):
            if _passes(check, made):
                return Retimed(
                    made, 1 - share, f"stopped after {share:.0%} of its path: {refusal.detail}"
                )
        raise refusal
    for rate in (rate for rate in RATES if rate <= most):
        for made in _slowed(plan, join_ns, rate):
            if _passes(check, made):
                return Retimed(made, 1 - rate, f"slowed to {rate:.0%}: {refusal.detail}")
    raise refusal


def _passes(check: Check, plan: Trajectory) -> bool:
    try:
        check(plan)
    except RefusedError:
        return False
    return True


def _begin(plan: Trajectory, join_ns: int) -> float:
    """Time of the join on the plan's own times [s]."""
    return max(float(plan.times[0]), (join_ns - plan.stamp_ns) * 1e-9)


def _slowed(plan: Trajectory, join_ns: int, rate: float) -> Iterator[Trajectory]:
    """The plan with a clock that comes to `rate`; at once where the arm rests."""
    begin = _begin(plan, join_ns)
    length = float(plan.times[-1]) - begin
    if length < SHORTEST_S:
        return
    _, speed = plan.sample(plan.stamp_ns + round(begin * 1e9))
    for ramp in (0.0,) if np.abs(speed).max() < RESTING else RAMPS_S:
        # the ramp takes (1 + rate) / 2 of its time off the path
        ramp = min(ramp, 2 * length / (1 + rate))
        total = ramp + (length - ramp * (1 + rate) / 2) / rate
        t = _grid(total)
        in_ramp = np.minimum(t, ramp)
        change = (rate - 1) / ramp if ramp else 0.0
        s = in_ramp + change * in_ramp**2 / 2 + np.maximum(t - ramp, 0.0) * rate
        rates = 1 + change * in_ramp if ramp else np.full_like(t, rate)
        yield _reclocked(plan, begin, t, np.minimum(s, length), rates)


def _stopped(
    plan: Trajectory, join_ns: int, before_s: float | None
) -> Iterator[tuple[Trajectory, float]]:
    """The plan with a clock that stops before a time, and the share of the path that is left.

    The clock slows down over all of the way, half of it, or a quarter.
    """
    begin = _begin(plan, join_ns)
    length = float(plan.times[-1]) - begin
    way = (begin if before_s is None else before_s) - begin
    if way < SHORTEST_S:
        return
    for part in (0.25, 0.5, 1.0):
        even, slowing = (1 - part) * way, 2 * part * way
        t = _grid(even + slowing)
        late = np.clip(t - even, 0.0, slowing)
        s = np.minimum(t, even) + late - late**2 / (2 * slowing)
        yield _reclocked(plan, begin, t, s, 1 - late / slowing), way / length


def _grid(total: float) -> FloatArray:
    return np.linspace(0.0, total, max(2, round(total / SPACING_S) + 1))


def _reclocked(
    plan: Trajectory, begin: float, t: FloatArray, s: FloatArray, rates: FloatArray
) -> Trajectory:
    """The plan until `begin`, and from there its path at s(t), ending at rest."""
    positions, velocities = states_at(plan.times, plan.positions, plan.velocities, begin + s)
    velocities *= rates[:, None]
    velocities[-1] = 0.0
    kept = plan.times < begin - 1e-6
    return Trajectory(
        plan.stamp_ns,
        plan.joint_names,
        np.concatenate([plan.times[kept], begin + t]),
        np.vstack([plan.positions[kept], positions]),
        np.vstack([plan.velocities[kept], velocities]),
    )
