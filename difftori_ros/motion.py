# SPDX-License-Identifier: MIT
"""A motion through timed joint targets within velocity, acceleration, jerk and position limits.

Ruckig (Berscheid and Kroeger, "Jerk-limited Real-time Trajectory Generation with Arbitrary Target
States", RSS 2021) moves from one state to the next. One invariant keeps the arm inside its
position limits: from every state where one piece ends, braking at once stays inside. A piece that
would break it is not taken, and the motion ends there by braking.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from operator import add, ge, le

import numpy as np
import ruckig

from difftori_models.contract import FloatArray
from difftori_ros.robot import RobotProfile

SPACING_S = 0.01
"""Longest time between two points of a trajectory [s]. A finer spacing allows a greater jerk."""

SPEED_MARGIN = 0.99
"""Share of the velocity limit planned with; the cubic between two points may need the rest."""

EFFORT_MARGIN = 0.95
"""Share of the acceleration limit planned with; the cubic between two points may need the rest."""

RAMP_SPACINGS = 1.5
"""Spacings it takes the acceleration to rise from zero to its limit.

The second derivative of the cubic through two samples is the least-squares line through the true
acceleration between them. On an interval of length h it exceeds a true acceleration of at most a,
whose slope is at most a / (r h), by at most 4 a / (27 r): by 9.9 % for r = 1.5.
"""

LOOK_AHEAD = 2
"""Waypoints from now to the one aimed at. Aiming at the very next one spends the whole jerk on
correcting the small differences between one plan and the next."""

SHARES = (1.0, 0.75, 0.5, 0.25, 0.0)
"""Shares of a waypoint's velocity that are tried: with all of it, an arm that lags behind would
have to take a run-up."""

EPSILON_S = 1e-9
"""Differences of time that are rounding [s]."""

SHORTEST_S = 1e-6
"""A motion shorter than this is stretched to one spacing [s]: times are rounded to 1e-9 s."""

REST = 1e-9
"""Speed [rad/s] and acceleration [rad/s^2] below which a planned state counts as at rest."""

State = tuple[Sequence[float], Sequence[float], Sequence[float]]
"""Position [rad], velocity [rad/s] and acceleration [rad/s^2], as ruckig gives them."""

Extent = tuple[Sequence[float], Sequence[float]]
"""Lowest and highest position of every joint [rad]."""


class MotionError(ArithmeticError):
    """The numbers of a state are too large to compute a motion with."""


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


class Motion:
    """Pieces of motion, one after the other, from a start state; times count from the start [s].

    Raises:
        MotionError: There is no way to brake from `start`.
    """

    def __init__(self, profile: RobotProfile, start: Reference, spacing_s: float = SPACING_S):
        n = len(profile.arm_joints)
        self._start, self._spacing, self._still = start, spacing_s, [0.0] * n
        speed, effort = SPEED_MARGIN * profile.velocity, EFFORT_MARGIN * profile.acceleration
        jerk = np.minimum(profile.jerk, effort / (RAMP_SPACINGS * spacing_s))
        self._speed, self._effort, self._jerk = speed, effort, jerk
        self._solver, self._ask = ruckig.Ruckig(n), ruckig.InputParameter(n)
        self._ask.max_velocity, self._ask.max_acceleration = speed.tolist(), effort.tolist()
        self._ask.max_jerk = jerk.tolist()
        self._pieces: list[tuple[float, ruckig.Trajectory]] = []
        self._length = 0.0
        # the acceleration of a cubic is only nearly that of the motion it was sampled from: take
        # no more of it than can be taken back before the speed is at its limit
        highest = self._change(speed - start.velocity)
        lowest = -self._change(speed + start.velocity)
        acceleration = np.minimum(np.maximum(start.acceleration, lowest), highest)
        position = start.position.tolist()
        self._state: State = position, start.velocity.tolist(), acceleration.tolist()
        lower, upper = profile.lower, profile.upper
        # From every state within the limits of speed and acceleration the acceleration ends within
        # effort / jerk, at a speed of at most `fastest`, and the arm stops within `way`.
        rise = effort / jerk
        fastest = speed + effort * rise / 2
        way = fastest * (fastest / effort + 3 * rise) / 2
        if (np.abs(start.velocity) > speed).any():
            way = math.inf
        self._near_lower, self._near_upper = (lower + way).tolist(), (upper - way).tolist()
        if not self._far((position, position)):
            # the limits, widened by what even braking at once cannot avoid
            low, high = self._stop_extent(self._state)
            lower, upper = np.minimum(lower, low), np.maximum(upper, high)
        self._lower, self._upper = (lower - REST).tolist(), (upper + REST).tolist()

    def follow(self, waypoints: FloatArray, due: FloatArray, dt_s: float) -> None:
        """Pass the waypoints (H, n) [rad] at their due times (H,) [s], as far as the limits allow.

        Those due at or before the start are left out. At the last one the motion comes to rest;
        for that it has until `dt_s` after its due time.
        """
        first = int(due.searchsorted(EPSILON_S))
        if first == len(due):
            return
        before = waypoints[first - 1] if first else self._start.position
        path = np.concatenate([before[None], waypoints[first:]])
        times = [float(due[first - 1]) if first else 0.0, *due[first:].tolist()]
        velocities, bends = self._differences(path, np.array(times))
        points, last = path.tolist(), len(path) - 1
        for k in range(1, last):
            ahead = bisect_left(times, self._length + LOOK_AHEAD * dt_s - EPSILON_S)
            aim = min(ahead, last - 1)
            passing = velocities[aim - 1], bends[aim - 1]
            if not self._take(points[aim], passing, SHARES, times[aim], times[k]):
                return
        end = times[last] + dt_s
        self._take(points[last], (self._still, self._still), SHARES[:1], end, end)

    def brake(self) -> None:
        """Come to rest, every joint as soon as it can."""
        _, velocity, acceleration = self._state
        if max(map(abs, velocity)) > REST or max(map(abs, acceleration)) > REST:
            piece = self._stop(self._state)
            self._append(piece, piece.duration, piece.at_time(piece.duration))

    def points(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Times (P,) [s], positions (P, n) [rad] and velocities (P, n) [rad/s] of the motion.

        Evenly spaced, from exactly the start state to exactly rest; two points when nothing moves
        to speak of.
        """
        length = self._length if self._length > SHORTEST_S else self._spacing
        count = max(math.ceil(length / self._spacing - 1e-6), 1)
        times = np.arange(count + 1) * (length / count)
        times[-1] = length
        positions, velocities = [self._start.position.tolist()], [self._start.velocity.tolist()]
        begins = [begin for begin, _ in self._pieces[1:]]
        for t in times[1:-1].tolist():
            since, motion = self._pieces[bisect_right(begins, t)]
            position, velocity, _ = motion.at_time(t - since)
            positions.append(position)
            velocities.append(velocity)
        positions.append(self._state[0])
        velocities.append(self._still)
        return times, np.array(positions), np.array(velocities)

    def _change(self, room: FloatArray) -> FloatArray:
        """Greatest acceleration (n,) with which the speed still changes by no more than `room`."""
        return np.minimum(np.sqrt(2 * self._jerk * np.maximum(room, 0.0)), self._effort)

    def _differences(
        self, path: FloatArray, times: FloatArray
    ) -> tuple[list[list[float]], list[list[float]]]:
        """Velocities and accelerations, each (H - 2, n), to pass points (H, n) [rad] with.

        Central first and second differences, of no more than the limits.
        """
        gaps = (times[1:] - times[:-1])[:, None]
        slopes, both = (path[1:] - path[:-1]) / gaps, gaps[1:] + gaps[:-1]
        velocity = (path[2:] - path[:-2]) / both
        velocity = np.minimum(np.maximum(velocity, -self._speed), self._speed)
        most = self._change(self._speed - np.abs(velocity))
        bend = np.minimum(np.maximum(2 * (slopes[1:] - slopes[:-1]) / both, -most), most)
        return velocity.tolist(), bend.tolist()

    def _take(
        self,
        target: list[float],
        passing: tuple[list[float], list[float]],
        shares: Sequence[float],
        due: float,
        until: float,
    ) -> bool:
        """Move towards a target, to be reached at `due`, until the time `until`.

        Takes the first of the shares of velocity and acceleration at the target with which it is
        reached in time, else the one with which it is reached soonest. Returns False, and nothing
        has moved, when all of them would leave the limits.
        """
        best = None
        for share in shares:
            velocity, bend = ([share * value for value in part] for part in passing)
            piece = self._reach(target, velocity, bend, due - self._length)
            if piece is None or (best is not None and piece.duration >= best[0].duration):
                continue
            length = min(until - self._length, piece.duration)
            end: State = piece.at_time(length)
            extent = _extent(piece)
            if self._far(extent) or (
                self._inside(extent) and self._inside(self._stop_extent(end))
            ):
                best = piece, length, end
                if piece.duration <= due - self._length + EPSILON_S:
                    break
        if best is None:
            return False
        self._append(*best)
        return True

    def _reach(
        self, target: list[float], velocity: list[float], bend: list[float], duration: float
    ) -> ruckig.Trajectory | None:
        """Motion to a target state, all joints arriving together, in no less than `duration`."""
        ask = self._ask
        ask.control_interface = ruckig.ControlInterface.Position
        ask.synchronization = ruckig.Synchronization.Phase
        ask.target_position, ask.target_velocity = target, velocity
        ask.target_acceleration = bend
        ask.minimum_duration = duration
        return self._calculate(self._state)

    def _stop(self, state: State) -> ruckig.Trajectory:
        """Braking from a state, every joint as soon as it can."""
        ask = self._ask
        ask.control_interface = ruckig.ControlInterface.Velocity
        ask.synchronization = ruckig.Synchronization.No
        ask.target_velocity = ask.target_acceleration = self._still
        ask.minimum_duration = None
        piece = self._calculate(state)
        if piece is None:
            raise MotionError(f"there is no way to brake from {state}")
        return piece

    def _calculate(self, state: State) -> ruckig.Trajectory | None:
        ask, piece = self._ask, ruckig.Trajectory(len(self._still))
        ask.current_position, ask.current_velocity, ask.current_acceleration = state
        try:
            result = self._solver.calculate(ask, piece)
        except (ruckig.RuckigError, ValueError):
            # a target that the limits do not allow, or a result that ruckig has no name for
            return None
        return piece if result == ruckig.Result.Working else None

    def _append(self, piece: ruckig.Trajectory, length: float, end: State) -> None:
        self._pieces.append((self._length, piece))
        self._state = end
        self._length += length

    def _stop_extent(self, state: State) -> Extent:
        """Lowest and highest position of every joint when braking from a state, each (n,) [rad].

        Computed relative to the state's position: in motions without a target position ruckig
        counts the position zero among those that are passed.
        """
        position, velocity, acceleration = state
        low, high = _extent(self._stop((self._still, velocity, acceleration)))
        return _sum(position, low), _sum(position, high)

    def _inside(self, extent: Extent) -> bool:
        return _within(extent, self._lower, self._upper)

    def _far(self, extent: Extent) -> bool:
        """Whether the limits are so far away that the arm stops before them in any case."""
        return _within(extent, self._near_lower, self._near_upper)


def _within(extent: Extent, lower: list[float], upper: list[float]) -> bool:
    low, high = extent
    return all(map(ge, low, lower)) and all(map(le, high, upper))


def _sum(a: Sequence[float], b: Sequence[float]) -> list[float]:
    return list(map(add, a, b))


def _extent(piece: ruckig.Trajectory) -> Extent:
    """Lowest and highest position of every joint on a piece, each (n,) [rad]."""
    extrema = piece.position_extrema
    return [e.min for e in extrema], [e.max for e in extrema]
