# SPDX-License-Identifier: MIT
"""Joint waypoints become a trajectory that keeps the limits, joins the motion under way and rests.

Between the points of a trajectory controllers interpolate cubically (Hermite), and so does this
package.
"""

from __future__ import annotations

import math

import numpy as np

from difftori_ros.cubic import state_at
from difftori_ros.robot.profile import Gripper, RobotProfile
from difftori_ros.types import FloatArray, Trajectory

from .ruckig_path import SPACING_S, MotionError, Reference, RuckigPath

__all__ = [
    "Reference",
    "brake",
    "gripper_ramp",
    "hold",
    "join",
    "reference_at",
    "schedule",
    "segment_accelerations",
    "split",
]

GRIPPER_STEP_S = 0.02
"""Time between two points of a gripper ramp, and the time it takes to come up to speed [s]."""

MERGE_S = 1e-4
"""Points of two motions closer than this become one [s]."""

GRIPPER_MARGIN = 0.95
"""Share of the gripper's velocity limit planned with; resampling may need the rest."""

LONGEST_RAMP_S = 10.0
"""A gripper measured further away from its targets than this takes is not believed [s]."""


def schedule(
    profile: RobotProfile,
    stamp_ns: int,
    waypoints: FloatArray,
    dt_s: float,
    start: Reference,
    start_ns: int,
    spacing_s: float = SPACING_S,
) -> Trajectory | None:
    """A trajectory of the arm joints from exactly `start` along the waypoints to rest.

    Waypoint k is due at `stamp + (k + 1) * dt`; those due at or before `start_ns` are dropped, and
    without any left the arm brakes. Until each due time the arm moves towards the waypoint two
    ahead, to pass it with the central differences of its neighbours: smooth waypoints are met to a
    few mrad, noisy ones are smoothed. One that the limits do not allow to meet in time is left
    behind for the next. At the last one the arm comes to rest; it may take `dt` longer, so that it
    slows down evenly instead of rushing there, and brakes when even that is too short. So the arm
    is at rest within `horizon + dt +` the time of braking.

    Args:
        profile: Limits. Waypoints outside the position limits are clipped to them.
        stamp_ns: Stamp of the observation the waypoints were made from [ns].
        waypoints: Shape (H, n) [rad].
        dt_s: Time between waypoints [s].
        start: State at `start_ns`. Outside the limits it is brought back into them.
        start_ns: When the trajectory starts, same clock as the stamp [ns].
        spacing_s: Longest time between two points [s].

    Returns:
        The trajectory; its times count from `stamp_ns`. None when `start` or the waypoints are not
        finite, or too large to compute with: what was sent before ends at rest by itself.
    """
    waypoints = np.asarray(waypoints, dtype=np.float64).reshape(-1, len(profile.arm_joints))
    if not (start.finite and np.isfinite(waypoints).all()):
        return None
    begin = (start_ns - stamp_ns) * 1e-9
    due = [(k + 1) * dt_s - begin for k in range(len(waypoints))]
    try:
        path = RuckigPath(profile, start, spacing_s)
        within = np.minimum(np.maximum(waypoints, profile.lower), profile.upper)
        path.follow(within, due, dt_s)
        path.brake()
    except MotionError:
        return None
    times, positions, velocities = path.points()
    return Trajectory(stamp_ns, profile.arm_joints, begin + times, positions, velocities)


def brake(profile: RobotProfile, stamp_ns: int, start: Reference, start_ns: int) -> Trajectory:
    """The trajectory of the arm joints that comes to rest soonest, every joint for itself.

    Raises:
        MotionError: `start` is not finite or too large to compute with.
    """
    if not start.finite:
        raise MotionError(f"cannot brake from a state that is not finite: {start}")
    path = RuckigPath(profile, start)
    path.brake()
    times, positions, velocities = path.points()
    begin = (start_ns - stamp_ns) * 1e-9
    return Trajectory(stamp_ns, profile.arm_joints, begin + times, positions, velocities)


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
    t, times = (t_ns - trajectory.stamp_ns) * 1e-9, trajectory.times
    state = state_at(times, trajectory.positions, trajectory.velocities, t)
    if not times[0] <= t < times[-1]:
        state[1:] = 0.0
    return Reference(*state)


def segment_accelerations(trajectory: Trajectory) -> tuple[FloatArray, FloatArray]:
    """Acceleration of the cubic at both ends of every segment, each (P - 1, n); linear in between.

    Second derivative of the Hermite cubic through positions p, q with velocities v, w, h apart:
    6 (q - p) / h^2 - (4 v + 2 w) / h at its start, -6 (q - p) / h^2 + (2 v + 4 w) / h at its end.
    """
    times, positions = trajectory.times, trajectory.positions
    h = (times[1:] - times[:-1])[:, None]
    step = (positions[1:] - positions[:-1]) * (6 / h**2)
    scaled = trajectory.velocities * 2
    v, w = scaled[:-1] / h, scaled[1:] / h
    return step - 2 * v - w, v + 2 * w - step


def gripper_ramp(
    gripper: Gripper,
    stamp_ns: int,
    start_position: float,
    targets: FloatArray,
    dt_s: float,
    start_ns: int,
) -> Trajectory:
    """A trajectory of the gripper joint from rest at `start_position` to rest at the last target.

    Target k is pursued from `stamp + k * dt` to `stamp + (k + 1) * dt`, the last one until it is
    reached, at no more than the gripper's velocity. Each step takes the velocity from which one
    more step can come to rest at the target, so that it never goes past one. Targets are clipped
    to the range from closed to open. From a start that is not finite or absurdly far away nothing
    moves.
    """
    names = (gripper.joint,)
    low, high = sorted((gripper.closed, gripper.open))
    pursued = [min(max(target, low), high) for target in targets.tolist()]
    begin = (start_ns - stamp_ns) * 1e-9
    h, fastest = GRIPPER_STEP_S, GRIPPER_MARGIN * gripper.velocity
    # written so that NaN is not near either
    reach = LONGEST_RAMP_S * fastest
    near = [abs(target - start_position) <= reach for target in pursued]
    if not (near and all(near)):
        return hold(names, stamp_ns, np.array([start_position]), start_ns)
    times, positions, velocities = [begin], [float(start_position)], [0.0]
    last = len(pursued) - 1
    while True:
        t, p, v = times[-1], positions[-1], velocities[-1]
        k = min(max(math.floor(t / dt_s + 1e-6), 0), last)
        target = pursued[k]
        if k == last and len(times) > 1 and v == 0.0 and abs(target - p) < 1e-9:
            break
        w = min(max((target - p) / h - v / 2, -fastest), fastest)
        w = w if abs(w) > 1e-9 else 0.0
        times.append(begin + len(times) * h)
        positions.append(p + h * (v + w) / 2)
        velocities.append(w)
    columns = np.array(positions)[:, None], np.array(velocities)[:, None]
    return Trajectory(stamp_ns, names, np.array(times), *columns)


def join(arm: Trajectory, gripper: Trajectory) -> Trajectory:
    """Both motions in one, at the points of both: a cubic cut in two is the same cubic."""
    later = gripper.times + (gripper.stamp_ns - arm.stamp_ns) * 1e-9
    apart = np.abs(later[:, None] - arm.times).min(axis=1) > MERGE_S
    added = later[apart & (later > arm.times[0])]
    times = np.concatenate([arm.times, added])
    times.sort()
    moments_ns = arm.stamp_ns + np.rint(times * 1e9).astype(np.int64)
    n = len(arm.joint_names)
    positions = np.empty((len(times), n + len(gripper.joint_names)))
    velocities = np.empty_like(positions)
    positions[:, n:], velocities[:, n:] = gripper.samples(moments_ns)
    # its own points exactly as they were given, whatever rounding does to the times
    given, between = times.searchsorted(arm.times), times.searchsorted(added)
    positions[given, :n], velocities[given, :n] = arm.positions, arm.velocities
    positions[between, :n], velocities[between, :n] = arm.samples(moments_ns[between])
    positions[-1, n:], velocities[-1] = gripper.positions[-1], 0.0
    names = (*arm.joint_names, *gripper.joint_names)
    return Trajectory(arm.stamp_ns, names, times, positions, velocities)


def split(trajectory: Trajectory, joint_names: tuple[str, ...]) -> Trajectory:
    """The columns of `joint_names`, in that order; may share its arrays with the trajectory.

    Raises:
        ValueError: The trajectory lacks one of them.
    """
    if joint_names == trajectory.joint_names:
        return trajectory
    had = trajectory.joint_names
    try:
        columns = [had.index(name) for name in joint_names]
    except ValueError:
        missing = [name for name in joint_names if name not in had]
        raise ValueError(
            f"the trajectory has no joint {', '.join(missing)}; it has {', '.join(had)}"
        ) from None
    first = columns[0] if columns else 0
    in_a_row = columns == list(range(first, first + len(columns)))
    taken = slice(first, first + len(columns)) if in_a_row else columns
    return Trajectory(
        trajectory.stamp_ns,
        joint_names,
        trajectory.times,
        trajectory.positions[:, taken],
        trajectory.velocities[:, taken],
    )
