# SPDX-License-Identifier: MIT
"""Rigid transforms: poses (7,) and matrices (4, 4), one made from the other."""

from __future__ import annotations

import math

import numpy as np
from scipy.spatial.transform import Rotation

from difftori_ros.types import QUATERNION_TOLERANCE, FloatArray


def pose_to_matrix(pose: FloatArray) -> FloatArray:
    """Matrix (4, 4) that maps points in the posed frame to the frame in which the pose is given.

    Args:
        pose: Shape (7,): x y z [m], quaternion x y z w.

    Raises:
        ValueError: Not seven finite numbers, or the quaternion's norm is off by more than 1e-3.
    """
    values = np.asarray(pose, dtype=np.float64)
    if values.shape != (7,) or not np.isfinite(values).all():
        raise ValueError(
            f"pose: wanted 7 finite numbers (x y z, quaternion x y z w), got {values.tolist()}"
        )
    norm = math.hypot(*values[3:])
    if abs(norm - 1.0) > QUATERNION_TOLERANCE:
        raise ValueError(
            f"pose: wanted a quaternion of norm 1, got {values[3:].tolist()} of norm {norm:.6g}"
        )
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat(values[3:]).as_matrix()
    matrix[:3, 3] = values[:3]
    return matrix


def matrix_to_pose(matrix: FloatArray) -> FloatArray:
    """Pose (7,) of a rigid transform (4, 4): x y z, quaternion x y z w with w >= 0."""
    quaternion = Rotation.from_matrix(matrix[:3, :3]).as_quat(canonical=True)
    return np.concatenate([matrix[:3, 3], quaternion])
