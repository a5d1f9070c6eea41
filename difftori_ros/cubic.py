# SPDX-License-Identifier: MIT
# pyright: strict
"""The cubic (Hermite) through the points of a trajectory, as controllers interpolate between them.

Before the first point and after the last one the state is that of the point.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def state_at(
    times: FloatArray, positions: FloatArray, velocities: FloatArray, t: float
) -> FloatArray:
    """Position, velocity and acceleration (3, n) at the time `t` [s].

    Args:
        times: Strictly increasing, shape (P,) [s].
        positions: Shape (P, n) [rad or m].
        velocities: Shape (P, n) [rad/s or m/s].
        t: On the clock of the times [s].
    """
    k = int(times.searchsorted(t, side="right")) - 1
    if not 0 <= k < len(times) - 1:
        end = max(k, 0)
        return np.array([positions[end], velocities[end], np.zeros(positions.shape[1])])
    begin, finish = times[k : k + 2].tolist()
    h = finish - begin
    u = (t - begin) / h
    weights = (
        (u * u * (3 - 2 * u), h * u * (1 - u) ** 2, h * u * u * (u - 1)),
        (6 * u * (1 - u) / h, (1 - u) * (1 - 3 * u), u * (3 * u - 2)),
        ((6 - 12 * u) / h**2, (6 * u - 4) / h, (6 * u - 2) / h),
    )
    parts = np.empty((3, positions.shape[1]))
    np.subtract(positions[k + 1], positions[k], out=parts[0])
    parts[1:] = velocities[k : k + 2]
    state = np.array(weights).dot(parts)
    state[0] += positions[k]
    return state


def states_at(
    times: FloatArray, positions: FloatArray, velocities: FloatArray, t: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Positions and velocities at the times `t` (K,) [s], each (K, n); see `state_at`."""
    last = len(times) - 1
    if not last:
        return positions.repeat(len(t), 0), velocities.repeat(len(t), 0)
    k = times[1:-1].searchsorted(t, side="right")
    after = k + 1
    begin = times.take(k)
    h = times.take(after)
    h -= begin
    u = np.maximum((t - begin) / h, 0.0)
    u, h = np.minimum(u, 1.0, out=u)[:, None], h[:, None]
    rest = 1 - u
    both = u * rest
    p, v, w = positions.take(k, 0), velocities.take(k, 0), velocities.take(after, 0)
    way = positions.take(after, 0)
    way -= p
    early, late = rest * v, u * w
    p += (u * u + 2 * u * both) * way
    p += h * both * (early - late)
    v += w
    v *= -2 * both
    v += 6 * both / h * way
    early *= rest
    late *= u
    v += early
    v += late
    return p, v
