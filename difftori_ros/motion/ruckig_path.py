# SPDX-License-Identifier: MIT
"""A motion through timed joint targets within velocity, acceleration, jerk and position limits.

Ruckig (Berscheid and Kroeger, "Jerk-limited Real-time Trajectory Generation with Arbitrary Target
States", RSS 2021) moves from one state to the next. One invariant keeps the arm inside its
position limits: from every state where one piece ends, braking at once stays inside. A piece that
would break it is not taken, and the motion ends there by braking.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from operator import add, ge, le, sub

import numpy as np
import ruckig

from difftori_ros.errors import DifftoriError
from difftori_ros.robot.profile import RobotProfile
from difftori_ros.types import FloatArray

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

MotionState = tuple[Sequence[float], Sequence[float], Sequence[float]]
"""Position [rad], velocity [rad/s] and acceleration [rad/s^2], as ruckig gives them."""

Extent = tuple[Sequence[float], Sequence[float]]
"""Lowest and highest position of every joint [rad]."""


class MotionError(DifftoriError, ArithmeticError):
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
        return all(all(map(math.isfinite, part.tolist())) for part in parts)


class RuckigPath:
    """Pieces of motion, one after the other, from a start state; times count from the start [s].

    Raises:
        MotionError: There is no way to brake from `start`.
    """

    def __init__(self, profile: RobotProfile, start: Reference, spacing_s: float = SPACING_S):
        n = len(profile.arm_joints)
        self._start, self._spacing, self._still = start, spacing_s, [0.0] * n
        speeds = [SPEED_MARGIN * most for most in profile.velocity.tolist()]
        efforts = [EFFORT_MARGIN * most for most in profile.acceleration.tolist()]
        given = zip(profile.jerk.tolist(), efforts, strict=True)
        jerks = [min(most, effort / (RAMP_SPACINGS * spacing_s)) for most, effort in given]
        self._limits = list(zip(speeds, efforts, jerks, strict=True))
        self._solver, self._ask = ruckig.Ruckig(n), ruckig.InputParameter(n)
        self._solver_one, self._ask_one = ruckig.Ruckig(1), ruckig.InputParameter(1)
        self._ask.max_velocity, self._ask.max_acceleration = speeds, efforts
        self._ask.max_jerk = jerks
        self._pieces: list[tuple[float, ruckig.Trajectory]] = []
        self._length = 0.0
        position, velocity = start.position.tolist(), start.velocity.tolist()
        acceleration = start.acceleration.tolist()
        for k, (speed, effort, jerk) in enumerate(self._limits):
            # the acceleration of a cubic is only nearly that of the motion it was sampled from:
            # take no more of it than can be taken back before the speed is at its limit
            highest = _change(speed - velocity[k], effort, jerk)
            lowest = -_change(speed + velocity[k], effort, jerk)
            acceleration[k] = min(max(acceleration[k], lowest), highest)
        self._state: MotionState = position, velocity, acceleration
        # the arm stops within this in any case, unless it is faster than it may be
        slow = all(abs(v) <= speed for v, speed in zip(velocity, speeds, strict=True))
        ways = [_way(*limits) if slow else math.inf for limits in self._limits]
        self._lower, self._upper = profile.lower.tolist(), profile.upper.tolist()
        self._near_lower = list(map(add, self._lower, ways))
        self._near_upper = list(map(sub, self._upper, ways))
        if not self._far((position, position)):
            # the limits, widened by what even braking at once cannot avoid
            low, high = self._stop_extent(self._state)
            self._lower = [limit - REST for limit in map(min, self._lower, low)]
            self._upper = [limit + REST for limit in map(max, self._upper, high)]
        else:
            self._lower = [limit - REST for limit in self._lower]
            self._upper = [limit + REST for limit in self._upper]

    def follow(self, waypoints: FloatArray, due: Sequence[float], dt_s: float) -> None:
        """Pass the waypoints (H, n) [rad] at their due times (H,) [s], as far as the limits allow.

        Those due at or before the start are left out. At the last one the motion comes to rest;
        for that it has until `dt_s` after its due time.
        """
        first = bisect_left(due, EPSILON_S)
        if first == len(due):
            return
        points = waypoints.tolist()
        before = points[first - 1] if first else self._start.position.tolist()
        path = [before, *points[first:]]
        times = [due[first - 1] if first else 0.0, *due[first:]]
        last = len(path) - 1
        for k in range(1, last):
            ahead = bisect_left(times, self._length + LOOK_AHEAD * dt_s - EPSILON_S)
            aim = min(ahead, last - 1)
            passing = self._passing(path[aim - 1 : aim + 2], times[aim - 1 : aim + 2])
            if not self._take(path[aim], passing, SHARES, times[aim], times[k]):
                return
        end = times[last] + dt_s
        self._take(path[last], (self._still, self._still), SHARES[:1], end, end)

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
        inner, begins = times[1:-1], np.array([begin for begin, _ in self._pieces])
        which = begins[1:].searchsorted(inner, side="right")
        since = (inner - begins[which]).tolist()
        pieces = [self._pieces[k][1] for k in which.tolist()]
        states = [piece.at_time(t) for piece, t in zip(pieces, since, strict=True)]
        positions, velocities = np.empty((2, count + 1, len(self._still)))
        positions[0], velocities[0] = self._start.position, self._start.velocity
        if states:
            positions[1:-1] = [position for position, _, _ in states]
            velocities[1:-1] = [velocity for _, velocity, _ in states]
        positions[-1], velocities[-1] = self._state[0], 0.0
        return times, positions, velocities

    def _passing(
        self, path: list[list[float]], times: Sequence[float]
    ) -> tuple[list[float], list[float]]:
        """Velocity and acceleration, each (n,), to pass the middle of three points (3, n) with.

        Central first and second differences, of no more than the limits.
        """
        back, forth = times[1] - times[0], times[2] - times[1]
        velocity, bend = [], []
        for p, q, r, (speed, effort, jerk) in zip(*path, self._limits, strict=True):
            v = min(max((r - p) / (back + forth), -speed), speed)
            most = _change(speed - abs(v), effort, jerk)
            change = 2 * ((r - q) / forth - (q - p) / back) / (back + forth)
            velocity.append(v)
            bend.append(min(max(change, -most), most))
        return velocity, bend

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
        best, last = None, 0
        for share in shares:
            velocity, bend = passing
            if best is not None:
                alone = self._alone(last, target[last], share * velocity[last], share * bend[last])
                if alone >= best[0].duration:
                    continue  # all joints together are no sooner either
            if share < 1.0:
                velocity, bend = ([share * value for value in part] for part in passing)
            piece = self._reach(target, velocity, bend, due - self._length)
            if piece is None or (best is not None and piece.duration >= best[0].duration):
                continue
            length, extent = min(until - self._length, piece.duration), _extent(piece)
            end: MotionState = piece.at_time(length)
            if self._far(extent) or (
                self._inside(extent) and self._inside(self._stop_extent(end))
            ):
                best = piece, length, end
                if piece.duration <= due - self._length + EPSILON_S:
                    break
                durations = piece.independent_min_durations
                last = durations.index(max(durations))
        if best is None:
            return False
        self._append(*best)
        return True

    def _alone(self, joint: int, position: float, velocity: float, bend: float) -> float:
        """Time that a joint needs at least to a target state [s]; 0 when that is not known."""
        ask, piece = self._ask_one, ruckig.Trajectory(1)
        speed, effort, jerk = self._limits[joint]
        ask.max_velocity, ask.max_acceleration, ask.max_jerk = [speed], [effort], [jerk]
        at, moving, changing = self._state
        ask.current_position, ask.current_velocity = [at[joint]], [moving[joint]]
        ask.current_acceleration = [changing[joint]]
        ask.target_position, ask.target_velocity = [position], [velocity]
        ask.target_acceleration = [bend]
        return piece.duration if _calculated(self._solver_one, ask, piece) else 0.0

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

    def _stop(self, state: MotionState) -> ruckig.Trajectory:
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

    def _calculate(self, state: MotionState) -> ruckig.Trajectory | None:
        ask, piece = self._ask, ruckig.Trajectory(len(self._still))
        ask.current_position, ask.current_velocity, ask.current_acceleration = state
        return piece if _calculated(self._solver, ask, piece) else None

    def _append(self, piece: ruckig.Trajectory, length: float, end: MotionState) -> None:
        self._pieces.append((self._length, piece))
        self._state = end
        self._length += length

    def _stop_extent(self, state: MotionState) -> Extent:
        """Lowest and highest position of every joint when braking from a state, each (n,) [rad].

        Computed relative to the state's position: in motions without a target position ruckig
        counts the position zero among those that are passed.
        """
        position, velocity, acceleration = state
        low, high = _extent(self._stop((self._still, velocity, acceleration)))
        return list(map(add, position, low)), list(map(add, position, high))

    def _inside(self, extent: Extent) -> bool:
        return _within(extent, self._lower, self._upper)

    def _far(self, extent: Extent) -> bool:
        """Whether the limits are so far away that the arm stops before them in any case."""
        return _within(extent, self._near_lower, self._near_upper)


def _calculated(
    solver: ruckig.Ruckig, ask: ruckig.InputParameter, piece: ruckig.Trajectory
) -> bool:
    """Whether there is such a motion; if so, `piece` is one."""
    try:
        return solver.calculate(ask, piece) == ruckig.Result.Working
    except (ruckig.RuckigError, ValueError):
        # a target that the limits do not allow, or a result that ruckig has no name for
        return False


def _within(extent: Extent, lower: list[float], upper: list[float]) -> bool:
    low, high = extent
    return all(map(ge, low, lower)) and all(map(le, high, upper))


def _change(room: float, effort: float, jerk: float) -> float:
    """Greatest acceleration with which the speed still changes by no more than `room`."""
    return min(math.sqrt(2 * jerk * max(room, 0.0)), effort)


def _way(speed: float, effort: float, jerk: float) -> float:
    """What a joint needs at most to stop from a state within its limits [rad].

    Its acceleration has ended after `effort / jerk`. From the greatest speed that it has then, and
    never exceeds, it stops within `fastest / effort + effort / jerk`, at half of it on average.
    """
    rise = effort / jerk
    fastest = speed + effort * rise / 2
    return fastest * (rise + (fastest / effort + rise) / 2)


def _extent(piece: ruckig.Trajectory) -> Extent:
    """Lowest and highest position of every joint on a piece, each (n,) [rad]."""
    extrema = piece.position_extrema
    return [e.min for e in extrema], [e.max for e in extrema]
