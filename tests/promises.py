# SPDX-License-Identifier: MIT
"""Promise P1, checked without the code that keeps it: every command is finite, within the limits,
continuous, and ends at rest. The interpolation is written out here once more on purpose."""

import numpy as np

from difftori_ros.robot import RobotProfile
from difftori_ros.types import Trajectory

DENSE = 9
MOMENTS = 9


def coefficients(trajectory: Trajectory):
    """Of every segment's cubic in the time since its first point: four arrays (P - 1, n)."""
    h = np.diff(trajectory.times)[:, None]
    p, v, w = trajectory.positions[:-1], trajectory.velocities[:-1], trajectory.velocities[1:]
    slope = np.diff(trajectory.positions, axis=0) / h
    return p, v, (3 * slope - 2 * v - w) / h, (-2 * slope + v + w) / h**2


def everywhere(trajectory: Trajectory):
    """Positions, velocities and accelerations (M, n) of the cubics at many times."""
    p, v, c, d = (part[:, None, :] for part in coefficients(trajectory))
    s = np.diff(trajectory.times)[:, None, None] * np.linspace(0.0, 1.0, DENSE)[None, :, None]
    parts = p + s * (v + s * (c + s * d)), v + s * (2 * c + 3 * s * d), 2 * c + 6 * s * d
    return tuple(part.reshape(-1, part.shape[-1]) for part in parts)


def state_at(trajectory: Trajectory, time_ns: int):
    """Position and velocity (n,) of the cubic at a time between the first and the last point."""
    t = (time_ns - trajectory.stamp_ns) * 1e-9
    k = int(np.searchsorted(trajectory.times, t, side="right")) - 1
    k = min(max(k, 0), len(trajectory.times) - 2)
    p, v, c, d = (part[k] for part in coefficients(trajectory))
    s = t - trajectory.times[k]
    return p + s * (v + s * (c + s * d)), v + s * (2 * c + 3 * s * d)


def assert_valid(
    trajectory: Trajectory,
    profile: RobotProfile,
    *,
    after: Trajectory | None = None,
    at_ns: int | None = None,
    until_ns: int = 0,
    measured=None,
    position_tolerance: float = 0.01,
    velocity_factor: float = 1.05,
    acceleration_factor: float = 1.25,
    start_tolerance: float = 0.15,
    continuity: tuple[float, float] = (0.02, 0.3),
) -> None:
    """Pass when the command for the arm, the gripper or both keeps P1.

    Args:
        trajectory: The command.
        profile: The robot it is for.
        after: The command of the same joints that it replaces at `at_ns`, if one is under way.
        at_ns: When the guard passed it on.
        until_ns: When that is known less exactly: it was at `at_ns` or later, until then.
        measured: Arm positions (n,) measured at the time, if known.
        position_tolerance: Allowed excess of the arm's position limits [rad].
        velocity_factor: Allowed velocity over the limit.
        acceleration_factor: Allowed acceleration of the arm over the limit.
        start_tolerance: Allowed distance from `measured` [rad].
        continuity: Allowed step in position and velocity of the arm against `after` [rad, rad/s].
    """
    names, n = trajectory.joint_names, len(profile.arm_joints)
    assert set(names) <= set(profile.joint_names)
    assert len(set(names)) == len(names)
    arrays = (trajectory.times, trajectory.positions, trajectory.velocities)
    assert all(np.isfinite(values).all() for values in arrays), "not finite"
    assert trajectory.positions.shape == trajectory.velocities.shape
    assert trajectory.positions.shape == (len(trajectory.times), len(names))
    assert len(trajectory.times) >= 2
    assert trajectory.times[0] >= 0
    assert (np.diff(trajectory.times) > 0).all(), "times do not increase"
    assert np.abs(trajectory.velocities[-1]).max() <= 1e-6, "does not end at rest"

    limits = {
        name: (profile.lower[k], profile.upper[k], profile.velocity[k], profile.acceleration[k])
        for k, name in enumerate(profile.arm_joints)
    }
    slack = {name: position_tolerance for name in limits}
    if profile.gripper:
        low, high = sorted((profile.gripper.open, profile.gripper.closed))
        limits[profile.gripper.joint] = (low, high, profile.gripper.velocity, np.inf)
        slack[profile.gripper.joint] = 0.05 * (high - low)
    lower, upper, speed, effort = (np.array([limits[name][k] for name in names]) for k in range(4))
    excess = np.array([slack[name] for name in names]) + 1e-9
    p, v, a = everywhere(trajectory)
    checks = (
        ("below the lower limits", lower - p - excess),
        ("above the upper limits", p - upper - excess),
        ("too fast", np.abs(v) - speed * velocity_factor - 1e-9),
        ("accelerates too hard", np.abs(a) - effort * acceleration_factor - 1e-6),
    )
    for what, too_much in checks:
        row, k = np.unravel_index(np.argmax(too_much), too_much.shape)
        where = trajectory.times[int(row) // DENSE]
        assert too_much[row, k] <= 0, f"{names[k]} {what} by {too_much[row, k]} after {where} s"

    if names[:n] != profile.arm_joints:
        return
    if measured is not None:
        assert np.abs(trajectory.positions[0, :n] - measured).max() <= start_tolerance + 0.05
    if after is None or at_ns is None or at_ns >= after.end_ns:
        return
    join_ns = max(at_ns, trajectory.stamp_ns + round(float(trajectory.times[0]) * 1e9))
    if join_ns >= after.end_ns:
        return
    last_ns = max(join_ns, min(until_ns, after.end_ns, trajectory.end_ns))
    steps = []
    for t_ns in np.linspace(join_ns, last_ns, MOMENTS).astype(np.int64).tolist():
        (p, v), (q, w) = state_at(trajectory, t_ns), state_at(after, t_ns)
        steps.append((np.abs(p[:n] - q[:n]).max(), np.abs(v[:n] - w[:n]).max()))
    excess = np.array(steps) - np.array(continuity) - 1e-9
    smallest = steps[int(excess.max(axis=1).argmin())]
    assert excess.max(axis=1).min() <= 0, f"jumps by {smallest[0]} rad, {smallest[1]} rad/s"


REST_WITHIN_S = 0.2 + 0.05 + 0.5
"""Horizon of the shipped checkpoints, one action to come to rest, longest braking [s] (P3)."""


def assert_promises(
    commands,
    times_ns,
    statuses,
    profile,
    *,
    max_age_s: float = 0.5,
    rest_within_s: float = REST_WITHIN_S,
    measured=None,
) -> None:
    """Pass when everything that was heard keeps P1 to P4.

    Args:
        commands: Every command to a controller, in order, since the last reset.
        times_ns: The data clock when each was published [ns].
        statuses: Values of every status heard, with the sentence under `message`.
        profile: The robot.
        max_age_s: Oldest inputs that a command may stem from when it is published [s].
        rest_within_s: Longest command [s].
        measured: Arm positions (n,) measured at about that time, if known [rad].
    """
    before: dict[tuple[str, ...], Trajectory] = {}
    measured = [None] * len(commands) if measured is None else measured
    for command, published_ns, arm in zip(commands, times_ns, measured, strict=True):
        start_ns = command.stamp_ns + round(float(command.times[0]) * 1e9)
        running = before.get(command.joint_names)
        under_way = running is not None and start_ns < running.end_ns
        after = running if under_way else None
        assert_valid(
            command, profile, after=after, measured=arm, at_ns=start_ns, until_ns=published_ns
        )  # P1
        assert (published_ns - command.stamp_ns) * 1e-9 <= max_age_s, "P2: made from old inputs"
        assert command.times[-1] - command.times[0] <= rest_within_s, "P3: rests too late"
        before[command.joint_names] = command
    for values in statuses:
        stopped = values.get("state") in ("BRAKE", "FAULT")
        named = values["code"] != "OK" and len(values["message"]) > 10
        assert named or not stopped, f"P4: a stop without a name: {values}"
