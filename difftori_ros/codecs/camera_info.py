# SPDX-License-Identifier: MIT
"""Calibrations: `sensor_msgs` CameraInfo to plain data and back.

Messages are taken by their attributes alone, so this module imports no ROS package.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from difftori_ros.types import CameraInfo, FloatArray

from .fields import CodecError, ns_to_stamp, stamp_to_ns

DISTORTIONS = {
    "plumb_bob": (4, 5),
    "rational_polynomial": (8, 12, 14),
    "equidistant": (4,),
}
"""Model to how many coefficients it may have."""
ROTATION_TOLERANCE = 1e-3
"""`r` may be this far from a rotation: calibrations are printed with few digits [1]."""


def decode_camera_info(msg: Any) -> CameraInfo:
    """Calibration of the whole image.

    `r` and `p` of zeros, as some drivers leave them, become the identity and `k`.

    Raises:
        CodecError: The image has no size; a matrix is not what its name says, as in an
            uncalibrated camera; there are not as many coefficients as the model has, or it is
            unknown; or the image is a binned one or a part of a larger one.
    """
    width, height = int(msg.width), int(msg.height)
    if width == 0 or height == 0:
        raise CodecError(f"camera info: wanted pixels, got height {height} and width {width}")
    _check_whole(msg)
    k = _matrix("k", msg.k, (3, 3))
    _check_camera_matrix("k", k)
    r, p = _matrix("r", msg.r, (3, 3)), _matrix("p", msg.p, (3, 4))
    if not r.any():
        r = np.eye(3)
    if not p.any():
        p = np.column_stack([k, np.zeros(3)])
    if not (np.abs(r) <= 2.0).all() or np.abs(r @ r.T - np.eye(3)).max() > ROTATION_TOLERANCE:
        raise CodecError(f"camera info: wanted a rotation r, got {r.tolist()}")
    if np.linalg.det(r) < 0:
        raise CodecError(f"camera info: wanted a rotation r, got a reflection {r.tolist()}")
    _check_camera_matrix("p", p)
    model, distortion = str(msg.distortion_model), np.array(msg.d, dtype=np.float64)
    if not np.isfinite(distortion).all():
        raise CodecError(f"camera info: wanted finite coefficients d, got {distortion.tolist()}")
    if distortion.any():
        if model not in DISTORTIONS:
            raise CodecError(
                f"camera info: wanted distortion model {', '.join(DISTORTIONS)}, got '{model}'"
            )
        counts = DISTORTIONS[model]
        if len(distortion) not in counts:
            raise CodecError(
                f"camera info: wanted {' or '.join(map(str, counts))} coefficients d of model "
                f"'{model}', got {len(distortion)}"
            )
    stamp_ns, frame_id = stamp_to_ns(msg.header.stamp), str(msg.header.frame_id)
    return CameraInfo(stamp_ns, frame_id, width, height, k, model, distortion, r, p)


def encode_camera_info(
    msg: Any, stamp_ns: int, frame_id: str, matrix: FloatArray, width: int, height: int
) -> None:
    """Fill a `sensor_msgs` CameraInfo of an undistorted camera with matrix (3, 3) [px]."""
    k = np.asarray(matrix, dtype=np.float64)
    ns_to_stamp(stamp_ns, msg.header.stamp)
    msg.header.frame_id = frame_id
    msg.width, msg.height = int(width), int(height)
    msg.distortion_model = "plumb_bob"
    msg.d = [0.0] * 5
    msg.k = k.ravel().tolist()
    msg.r = np.eye(3).ravel().tolist()
    msg.p = np.column_stack([k, np.zeros(3)]).ravel().tolist()


def _check_whole(msg: Any) -> None:
    binning = (int(msg.binning_x), int(msg.binning_y))
    if max(binning) > 1:
        raise CodecError(f"camera info: wanted an image without binning, got {binning}")
    part = msg.roi
    size = (int(part.width), int(part.height))
    if part.x_offset or part.y_offset or size not in ((0, 0), (int(msg.width), int(msg.height))):
        raise CodecError(
            f"camera info: wanted the whole image of {int(msg.width)} by {int(msg.height)}, got "
            f"the region {size[0]} by {size[1]} at {int(part.x_offset)}, {int(part.y_offset)}"
        )


def _matrix(name: str, values: Any, shape: tuple[int, int]) -> FloatArray:
    matrix = np.array(values, dtype=np.float64)
    if matrix.size != shape[0] * shape[1] or not np.isfinite(matrix).all():
        raise CodecError(f"camera info: wanted a finite matrix {name}, got {matrix.tolist()}")
    return matrix.reshape(shape)


def _check_camera_matrix(name: str, matrix: FloatArray) -> None:
    """Pass (3, 3) or (3, 4) of the form `fx s cx, 0 fy cy, 0 0 1`."""
    if matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        raise CodecError(
            f"camera info: wanted a matrix {name} with positive focal lengths, "
            f"got {matrix.tolist()}"
        )
    if matrix[1, 0] != 0 or matrix[2, :3].tolist() != [0, 0, 1]:
        raise CodecError(
            f"camera info: wanted a matrix {name} whose first three columns end with 0 in row 2 "
            f"and are 0, 0, 1 in row 3, got {matrix.tolist()}"
        )
