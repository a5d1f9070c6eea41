# SPDX-License-Identifier: MIT
"""Depth images: `sensor_msgs` Image to metres, and with a calibration to points.

Messages are taken by their attributes alone, so this module imports no ROS package.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from difftori_ros.types import CameraInfo, Cloud

from .buffers import pixels
from .fields import CodecError, stamp_to_ns

DEPTHS = {"16UC1": "u2", "mono16": "u2", "32FC1": "f4"}
"""Encodings that `decode_depth` takes, and their numbers."""


def decode_depth(msg: Any) -> NDArray[np.float32]:
    """Depth image (H, W) float32 [m] in memory of its own, NaN where nothing was measured.

    By REP 118: 16UC1 (or mono16, as some drivers call it) is in millimetres with 0 for no
    measurement; 32FC1 is in metres, where everything that is not a finite positive number is no
    measurement.

    Raises:
        CodecError: The encoding is none of `DEPTHS`, the image is empty, or the data are shorter
            than the stated size.
    """
    encoding = str(msg.encoding)
    if encoding not in DEPTHS:
        raise CodecError(f"depth image: wanted encoding {', '.join(DEPTHS)}, got '{encoding}'")
    raw = pixels(msg, "depth image", 1, DEPTHS[encoding])
    return millimetres(raw) if raw.dtype.kind == "u" else metres(raw)


def millimetres(raw: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Depth [m], NaN for 0."""
    depth = raw.astype(np.float32)
    depth *= np.float32(1e-3)
    depth[raw == 0] = np.nan
    return depth


def metres(raw: NDArray[Any]) -> NDArray[np.float32]:
    """Depth [m], NaN for what is no finite positive number."""
    depth = raw.astype(np.float32)
    depth[~(np.isfinite(depth) & (depth > 0))] = np.nan
    return depth


def decode_depth_cloud(msg: Any, camera: CameraInfo) -> Cloud:
    """Cloud of a depth image, in its optical frame.

    Raises:
        CodecError: As `decode_depth`, or the camera's images are of another size.
    """
    depth = decode_depth(msg)
    return Cloud(
        stamp_to_ns(msg.header.stamp),
        str(msg.header.frame_id),
        depth_points(depth, camera),
        None,
    )


def depth_points(depth: NDArray[np.float32], camera: CameraInfo) -> NDArray[np.float32]:
    """Points (N, 3) [m] in the optical frame: x right, y down, z forward; row by row.

    The image is taken for a rectified one, as depth cameras deliver, so that `camera.p` projects
    it. Pixels with NaN, Inf, zero or negative depth give no point.

    Args:
        depth: Shape (H, W) [m], along the optical axis.
        camera: Of images of the same size.

    Raises:
        CodecError: The sizes differ.
    """
    if depth.shape != (camera.height, camera.width):
        raise CodecError(
            f"depth image: wanted {camera.height} rows of {camera.width}, as its camera info "
            f"says, got {depth.shape[0]} of {depth.shape[1]}"
        )
    (fx, _, cx, _), (_, fy, cy, _), _ = camera.p
    right = ((np.arange(camera.width) - cx) / fx).astype(np.float32)
    down = ((np.arange(camera.height) - cy) / fy).astype(np.float32)
    rows, columns = np.nonzero((depth > 0) & (depth < np.inf))
    z = depth[rows, columns]
    return np.stack([right[columns] * z, down[rows] * z, z], axis=1)
