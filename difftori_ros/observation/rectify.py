# SPDX-License-Identifier: MIT
"""Taking a lens's distortion out of a picture, as its calibration describes it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from difftori_ros.codecs.camera_info import decode_camera_info
from difftori_ros.codecs.fields import CodecError
from difftori_ros.types import FloatArray

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Lens:
    """The calibration of a camera, hashable; matrices row by row, pixel centres at whole numbers.

    Attributes:
        width: Columns of the calibrated picture [px].
        height: Rows [px].
        matrix: Of the picture as it comes, K, 9 numbers [px].
        model: Of the distortion, as sensor_msgs/CameraInfo names it.
        distortion: Its coefficients, at most 8; none for no distortion.
        rotation: From the camera's axes to the rectified ones, R, 9 numbers.
        rectified: Of the rectified picture, the left part of P, 9 numbers [px].
    """

    width: int
    height: int
    matrix: tuple[float, ...]
    model: str = ""
    distortion: tuple[float, ...] = ()
    rotation: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    rectified: tuple[float, ...] = ()


def decode_lens(msg: Any) -> Lens:
    """The calibration that a `sensor_msgs` CameraInfo holds.

    Raises:
        CodecError: It cannot be used, or has coefficients for a thin prism or a tilted sensor.
    """
    info = decode_camera_info(msg)
    bent = info.distortion
    if bent[8:].any():
        raise CodecError(
            f"camera info: wanted at most 8 coefficients of '{info.distortion_model}' that are "
            f"not zero, got {bent.tolist()}"
        )
    return Lens(
        width=info.width,
        height=info.height,
        matrix=tuple(info.k.ravel().tolist()),
        model=info.distortion_model,
        distortion=tuple(bent[:8].tolist()) if bent.any() else (),
        rotation=tuple(info.r.ravel().tolist()),
        rectified=tuple(info.p[:, :3].ravel().tolist()),
    )


def rectified(picture: Pixels, lens: Lens, box: tuple[int, int, int, int]) -> Pixels:
    """The part `box` (left, top, right, bottom [px]) of the rectified picture; black outside.

    Bilinear, in whole numbers: weights are rounded to 1/32 px once per lens.
    """
    places, weights = _lookup(lens, box)
    flat = np.zeros((picture.shape[0] * picture.shape[1] + 1, 3), np.int32)
    flat[:-1] = picture.reshape(-1, 3)
    sums = np.sum([flat[p] * w for p, w in zip(places, weights, strict=True)], axis=0)
    return ((sums + 512) // 1024).astype(np.uint8)


def distorted(x: FloatArray, y: FloatArray, lens: Lens) -> tuple[FloatArray, FloatArray]:
    """Where rays with slopes x and y pass through the lens: the slopes that the picture shows."""
    if not any(lens.distortion):
        return x, y
    r2 = x * x + y * y
    if lens.model == "equidistant":
        r = np.sqrt(r2)
        angle = np.arctan(r)
        a2 = angle * angle
        k1, k2, k3, k4 = lens.distortion
        bent = angle * (1 + a2 * (k1 + a2 * (k2 + a2 * (k3 + a2 * k4))))
        scale = np.divide(bent, r, out=np.ones_like(r), where=r > 1e-9)
        return x * scale, y * scale
    k1, k2, p1, p2, *more = lens.distortion
    k3, k4, k5, k6 = (*more, 0.0, 0.0, 0.0, 0.0)[:4]
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    radial = radial / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    return (
        x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
        y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
    )


@lru_cache(maxsize=8)
def _lookup(
    lens: Lens, box: tuple[int, int, int, int]
) -> tuple[list[NDArray[np.intp]], list[NDArray[np.int32]]]:
    """Four places in the flat picture for each pixel, and their weights, which sum to 1024."""
    left, top, right, bottom = box
    v, u = np.meshgrid(np.arange(top, bottom), np.arange(left, right), indexing="ij")
    k = np.array(lens.matrix).reshape(3, 3)
    p = np.array(lens.rectified or lens.matrix).reshape(3, 3)
    rays = np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(p).T
    rays = rays @ np.array(lens.rotation).reshape(3, 3)  # the inverse of a rotation: transposed
    ahead = rays[..., 2] > 1e-9
    depth = np.where(ahead, rays[..., 2], 1.0)
    x, y = distorted(rays[..., 0] / depth, rays[..., 1] / depth, lens)
    at_x = np.rint(32 * np.clip(k[0, 0] * x + k[0, 1] * y + k[0, 2], -4, lens.width + 4))
    at_y = np.rint(32 * np.clip(k[1, 1] * y + k[1, 2], -4, lens.height + 4))
    column, row = at_x.astype(np.int64) // 32, at_y.astype(np.int64) // 32
    right_share, low_share = at_x.astype(np.int64) % 32, at_y.astype(np.int64) % 32
    places, weights = [], []
    for down in (0, 1):
        for along in (0, 1):
            r, c = row + down, column + along
            inside = ahead & (r >= 0) & (r < lens.height) & (c >= 0) & (c < lens.width)
            places.append(np.where(inside, r * lens.width + c, lens.height * lens.width))
            share = (low_share if down else 32 - low_share) * (
                right_share if along else 32 - right_share
            )
            weights.append(share.astype(np.int32)[..., None])
    return places, weights
