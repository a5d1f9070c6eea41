# SPDX-License-Identifier: MIT
"""Whether the observation of a card makes sense: streams, clouds, images, vectors, frames."""

from __future__ import annotations

import re

from difftori_models.contract.network_settings import MAX_FRAMES
from difftori_models.contract.specs import ObservationSpec, PointSpec

from .errors import require

MAX_SIDE = 1024
"""Largest image that a card may ask for [px]."""
MAX_RADIUS_M = 0.2
"""Largest distance at which a filter may drop points [m]."""
_STREAM = re.compile(r"[a-z][a-z0-9_]*")


def check_observation(spec: ObservationSpec) -> None:
    """Pass silently when everything that is asked for can be observed together.

    Raises:
        CheckpointError: It cannot; the message names the entry.
    """
    frames, apart_s = spec.frames, spec.frames_apart_s
    require(
        1 <= frames <= MAX_FRAMES, f"observation.frames is {frames}, must be 1 to {MAX_FRAMES}"
    )
    require(
        1e-3 <= apart_s <= 1.0, f"observation.frames_apart_s is {apart_s} s, must be 0.001 to 1"
    )
    if spec.points is not None:
        _check_points(spec, spec.points)
    _check_images(spec)
    for name, length in spec.vectors.items():
        taken = ("position", "velocity", "tip", *spec.poses)
        where = f"observation.vectors['{name}']"
        require(
            bool(_STREAM.fullmatch(name)) and name not in taken,
            f"{where} is no plain name, or another feature's",
        )
        require(1 <= length <= 1 << 16, f"{where} is {length}, must be 1 to 65536")


def _check_points(spec: ObservationSpec, points: PointSpec) -> None:
    low, high = points.crop_min, points.crop_max
    require(1 <= points.count <= 1 << 20, f"observation.points.count is {points.count}")
    require(
        all(a < b for a, b in zip(low, high, strict=True)),
        f"observation.points: crop_min must lie below crop_max, got {low} and {high}",
    )
    radius, margin = points.outlier_radius_m, points.self_filter_m
    require(
        radius is None or 0.0 < radius <= MAX_RADIUS_M,
        f"observation.points.outlier_radius_m is {radius}, must lie between 0 and {MAX_RADIUS_M}",
    )
    where = "observation.points.clouds"
    require(len(points.clouds) > 0, f"{where} is empty")
    for name in points.clouds:
        require(bool(_STREAM.fullmatch(name)), f"{where}: '{name}' is not a plain name")
        taken = name in ("joint_states", *spec.tips, *spec.poses) or points.clouds.count(name) > 1
        require(not taken, f"{where}: '{name}' is another stream's name")
    if margin is not None:
        require(
            0.0 <= margin <= MAX_RADIUS_M,
            f"observation.points.self_filter_m is {margin}, must be 0 to {MAX_RADIUS_M}",
        )
        require(
            points.frame == spec.frame,
            f"observation.points.self_filter_m needs the points in the base frame '{spec.frame}', "
            f"not in '{points.frame}'",
        )


def _check_images(spec: ObservationSpec) -> None:
    others = ("joint_states", *spec.tips, *spec.clouds, *spec.poses)
    for name, image in spec.images.items():
        where = f"observation.images['{name}']"
        require(bool(_STREAM.fullmatch(name)), f"{where}: '{name}' is not a plain camera name")
        require(name not in others, f"{where}: '{name}' is another stream's name")
        for side, length in (("height", image.height), ("width", image.width)):
            require(
                8 <= length <= MAX_SIDE, f"{where}.{side} is {length}, must be 8 to {MAX_SIDE}"
            )
        left, top, right, bottom = image.crop
        require(
            0 <= left < right <= 1 and 0 <= top < bottom <= 1,
            f"{where}.crop must be left, top, right, bottom within 0 to 1, got {image.crop}",
        )
