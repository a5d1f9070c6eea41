# SPDX-License-Identifier: MIT
"""Joint waypoints become a trajectory that keeps the limits, joins the motion under way and ends at rest.

A jerk-limited trajectory filter (Berscheid and Kroeger, "Jerk-limited Real-time Trajectory Generation with
Arbitrary Target States", RSS 2021) chases the waypoints one after the other; its motion is sampled into points
with positions and velocities, between which controllers interpolate cubically.

One invariant keeps the arm inside its position limits: every state on the way is one from which braking at
once stays inside. A piece of motion that would break it is not taken; the arm brakes instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import ruckig

from difftori_models.contract import FloatArray
from difftori_ros.robot import Gripper, RobotProfile
from difftori_ros.types import Trajectory

SPACING_S = 0.01
"""Longest time between two points of a trajectory [s]. A finer spacing allows a greater jerk, see below."""

SPEED_MARGIN = 0.99
"""Share of the velocity limit that is planned with; the cubic between two points may need the rest."""

EFFORT_MARGIN = 0.95
"""Share of the acceleration limit that is planned with; the cubic between two points may need the rest."""

RAMP_SPACINGS = 1.5
"""Spacings it takes the acceleration to rise from zero to its limit.

The second derivative of the cubic through two samples is the least-squares line through the true
acceleration between them. It exceeds a true acceleration of at most `a`, whose slope is at most `a / (r h)`, by
at most 4 / (27 r) `a` on an interval of length `h`: by 9.9 % for r = 1.5.
"""

LOOK_AHEAD = 2
"""Waypoints from now to the one aimed at. Aiming at the very next one spends the whole jerk on correcting the
small differences between one plan and the next."""

SHARES = (1.0, 0.75, 0.5, 0.25, 0.0)
"""Shares of a waypoint's velocity that are tried: with the whole of it, an arm that lags would have to run up."""

DUE_S = 1e-9
"""Differences of time that are rounding [s]."""

REST = 1e-9
"""Speed [rad/s] and acceleration [rad/s^2] below which a planned state counts as at rest."""

GRIPPER_MARGIN = 0.95
"""Share of the gripper's velocity limit that is planned with."""

State = tuple[Sequence[float], Sequence[float], Sequence[float]]
"""Position [rad], velocity [rad/s] and acceleration [rad/s^2], as ruckig gives them."""


@dataclass(frozen=True)
class Reference:
    """The state a new trajectory starts from, on the trajectory under way or measured.

    Attributes:
        position: Shape (n,) [rad].
        velocity: Shape (n,) [rad/s].
        acceleration: Shape (n,) [rad/s^2].
    """

    position: FloatArray
    velocity: FloatArray
    acceleration: FloatArray

    @property
    def finite(self) -> bool:
        """True when every number is finite."""
        parts = (self.position, self.velocity, self.acceleration)
        return all(bool(np.isfinite(part).all()) for part in parts)


def schedule(
    profile: RobotProfile,
    stamp_ns: int,
    waypoints: FloatArray,
    dt_s: float,
    start: Reference,
    start_ns: int,
    spacing_s: float = SPACING_S,
) -> Trajectory | None:
    """A trajectory of the arm joints that starts exactly at `start`, follows the waypoints and ends at rest.

    Waypoint k is due at `stamp + (k + 1) * dt`; those due at or before `start_ns` are dropped, and without any
    left the arm brakes. Until each due time the arm moves towards the waypoint two ahead, to pass it with
    the central differences of its neighbours: smooth waypoints are met to a few mrad, noisy ones are smoothed.
    One that the limits do not allow to meet in time is left behind for the next. At the last one the arm comes
    to rest; it may take `dt` longer, so that it slows down evenly instead of rushing there, and brakes when
    even that is too short. So the arm is at rest within `horizon + dt +` the time of braking.

    Args:
        profile: Limits. Waypoints outside the position limits are clipped to them.
        stamp_ns: Stamp of the observation the waypoints were made from [ns].
        waypoints: Shape (H, n) [rad].
        dt_s: Time between waypoints [s].
        start: State at `start_ns`. Outside the limits it is brought back into them.
        start_ns: When the trajectory starts, same clock as the stamp [ns].
        spacing_s: Longest time between two points [s].

    Returns:
        The trajectory, or None when `start` or the waypoints are not finite or not of this world: then
        there is nothing to follow, and what was sent before ends at rest by itself.
    """
    waypoints = np.asarray(waypoints, dtype=np.float64).reshape(-1, len(profile.arm_joints))
    if not (start.finite and np.isfinite(waypoints).all()):
        return None
    try:
        motion = _Motion(profile, start, spacing_s)
        begin = (start_ns - stamp_ns) * 1e-9
        due = (np.arange(len(waypoints)) + 1) * dt_s - begin
        motion.follow(np.clip(waypoints, profile.lower, profile.upper), due, dt_s)
        motion.brake()
    except ruckig.RuckigError:
        return None
    return motion.trajectory(stamp_ns, begin)


def brake(
    profile: RobotProfile,
    stamp_ns: int,
    start: Reference,
    start_ns: int,
    spacing_s: float = SPACING_S,
) -> Trajectory:
    """The trajectory of the arm joints that comes to rest soonest, every joint for itself.

    Raises:
        ValueError: `start` is not finite.
    """
    if not start.finite:
        raise ValueError(f"cannot brake from a state that is not finite: {start}")
    motion = _Motion(profile, start, spacing_s)
    motion.brake()
    return motion.trajectory(stamp_ns, (start_ns - stamp_ns) * 1e-9)


def hold(
    joint_names: tuple[str, ...],
    stamp_ns: int,
    position: FloatArray,
    start_ns: int,
    duration_s: float = SPACING_S,
) -> Trajectory:
    """The trajectory of two points that stays at `position` (n,) [rad or m]."""
    begin = (start_ns - stamp_ns) * 1e-9
    positions = np.tile(np.asarray(position, dtype=np.float64), (2, 1))
    times = np.array([begin, begin + duration_s])
    return Trajectory(stamp_ns, joint_names, times, positions, np.zeros_like(positions))


def reference_at(trajectory: Trajectory, t_ns: int) -> Reference:
    """State of the cubic at `t_ns`; at rest before its first point and from its last one on."""
    position, velocity = trajectory.sample(t_ns)
    t = (t_ns - trajectory.stamp_ns) * 1e-9
    times = trajectory.times
    if not times[0] <= t < times[-1]:
        return Reference(position, velocity, np.zeros_like(position))
    k = int(np.searchsorted(times, t, side="right")) - 1
    first, last = segment_accelerations(trajectory)
    u = (t - float(times[k])) / float(times[k + 1] - times[k])
    return Reference(position, velocity, (1 - u) * first[k] + u * last[k])


def segment_accelerations(trajectory: Trajectory) -> tuple[FloatArray, FloatArray]:
    """Acceleration of the cubic at both ends of every segment, each (P - 1, n) [rad/s^2]; linear in between.

    Second derivative of the Hermite cubic through positions p, q with velocities v, w at distance h:
    6 (q - p) / h^2 - (4 v + 2 w) / h at its start, -6 (q - p) / h^2 + (2 v + 4 w) / h at its end.
    """
    h = np.diff(trajectory.times)[:, None]
    step = 6 * np.diff(trajectory.positions, axis=0) / h**2
    v, w = trajectory.velocities[:-1], trajectory.velocities[1:]
    return step - (4 * v + 2 * w) / h, -step + (2 * v + 4 * w) / h


def gripper_ramp(
    gripper: Gripper,
    stamp_ns: int,
    start_position: float,
    targets: FloatArray,
    dt_s: float,
    start_ns: int,
) -> Trajectory:
    """A trajectory of the gripper joint from rest at `start_position` to rest at the last target.

    Target k is pursued from `stamp + k * dt` to `stamp + (k + 1) * dt`, the last one until it is reached, at
    no more than the gripper's velocity. Each step takes the velocity from which one more step can come
    to rest at the target, so it never goes past one. Targets are clipped to the range from closed to open.
    """
    names = (gripper.joint,)
    targets = np.clip(targets, *sorted((gripper.closed, gripper.open)))
    begin = (start_ns - stamp_ns) * 1e-9
    if not (math.isfinite(start_position) and np.isfinite(targets).all()) or not len(targets):
        return hold(names, stamp_ns, np.array([start_position]), start_ns)
    h, fastest = SPACING_S, GRIPPER_MARGIN * gripper.velocity
    times, positions, velocities = [begin], [float(start_position)], [0.0]
    last = len(targets) - 1
    while True:
        t, p, v = times[-1], positions[-1], velocities[-1]
        k = min(max(math.floor(t / dt_s + 1e-6), 0), last)
        target = float(targets[k])
        if k == last and len(times) > 1 and v == 0.0 and abs(target - p) < 1e-9:
            break
        w = min(max((target - p) / h - v / 2, -fastest), fastest)
        if abs(w) < REST:
            w = 0.0
        times.append(begin + len(times) * h)
        positions.append(p + h * (v + w) / 2)
        velocities.append(w)
    return Trajectory(
        stamp_ns,
        names,
        np.array(times),
        np.array(positions)[:, None],
        np.array(velocities)[:, None],
    )


def join(arm: Trajectory, gripper: Trajectory) -> Trajectory:
    """Both motions in one trajectory: the arm's points, and the gripper's where the arm is already at rest."""
    offset = (gripper.stamp_ns - arm.stamp_ns) * 1e-9
    later = gripper.times + offset
    times = np.concatenate([arm.times, later[later > arm.times[-1] + 1e-3]])
    sampled = [gripper.sample(arm.stamp_ns + round(t * 1e9)) for t in times]
    extra = len(times) - len(arm.times)
    arm_positions = np.concatenate([arm.positions, np.tile(arm.positions[-1], (extra, 1))])
    arm_velocities = np.concatenate([arm.velocities, np.zeros((extra, arm.velocities.shape[1]))])
    gripper_positions = np.array([position for position, _ in sampled])
    gripper_velocities = np.array([velocity for _, velocity in sampled])
    gripper_positions[-1], gripper_velocities[-1] = gripper.positions[-1], 0.0
    return Trajectory(
        arm.stamp_ns,
        (*arm.joint_names, *gripper.joint_names),
        times,
        np.hstack([arm_positions, gripper_positions]),
        np.hstack([arm_velocities, gripper_velocities]),
    )


def split(trajectory: Trajectory, joint_names: tuple[str, ...]) -> Trajectory:
    """The columns of `joint_names`, in that order.

    Raises:
        ValueError: The trajectory does not have one of them.
    """
    missing = [name for name in joint_names if name not in trajectory.joint_names]
    if missing:
        raise ValueError(
            f"the trajectory has no joint {', '.join(missing)}; "
            f"it has {', '.join(trajectory.joint_names)}"
        )
    columns = [trajectory.joint_names.index(name) for name in joint_names]
    return Trajectory(
        trajectory.stamp_ns,
        joint_names,
        trajectory.times,
        trajectory.positions[:, columns],
        trajectory.velocities[:, columns],
    )


class _Motion:
    """Pieces of ruckig motion, one after the other, from a start state."""

    def __init__(self, profile: RobotProfile, start: Reference, spacing_s: float):
        n = len(profile.arm_joints)
        self._names, self._spacing = profile.arm_joints, spacing_s
        self._speed = SPEED_MARGIN * profile.velocity
        self._effort = EFFORT_MARGIN * profile.acceleration
        self._solver = ruckig.Ruckig(n)
        self._ask = ruckig.InputParameter(n)
        self._ask.max_velocity = self._speed.tolist()
        self._ask.max_acceleration = self._effort.tolist()
        self._ask.max_jerk = np.minimum(
            profile.jerk, self._effort / (RAMP_SPACINGS * spacing_s)
        ).tolist()
        self._state: State = (
            start.position.tolist(),
            start.velocity.tolist(),
            start.acceleration.tolist(),
        )
        self._first = start
        self._pieces: list[tuple[float, ruckig.Trajectory]] = []
        self._length = 0.0
        # the limits, widened by what even braking at once cannot avoid
        low, high = _extent(self._stop(self._state))
        self._lower = np.minimum(profile.lower, low) - 1e-9
        self._upper = np.maximum(profile.upper, high) + 1e-9

    def follow(self, waypoints: FloatArray, due: FloatArray, dt_s: float) -> None:
        """Pass the waypoints (H, n) [rad] at their due times (H,) [s from the start], as far as possible."""
        first = int(np.searchsorted(due, DUE_S))
        if first == len(due):
            return
        path = np.vstack(
            [waypoints[first - 1] if first else self._first.position, waypoints[first:]]
        )
        times = np.concatenate([[due[first - 1] if first else 0.0], due[first:]])
        last = len(path) - 1
        for k in range(1, last):
            ahead = int(np.searchsorted(times, self._length + LOOK_AHEAD * dt_s - DUE_S))
            aim = min(ahead, last - 1)
            velocity, bend = _differences(path[aim - 1 : aim + 2], times[aim - 1 : aim + 2])
            velocity = np.clip(velocity, -self._speed, self._speed)
            bend = np.clip(bend, -self._effort, self._effort)
            choices = [(share * velocity, share * bend) for share in SHARES]
            if not self._take(path[aim], choices, times[aim], times[k]):
                return
        still = np.zeros(path.shape[1])
        end = times[last] + dt_s
        self._take(path[last], [(still, still)], end, end)

    def brake(self) -> None:
        """Come to rest, every joint as soon as it can."""
        _, velocity, acceleration = self._state
        if max(map(abs, velocity)) > REST or max(map(abs, acceleration)) > REST:
            piece = self._stop(self._state)
            self._append(piece, piece.duration)

    def trajectory(self, stamp_ns: int, begin: float) -> Trajectory:
        """The motion in evenly spaced points; `begin` is the time of the first after the stamp [s]."""
        if not self._pieces:
            start_ns = stamp_ns + round(begin * 1e9)
            return hold(self._names, stamp_ns, self._first.position, start_ns, self._spacing)
        count = math.ceil(self._length / self._spacing - 1e-6)
        grid = np.linspace(0.0, self._length, max(count, 1) + 1)
        positions = np.empty((len(grid), len(self._names)))
        velocities = np.empty_like(positions)
        positions[0], velocities[0] = self._first.position, self._first.velocity
        piece = 0
        for k, t in enumerate(grid[1:-1], start=1):
            while piece + 1 < len(self._pieces) and self._pieces[piece + 1][0] <= t:
                piece += 1
            since, motion = self._pieces[piece]
            positions[k], velocities[k], _ = motion.at_time(t - since)
        positions[-1], velocities[-1] = self._state[0], 0.0
        return Trajectory(stamp_ns, self._names, begin + grid, positions, velocities)

    def _take(
        self,
        target: FloatArray,
        choices: list[tuple[FloatArray, FloatArray]],
        due: float,
        until: float,
    ) -> bool:
        """Move towards a target, to be reached at `due`, until the time `until`.

        The first of the choices of velocity and acceleration at the target with which it is reached in time
        is taken, else the one with which it is reached soonest. False, and nothing moved, when all of them
        would leave the limits.
        """
        best = None
        for velocity, bend in choices:
            piece = self._reach(target, velocity, bend, due - self._length)
            if piece is None or (best is not None and piece.duration >= best.duration):
                continue
            end: State = piece.at_time(min(until - self._length, piece.duration))
            if self._inside(piece) and self._inside(self._stop(end)):
                best = piece
                if piece.duration <= due - self._length + DUE_S:
                    break
        if best is None:
            return False
        self._append(best, min(until - self._length, best.duration))
        return True

    def _reach(
        self, target: FloatArray, velocity: FloatArray, bend: FloatArray, duration: float
    ) -> ruckig.Trajectory | None:
        """Motion to a target state, all joints arriving together, in no less than `duration`."""
        ask = self._ask
        ask.control_interface = ruckig.ControlInterface.Position
        ask.synchronization = ruckig.Synchronization.Phase
        ask.target_position, ask.target_velocity = target.tolist(), velocity.tolist()
        ask.target_acceleration = bend.tolist()
        ask.minimum_duration = duration
        return self._calculate(self._state)

    def _stop(self, state: State) -> ruckig.Trajectory:
        """Braking from a state, every joint as soon as it can."""
        ask = self._ask
        ask.control_interface = ruckig.ControlInterface.Velocity
        ask.synchronization = ruckig.Synchronization.No
        ask.target_velocity = [0.0] * len(self._names)
        ask.target_acceleration = [0.0] * len(self._names)
        ask.minimum_duration = None
        piece = self._calculate(state)
        if piece is None:
            raise ruckig.RuckigError(f"no way to brake from {state}")
        return piece

    def _calculate(self, state: State) -> ruckig.Trajectory | None:
        ask, piece = self._ask, ruckig.Trajectory(len(self._names))
        ask.current_position, ask.current_velocity, ask.current_acceleration = state
        try:
            result = self._solver.calculate(ask, piece)
        except ruckig.RuckigError:
            return None
        return piece if result == ruckig.Result.Working else None

    def _append(self, piece: ruckig.Trajectory, length: float) -> None:
        self._pieces.append((self._length, piece))
        self._state = piece.at_time(length)
        self._length += length

    def _inside(self, piece: ruckig.Trajectory) -> bool:
        low, high = _extent(piece)
        return bool((low >= self._lower).all() and (high <= self._upper).all())


def _extent(piece: ruckig.Trajectory) -> tuple[FloatArray, FloatArray]:
    """Lowest and highest position of every joint on a piece, each (n,) [rad]."""
    extrema = piece.position_extrema
    return np.array([e.min for e in extrema]), np.array([e.max for e in extrema])


def _differences(path: FloatArray, times: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Central first and second difference at the middle of three points (3, n) [rad/s, rad/s^2]."""
    back, forth = times[1] - times[0], times[2] - times[1]
    change = (path[2] - path[1]) / forth - (path[1] - path[0]) / back
    return (path[2] - path[0]) / (back + forth), 2 * change / (back + forth)
