# SPDX-License-Identifier: MIT
"""The cameras' clouds become the fixed number of points that the policy was trained on."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from difftori_models.contract.specs import PointSpec
from difftori_ros.errors import DifftoriError
from difftori_ros.types import Cloud, FloatArray, Reason

THIN_ABOVE = 8
"""More points than this, times `count`, are thinned before sampling, to bound its time."""
THIN_TO = 4
"""Roughly how many points, times `count`, a surface across the crop box is thinned to."""
NEIGHBOURS = 2
"""Other points that must be near a point, where outliers are dropped."""
WIDER = 1.0 + 1e-5
"""More than rounding takes from a distance."""

Points = NDArray[np.float32]


class CloudError(DifftoriError, ValueError):
    """A cloud cannot be used; `reason` is the code that the operator reads."""

    def __init__(self, message: str, reason: Reason):
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class View:
    """A cloud and what is known about where it was seen.

    Attributes:
        cloud: Points in any frame.
        transform: (4, 4), maps the cloud's frame to the frame of the spec at the cloud's stamp.
        outside: Tells which of the points (N, 3) in the frame of the spec are not on the robot
            itself; None keeps all.
    """

    cloud: Cloud
    transform: FloatArray
    outside: Callable[[Points], NDArray[np.bool_]] | None = None


def process_clouds(views: Sequence[View], spec: PointSpec) -> Points:
    """Exactly `spec.count` points inside the crop box, (count, 3) xyz or (count, 6) xyz + rgb.

    Transforms, crops (faces included), drops the robot's own points, merges, drops outliers by
    their number of neighbours (as Open3D's `remove_radius_outliers` does; where none has any, all
    stay), and spreads the points evenly by farthest point sampling (Eldar et al. 1997, "The
    farthest point strategy for progressive image sampling"), starting from the point nearest the
    centroid. Fewer points than `count` are repeated in turn. The result is the same bits for the
    same points in any order: points are sorted before anything depends on their order, and no
    matrix product is used, whose rounding depends on a point's place in memory.

    Args:
        views: The clouds of one or more cameras.
        spec: What the checkpoint wants.

    Raises:
        CloudError: Fewer than `spec.min_points` points are left (`Reason.TOO_FEW_POINTS`), or
            colour is wanted and a cloud has none (`Reason.BAD_MESSAGE`).
        ValueError: A transform is not a finite (4, 4) matrix.
    """
    parts = [_wanted(view, spec) for view in views]
    columns = np.concatenate([xyz for xyz, _ in parts], axis=1)
    rgb = np.concatenate([_unit(part) for _, part in parts])
    if spec.outlier_radius_m is not None:
        near = _with_neighbours(columns, spec.outlier_radius_m)
        if len(near):
            columns, rgb = columns[:, near], rgb[near]
    found, least = columns.shape[1], max(spec.min_points, 1)
    if found < least:
        seen = sum(len(view.cloud.xyz) for view in views)
        own = "" if spec.self_filter_m is None else ", without those on the arm"
        raise CloudError(
            f"wanted at least {least} points inside the box {spec.crop_min} to {spec.crop_max} of "
            f"frame '{spec.frame}'{own}, got {found} of {seen}",
            Reason.TOO_FEW_POINTS,
        )
    if found > THIN_ABOVE * spec.count:
        thin = np.flatnonzero(_thinned(columns, spec))
        columns, rgb = columns[:, thin], rgb[thin]
    columns = np.concatenate([columns, rgb.T])
    columns = columns[:, _ascending(columns)]
    found = columns.shape[1]
    if found > spec.count:
        order = farthest_points(columns[:3], spec.count)
    else:
        order = np.arange(spec.count) % found
    return np.ascontiguousarray(columns[:, order].T)


def process_cloud(cloud: Cloud, transform: FloatArray, spec: PointSpec) -> Points:
    """`process_clouds` of one cloud, nothing of which is on the robot."""
    return process_clouds([View(cloud, transform)], spec)


def _wanted(view: View, spec: PointSpec) -> tuple[Points, NDArray[Any]]:
    """Columns (3, N) and colours (N, 3), or (N, 0), of the points that are wanted."""
    cloud, matrix = view.cloud, np.asarray(view.transform, dtype=np.float32)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise ValueError(f"wanted a finite transform of shape (4, 4), got {matrix.tolist()}")
    if spec.color and cloud.rgb is None:
        raise CloudError(
            "wanted a cloud with fields x, y, z and rgb (or rgba, or r, g, b), "
            f"got one in frame '{cloud.frame_id}' with x, y, z alone",
            Reason.BAD_MESSAGE,
        )
    columns = _transformed(cloud.xyz, matrix)
    kept = np.flatnonzero(_inside(columns, spec))
    if view.outside is not None:
        kept = kept[view.outside(np.ascontiguousarray(columns[:, kept].T))]
    if spec.color and cloud.rgb is not None:
        return np.take(columns, kept, axis=1), cloud.rgb[kept]
    return np.take(columns, kept, axis=1), np.empty((len(kept), 0), np.float32)


def _with_neighbours(columns: Points, radius: float) -> NDArray[np.intp]:
    """Which points (3, N) have `NEIGHBOURS` others no farther than `radius` [m]."""
    points = columns.T
    if len(points) <= NEIGHBOURS:
        return np.arange(0)
    # the point itself is its own nearest one; whoever is too far is infinitely far
    tree, count = KDTree(points), NEIGHBOURS + 1
    found, _ = tree.query(points, count, distance_upper_bound=radius * WIDER)
    return np.flatnonzero(found[:, -1] <= radius)


def farthest_points(columns: Points, count: int) -> NDArray[np.intp]:
    """Indices (count,) of distinct points, each the farthest from those chosen before it.

    The first is the point nearest the centroid; among equals the lowest index wins. A point
    changes only what is nearer to it than the widest gap left. All of that lies in a slab of x, so
    that most of the cloud is left alone: the cost is about 10 us for each point chosen.

    Args:
        columns: Shape (3, N), N >= count, ascending in x.
        count: Points to choose.
    """
    columns = np.ascontiguousarray(columns)
    centroid = columns.mean(axis=1, dtype=np.float64)
    offset = columns - centroid[:, None]
    current = int((offset * offset).sum(axis=0).argmin())

    chosen = np.empty(count, dtype=np.intp)
    nearest = np.full(columns.shape[1], np.inf, dtype=np.float32)
    scratch, total = np.empty_like(columns), np.empty_like(nearest)
    x = columns[0].tolist()  # doubles, which `bisect` finds faster than numpy
    begin, end = 0, len(x)
    for k in range(count):
        chosen[k] = current
        # below every distance, so that none is chosen twice, not even among equal points
        nearest[current] = -1.0
        some, distance, difference = nearest[begin:end], total[begin:end], scratch[:, begin:end]
        np.subtract(columns[:, begin:end], columns[:, current, None], difference)
        np.multiply(difference, difference, difference)
        np.add(difference[0], difference[1], distance)
        np.add(distance, difference[2], distance)
        np.minimum(some, distance, some)
        current = int(nearest.argmax())
        # a little wider than the gap: whoever is further in x alone is further in all, rounded too
        gap = max(float(nearest[current]), 0.0) ** 0.5 * WIDER
        begin = bisect_left(x, x[current] - gap, 0, current)
        end = bisect_right(x, x[current] + gap, current)
    return chosen


def _transformed(xyz: Points, matrix: Points) -> Points:
    """Columns (3, N) of the points (N, 3) in the frame that `matrix` maps to."""
    x, y, z = np.ascontiguousarray(xyz.T, dtype=np.float32)
    out = np.empty((3, len(xyz)), dtype=np.float32)
    part = np.empty_like(x)
    with np.errstate(over="ignore", invalid="ignore"):  # absurdly far points end outside the box
        for row, (a, b, c, d) in zip(out, matrix, strict=False):
            np.multiply(x, a, out=row)
            row += np.multiply(y, b, out=part)
            row += np.multiply(z, c, out=part)
            row += d
    return out


def _inside(columns: Points, spec: PointSpec) -> NDArray[np.bool_]:
    low, high = np.array([spec.crop_min, spec.crop_max], dtype=np.float32)
    keep = np.ones(columns.shape[1], dtype=bool)
    for axis, values in enumerate(columns):
        keep &= values >= low[axis]
        keep &= values <= high[axis]
    return keep


def _unit(rgb: NDArray[Any]) -> Points:
    """Colour as float32 in [0, 1]."""
    if rgb.dtype == np.uint8:
        return rgb.astype(np.float32) / np.float32(255)
    return rgb.astype(np.float32)


def _ascending(columns: Points) -> NDArray[np.intp]:
    """Order of the points by their first number, then the second, and so on; equal ones stay."""
    order = np.argsort(columns[0])
    first = columns[0, order]
    same = np.zeros(len(first) + 1, dtype=bool)
    np.equal(first[1:], first[:-1], out=same[1:-1])
    # most differ in the first number already: a full sort takes five times as long
    tied = np.flatnonzero(same[1:] | same[:-1])
    some = np.sort(order[tied])
    order[tied] = some[np.lexsort(columns[::-1, some])]
    return order


def _thinned(columns: Points, spec: PointSpec) -> NDArray[np.bool_]:
    """Which points stay of a dense cloud: those nearest the centre of their cell.

    The cells are as large as a flat scene needs, and smaller when the points crowd in a corner of
    the box.
    """
    low, high = np.array([spec.crop_min, spec.crop_max], dtype=np.float64)
    target = THIN_TO * spec.count
    _, middle, longest = np.sort(high - low)
    edge = max(np.sqrt(middle * longest / target), longest / target, 1e-6)
    for division in (1, 2, 4):
        keep = _nearest_in_cell(columns, low, high, float(edge) / division)
        if np.count_nonzero(keep) >= target // 2:
            return keep
    return np.ones(columns.shape[1], dtype=bool)


def _nearest_in_cell(
    columns: Points, low: FloatArray, high: FloatArray, edge: float
) -> NDArray[np.bool_]:
    """Which points are nearest the centre of their cubic cell; equally near ones all count."""
    shape = np.ceil((high - low) / edge).astype(np.intp) + 1
    index = np.zeros(columns.shape[1], dtype=np.intp)
    distance = np.zeros(columns.shape[1], dtype=np.float32)
    for values, start, size in zip(columns, low.astype(np.float32), shape, strict=True):
        scaled = (values - start) / np.float32(edge)
        cell = np.floor(scaled)
        scaled -= cell
        scaled -= np.float32(0.5)
        scaled *= scaled
        distance += scaled
        index *= size
        index += np.clip(cell, 0, size - 1).astype(np.intp)
    nearest = np.full(int(np.prod(shape)), np.inf, dtype=np.float32)
    np.minimum.at(nearest, index, distance)
    return distance == nearest[index]
