# SPDX-License-Identifier: MIT
"""A cloud or an image in a few numbers, to be compared with those of the training: no torch.

| kind | numbers |
|---|---|
| `points` | centroid, spread and `hand`, each x y z [m]; mean r g b, if there is colour |
| `image_<camera>` | mean and spread of r g b, each 0 to 1 |

`hand` is the centroid of the points around the tip, counted from the tip. Mean and std over
the training stand in the card's normaliser beside those of `state` and `action`; a card may lack
them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .specs import FloatArray, Observation, ObservationSpec

POINTS = "points"
LENGTH_FLOOR = 0.003
"""Least std of a centroid or spread [m]: two runs of one scene differ by a millimetre or two."""
COLOR_FLOOR = 0.02
"""Least std of a colour; light changes by as much in an hour."""
HAND_M = 0.08
"""Points this near to the tip are the hand's, and what it holds [m]. The hand looks much the same
all the time, so that wrong extrinsics show here and hardly in the whole cloud."""


def image_kind(camera: str) -> str:
    """Name of a camera's entry in the normaliser."""
    return f"image_{camera}"


def summary_names(spec: ObservationSpec) -> dict[str, tuple[str, ...]]:
    """Kind -> one name per number, for everything that the spec shows."""
    names: dict[str, tuple[str, ...]] = {}
    if spec.points is not None:
        of = ("centroid", "spread", "hand")
        lengths = tuple(f"cloud {what}.{axis}" for what in of for axis in "xyz")
        colors = tuple(f"cloud color.{channel}" for channel in "rgb") if spec.points.color else ()
        names[POINTS] = lengths + colors
    for camera in spec.images:
        names[image_kind(camera)] = tuple(
            f"{camera} {what}.{channel}" for what in ("mean", "spread") for channel in "rgb"
        )
    return names


def summaries(observation: Observation, spec: ObservationSpec) -> dict[str, FloatArray]:
    """Kind -> its numbers, of one observation."""
    numbers: dict[str, FloatArray] = {}
    if spec.points is not None and observation.points is not None:
        tip = observation.poses[spec.origin]
        numbers[POINTS] = _of_cloud(observation.points, tip, spec.points.color)
    for camera in spec.images:
        if camera in observation.images:
            numbers[image_kind(camera)] = _of_image(observation.images[camera])
    return numbers


def summary_statistics(
    spec: ObservationSpec,
    poses: Mapping[str, FloatArray],
    points: NDArray[np.float32] | None,
    images: Mapping[str, NDArray[np.uint8]],
    steps: NDArray[np.intp],
) -> dict[str, dict[str, tuple[float, ...]]]:
    """Entries of the normaliser: mean and std of every kind, with a floor under every std.

    Args:
        spec: What is observed.
        poses: Poses by name, each (T, 7), in the frame of the clouds.
        points: Processed clouds (T, N, C), or None.
        images: Processed images by camera, each (T, H, W, 3).
        steps: Which of the T count.
    """
    rows: dict[str, list[FloatArray]] = {}
    if spec.points is not None and points is not None:
        tips = poses[spec.origin]
        rows[POINTS] = [_of_cloud(points[k], tips[k], spec.points.color) for k in steps]
    for camera in spec.images:
        rows[image_kind(camera)] = [_of_image(images[camera][k]) for k in steps]
    entries = {}
    for kind, values in rows.items():
        table = np.array(values)
        floor = np.full(table.shape[1], COLOR_FLOOR)
        if kind == POINTS:
            floor[:9] = LENGTH_FLOOR
        std = np.maximum(table.std(axis=0), floor)
        entries[kind] = {"mean": tuple(table.mean(axis=0).tolist()), "std": tuple(std.tolist())}
    return entries


def _of_cloud(points: NDArray[np.float32], tip: FloatArray, color: bool) -> FloatArray:
    values = np.asarray(points, dtype=np.float64)
    xyz = values[:, :3]
    away = xyz - tip[:3]
    near = away[(away * away).sum(axis=1) < HAND_M**2]
    # no hand at all is as far off as can be
    hand = near.mean(axis=0) if len(near) else np.full(3, HAND_M)
    parts = [xyz.mean(axis=0), xyz.std(axis=0), hand]
    return np.concatenate([*parts, values[:, 3:6].mean(axis=0)] if color else parts)


def _of_image(image: NDArray[np.uint8]) -> FloatArray:
    values = image.reshape(-1, 3).astype(np.float32) / np.float32(255)
    mean, std = values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
    return np.concatenate([mean, std])
