# SPDX-License-Identifier: MIT
"""What an arm that is only computed has before it: a cube and a goal that go round in circles, so
that a policy always has something to reach for."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import PointCloud2, PointField

from difftori_models.contract.specs import FloatArray
from difftori_ros import codecs
from difftori_ros.codecs import point_cloud as point_cloud_codec
from difftori_ros.types import Cloud, Pose

CENTRE = np.array([0.6, 0.0, 0.02])
RADIUS_M, TURN_S = 0.1, 5.0
"""The circle on which the cube goes round, and the time of a turn."""
ASIDE = np.array([0.4, 0.27, 0.02])
"""Where else there is something to be seen, and the hand never is."""
LIFT = np.array([0.0, 0.0, 0.2])
"""The goal is that far from the cube [m]."""
POSE_EVERY, CLOUD_EVERY = 5, 10
"""Periods of joint states between two poses and two clouds."""
POINTS = 600


def cube_at(steady_s: float) -> FloatArray:
    """Where the cube is at a time of the steady clock (3,) [m]."""
    angle = 2 * np.pi * steady_s / TURN_S
    return CENTRE + RADIUS_M * np.array([np.cos(angle), np.sin(angle), 0.0])


def poses(stamp_ns: int, frame: str, cube: FloatArray) -> dict[str, PoseStamped]:
    """Poses of the cube, which is at `cube` (3,) [m], and of the goal, by stream."""
    made = {}
    for name, xyz in (("object", cube), ("goal", cube + LIFT)):
        made[name], pose = PoseStamped(), np.array([*xyz, 0.0, 0.0, 0.0, 1.0])
        codecs.encode_pose(Pose(stamp_ns, frame, pose), made[name])
    return made


def cloud(stamp_ns: int, frame: str, cube: FloatArray, rng: np.random.Generator) -> PointCloud2:
    """What a camera sees of the cube, which is at `cube` (3,) [m]."""
    xyz = cube + rng.uniform(-0.02, 0.02, (POINTS, 3))
    # nothing keeps this hand out of this cube: some points are never taken for the hand's
    xyz[:50] = ASIDE + rng.uniform(-0.005, 0.005, (50, 3))
    rgb = np.tile(np.array([0.9, 0.1, 0.1], np.float32), (POINTS, 1))
    message = PointCloud2()
    seen = Cloud(stamp_ns, frame, xyz.astype(np.float32), rgb)
    point_cloud_codec.encode_cloud(seen, message, PointField)
    return message
