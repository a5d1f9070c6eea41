# SPDX-License-Identifier: MIT
"""A motion through timed joint targets within velocity, acceleration, jerk and position limits.

Ruckig (Berscheid and Kroeger, "Jerk-limited Real-time Trajectory Generation with Arbitrary Target
States", RSS 2021) moves from one state to the next. One invariant keeps the arm inside its
position limits: from every state where one piece ends, braking at once stays inside. A piece that
would break it is not taken, and the motion ends there by braking.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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
        self._start, self._spacing = start, spacing_s
        self._speed = SPEED_MARGIN * profile.velocity
        self._effort = EFFORT_MARGIN * profile.acceleration
        self._jerk = np.minimum(profile.jerk, self._effort / (RAMP_SPACINGS * spacing_s))
        self._solver = ruckig.Ruckig(n)
        self._ask = ruckig.InputParameter(n)
        self._ask.max_velocity = self._speed.tolist()
        self._ask.max_acceleration = self._effort.tolist()
        self._ask.max_jerk = self._jerk.tolist()
        self._still = [0.0] * n
        self._pieces: list[tuple[float, ruckig.Trajectory]] = []
        self._length = 0.0
        # the acceleration of a cubic is only nearly that of the motion it was sampled from: take
        # no more of it than can be taken back before the speed is at its limit
        highest = self._change(self._speed - start.velocity)
        lowest = -self._change(self._speed + start.velocity)
        acceleration = np.clip(start.acceleration, lowest, highest).tolist()
        self._state: State = start.position.tolist(), start.velocity.tolist(), acceleration
        # the limits, widened by what even braking at once cannot avoid
        low, high = self._stop_extent(self._state)
        self._lower = np.minimum(profile.lower, low) - REST
        self._upper = np.maximum(profile.upper, high) + REST

    def follow(self, waypoints: FloatArray, due: FloatArray, dt_s: float) -> None:
        """Pass the waypoints (H, n) [rad] at their due times (H,) [s], as far as the limits allow.

        Those due at or before the start are left out. At the last one the motion comes to rest;
        for that it has until `dt_s` after its due time.
        """
        first = int(np.searchsorted(due, EPSILON_S))
        if first == len(due):
            return
        before = waypoints[first - 1] if first else self._start.position
        path = np.vstack([before, waypoints[first:]])
        times = np.concatenate([[due[first - 1] if first else 0.0], due[first:]])
        last = len(path) - 1
        for k in range(1, last):
            ahead = int(np.searchsorted(times, self._length + LOOK_AHEAD * dt_s - EPSILON_S))
            aim = min(ahead, last - 1)
            velocity, bend = _differences(path[aim - 1 : aim + 2], times[aim - 1 : aim + 2])
            velocity = np.clip(velocity, -self._speed, self._speed)
            most = self._change(self._speed - np.abs(velocity))
            bend = np.clip(bend, -most, most)
            choices = [(share * velocity, share * bend) for share in SHARES]
            if not self._take(path[aim], choices, float(times[aim]), float(times[k])):
                return
        still, end = np.zeros(path.shape[1]), float(times[last]) + dt_s
        self._take(path[last], [(still, still)], end, end)

    def brake(self) -> None:
        """Come to rest, every joint as soon as it can."""
        _, velocity, acceleration = self._state
        if max(map(abs, velocity)) > REST or max(map(abs, acceleration)) > REST:
            piece = self._stop(self._state)
            self._append(piece, piece.duration)

    def points(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Times (P,) [s], positions (P, n) [rad] and velocities (P, n) [rad/s] of the motion.

        Evenly spaced, from exactly the start state to exactly rest; two points when nothing moves
        to speak of.
        """
        length = self._length if self._length > SHORTEST_S else self._spacing
        count = max(math.ceil(length / self._spacing - 1e-6), 1)
        times = np.linspace(0.0, length, count + 1)
        positions = np.empty((count + 1, len(self._still)))
        velocities = np.empty_like(positions)
        piece = 0
        for k, t in enumerate(times[1:-1], start=1):
            while piece + 1 < len(self._pieces) and self._pieces[piece + 1][0] <= t:
                piece += 1
            since, motion = self._pieces[piece]
            positions[k], velocities[k], _ = motion.at_time(t - since)
        positions[0], velocities[0] = self._start.position, self._start.velocity
        positions[-1], velocities[-1] = self._state[0], 0.0
        return times, positions, velocities

    def _change(self, room: FloatArray) -> FloatArray:
        """Greatest acceleration (n,) with which the speed still changes by no more than `room`."""
        return np.minimum(np.sqrt(2 * self._jerk * np.maximum(room, 0.0)), self._effort)

    def _take(
        self,
        target: FloatArray,
        choices: list[tuple[FloatArray, FloatArray]],
        due: float,
        until: float,
    ) -> bool:
        """Move towards a target, to be reached at `due`, until the time `until`.

        Takes the first of the choices of velocity and acceleration at the target with which it is
        reached in time, else the one with which it is reached soonest. Returns False, and nothing
        has moved, when all of them would leave the limits.
        """
        best = None
        for velocity, bend in choices:
            piece = self._reach(target, velocity, bend, due - self._length)
            if piece is None or (best is not None and piece.duration >= best.duration):
                continue
            end: State = piece.at_time(min(until - self._length, piece.duration))
            if self._inside(_extent(piece)) and self._inside(self._stop_extent(end)):
                best = piece
                if piece.duration <= due - self._length + EPSILON_S:
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

    def _append(self, piece: ruckig.Trajectory, length: float) -> None:
        self._pieces.append((self._length, piece))
        self._state = piece.at_time(length)
        self._length += length

    def _stop_extent(self, state: State) -> tuple[FloatArray, FloatArray]:
        """Lowest and highest position of every joint when braking from a state, each (n,) [rad].

        Computed relative to the state's position: in motions without a target position ruckig
        counts the position zero among those that are passed.
        """
        position, velocity, acceleration = state
        low, high = _extent(self._stop((self._still, velocity, acceleration)))
        return position + low, position + high

    def _inside(self, extent: tuple[FloatArray, FloatArray]) -> bool:
        low, high = extent
        return bool((low >= self._lower).all() and (high <= self._upper).all())


def _extent(piece: ruckig.Trajectory) -> tuple[FloatArray, FloatArray]:
    """Lowest and highest position of every joint on a piece, each (n,) [rad]."""
    extrema = piece.position_extrema
    return np.array([e.min for e in extrema]), np.array([e.max for e in extrema])


def _differences(path: FloatArray, times: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Central first and second difference, each (n,), at the middle of three points (3, n)."""
    back, forth = times[1] - times[0], times[2] - times[1]
    change = (path[2] - path[1]) / forth - (path[1] - path[0]) / back
    return (path[2] - path[0]) / (back + forth), 2 * change / (back + forth)
