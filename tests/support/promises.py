# SPDX-License-Identifier: MIT
"""Promise P1, checked without the code that keeps it: every command is finite, within the limits,
continuous, and ends at rest. The interpolation is written out here once more on purpose."""

from collections import deque

import numpy as np

from difftori_ros.robot.profile import RobotProfile
from difftori_ros.types import GuardState, JointState, Reason, Trajectory

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
    """Position and velocity (n,) at a time: on the cubic, and at rest before and after it."""
    t = (time_ns - trajectory.stamp_ns) / 1e9
    if not trajectory.times[0] <= t < trajectory.times[-1]:
        end = 0 if t < trajectory.times[0] else -1
        return trajectory.positions[end].copy(), np.zeros(trajectory.positions.shape[1])
    k = int(np.searchsorted(trajectory.times, t, side="right")) - 1
    p, v, c, d = (part[k] for part in coefficients(trajectory))
    s = t - trajectory.times[k]
    return p + s * (v + s * (c + s * d)), v + s * (2 * c + 3 * s * d)


def start_ns(trajectory: Trajectory) -> int:
    """Time of the first point [ns]."""
    return trajectory.stamp_ns + round(float(trajectory.times[0]) * 1e9)


def assert_valid(
    trajectory: Trajectory,
    profile: RobotProfile,
    *,
    after: Trajectory | None = None,
    at_ns: int | None = None,
    measured=None,
    position_tolerance: float = 0.01,
    velocity_factor: float = 1.05,
    acceleration_factor: float = 1.25,
    start_tolerance: float = 0.2,
    continuity: tuple[float, float] = (0.02, 0.3),
) -> None:
    """Pass when the command for the arm, the gripper or both keeps P1.

    Args:
        trajectory: The command.
        profile: The robot it is for.
        after: The command of the same joints that it replaces at `at_ns`, if one is under way.
        at_ns: When the guard passed it on.
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
        assert np.abs(trajectory.positions[0, :n] - measured).max() <= start_tolerance
    if after is None or at_ns is None or at_ns >= after.end_ns:
        return
    join_ns = max(at_ns, start_ns(trajectory))
    if join_ns >= after.end_ns:
        return
    (p, v), (q, w) = state_at(trajectory, join_ns), state_at(after, join_ns)
    step, change = np.abs(p[:n] - q[:n]).max(), np.abs(v[:n] - w[:n]).max()
    fits = step <= continuity[0] + 1e-9 and change <= continuity[1] + 1e-9
    assert fits, f"jumps by {step} rad, {change} rad/s"


START_TOLERANCE_RAD = 0.2
"""The guard's own tolerance, and what a hand moves the arm between two joint states [rad]."""
REST_WITHIN_S = 0.2 + 0.05 + 0.5
"""Horizon of the shipped checkpoints, one action to come to rest, longest braking [s] (P3)."""


SEEN_NS = 10_000_000
"""How long before a command is published the guard may have looked at the clock [ns]."""
CONTINUITY = (0.02, 0.3)
"""Allowed step of the arm's position and velocity against what it follows [rad, rad/s]."""
GRIPPER_SHARE, GRIPPER_LAG_S = 0.1, 0.075
"""The gripper's target may step by that share of its stroke, and by how far it lags behind."""


class Followed:
    """What the joints of one controller follow, as far as it was heard."""

    def __init__(self) -> None:
        self._sent: deque[Trajectory] = deque(maxlen=4)
        self.published_ns: int | None = None

    def add(self, command: Trajectory, published_ns: int) -> None:
        """The command replaces what was followed, from its first point on."""
        self._sent.append(command)
        self.published_ns = published_ns

    def at(self, time_ns: int) -> Trajectory | None:
        """The newest command that has begun by then; None when there is none.

        One that has not begun at a time after it was sent is of a clock that has jumped since.
        """
        return next((one for one in reversed(self._sent) if start_ns(one) <= time_ns), None)


def gaps_at(command: Trajectory, time_ns: int, followed: Followed, measured, profile):
    """By how much the command is off from what its joints follow then: position, velocity (n,).

    A motion that is under way counts. A joint at rest is where that has ended, or where it was
    measured; the gripper may be where it was measured at any time. What is not known counts as 0.
    """
    position, velocity = state_at(command, time_ns)
    running = followed.at(time_ns)
    under_way = running is not None and time_ns < running.end_ns
    gaps = rates = np.full(len(position), np.inf)
    if running is not None:
        was_at, was_moving = state_at(running, time_ns)
        gaps, rates = np.abs(position - was_at), np.abs(velocity - was_moving)
    arm = np.array([name in profile.arm_joints for name in command.joint_names])
    if measured is None:
        known = np.isfinite(rates)  # and at rest it is how fast they move, but not where they are
        return np.where(under_way, gaps, 0.0), np.where(known, rates, 0.0)
    columns = [measured.names.index(name) for name in command.joint_names]
    away_s = abs(time_ns - measured.stamp_ns) * 1e-9
    limits = dict(zip(profile.arm_joints, profile.acceleration, strict=True))
    effort = np.array([limits.get(name, 0.0) for name in command.joint_names])
    moving = measured.velocity[columns]
    reach = np.abs(moving) * away_s + effort * away_s**2 / 2
    reach[~arm] = away_s * (profile.gripper.velocity if profile.gripper else 0.0)
    here = np.maximum(np.abs(position - measured.position[columns]) - reach, 0.0)
    gaps = np.where(arm & under_way, gaps, np.minimum(gaps, here))
    if running is None:
        rates = np.maximum(np.abs(velocity - moving) - effort * away_s, 0.0)
    return gaps, rates


def assert_joins(
    command: Trajectory,
    published_ns: int,
    followed: Followed,
    profile: RobotProfile,
    measured: JointState | None = None,
    continuity: tuple[float, float] = CONTINUITY,
) -> None:
    """Pass when the command fits to what its joints follow when it is sent.

    Args:
        command: Of the arm, the gripper or both.
        published_ns: When it was published, by its own clock [ns].
        followed: What was sent to the same controller before.
        profile: The robot.
        measured: The joints at about that time, if known.
        continuity: Allowed step of the arm in position and velocity [rad, rad/s].
    """
    names = command.joint_names
    arm = np.array([name in profile.arm_joints for name in names])
    steps, changes = np.full(len(names), continuity[0]), np.full(len(names), continuity[1])
    if profile.gripper:
        stroke = abs(profile.gripper.open - profile.gripper.closed)
        lag = profile.gripper.velocity * GRIPPER_LAG_S
        steps[~arm], changes[~arm] = GRIPPER_SHARE * stroke + lag, np.inf
    before_ns = published_ns if followed.published_ns is None else followed.published_ns
    first_ns = min(max(published_ns - SEEN_NS, before_ns), published_ns)
    excesses = []
    for t_ns in np.linspace(first_ns, published_ns, MOMENTS).astype(np.int64).tolist():
        moment_ns = max(t_ns, start_ns(command))
        gaps, rates = gaps_at(command, moment_ns, followed, measured, profile)
        excess = max((gaps - steps).max(), (rates - changes).max())
        excesses.append((excess, gaps.max(), rates.max()))
    excess, gap, rate = min(excesses)
    who = "the arm" if arm.any() else "the gripper"
    assert excess <= 1e-9, f"{who} jumps by {gap} rad or m, {rate} a second"


def assert_promises(
    commands,
    times_ns,
    reports,
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
        reports: Every status of the guard, as `GuardReport`.
        profile: The robot.
        max_age_s: Oldest inputs that a command may stem from when it is published [s].
        rest_within_s: Longest command [s].
        measured: For each command the joints when it was published, or None.
    """
    followed: dict[tuple[str, ...], Followed] = {}
    measured = [None] * len(commands) if measured is None else measured
    n = len(profile.arm_joints)
    for command, published_ns, joints in zip(commands, times_ns, measured, strict=True):
        assert_valid(command, profile)  # P1
        own = followed.setdefault(command.joint_names, Followed())
        assert_joins(command, published_ns, own, profile, joints)
        if joints is not None and command.joint_names[:n] == profile.arm_joints:
            target, _ = state_at(command, published_ns)
            away = np.abs(target[:n] - joints.position[:n]).max()
            assert away <= START_TOLERANCE_RAD, f"{away} rad from where the arm is"
        age_s = (published_ns - command.stamp_ns) * 1e-9
        assert age_s <= max_age_s, (
            f"P2: made from inputs {age_s:.3f} s old, sent at {published_ns}"
        )
        assert command.times[-1] - command.times[0] <= rest_within_s, "P3: rests too late"
        own.add(command, published_ns)
    for report in reports:
        stopped = report.state in (GuardState.BRAKE, GuardState.FAULT)
        named = report.reason is not Reason.OK and len(report.sentence) > 10
        assert named or not stopped, f"P4: a stop without a name: {report}"


def longest_step(states, profile, late=()) -> tuple[float, int]:
    """How much further than at full speed a joint of the arm got between two samples, and when.

    Args:
        states: Where the arm was, in order, joints as in `profile`.
        profile: The robot.
        late: Times between which a command was on its way to the arm [ns]. One that was so for
            longer than `SEEN_NS` is no jump of the guard's: the steps meanwhile are left out.

    Returns:
        The step [rad], at least 0, and the stamp of its first sample [ns].
    """
    stamps = np.array([state.stamp_ns for state in states])
    path = np.array([state.position[: len(profile.arm_joints)] for state in states])
    allowed = 1.05 * profile.velocity * np.diff(stamps)[:, None] * 1e-9
    steps = (np.abs(np.diff(path, axis=0)) - allowed).max(axis=1)
    for sent_ns, taken_ns in late:
        if taken_ns - sent_ns > SEEN_NS:
            steps[(stamps[1:] >= sent_ns) & (stamps[:-1] <= taken_ns)] = 0.0
    k = int(steps.argmax())
    return max(0.0, float(steps[k])), int(stamps[k])
