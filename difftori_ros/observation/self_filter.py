# SPDX-License-Identifier: MIT
"""Points on the arm itself are dropped from a cloud: the policy knows its joints already.

The arm is what the URDF's collision shapes fill at the measured joints: boxes, spheres, cylinders
and capsules as they are, meshes by the box around them.
"""

# Pinocchio is a binary module without type stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pinocchio as pin
from numpy.typing import NDArray

from difftori_ros.robot.profile import ProfileError, RobotProfile
from difftori_ros.types import FloatArray

Points = NDArray[np.float32]


@dataclass(frozen=True)
class Shape:
    """A shape about its own centre: `half` (3,) [m] for a box, else radius and half length [m].

    A sphere is a capsule of no length.
    """

    kind: str
    half: FloatArray
    centre: FloatArray

    def outside(self, xyz: Points, margin: float) -> NDArray[np.bool_]:
        """Which of the points (N, 3), in the shape's frame, are more than `margin` [m] away."""
        across = np.abs(xyz - self.centre.astype(np.float32))
        if self.kind == "box":
            return (across > (self.half + margin).astype(np.float32)).any(axis=1)
        radius, length = self.half
        along = across[:, 2]
        beside = np.hypot(across[:, 0], across[:, 1])
        if self.kind == "cylinder":
            return (beside > radius + margin) | (along > length + margin)
        return np.hypot(beside, np.maximum(along - length, 0.0)) > radius + margin

    @property
    def reach(self) -> float:
        """Greatest distance of the shape from its centre [m]."""
        if self.kind == "capsule":
            return float(self.half.sum())
        return float(np.linalg.norm(self.half))


class SelfFilter:
    """Knows for one robot which points are its own."""

    def __init__(self, profile: RobotProfile, margin_m: float):
        """Load the collision shapes.

        Args:
            profile: The robot.
            margin_m: Points no further from a shape than this count as its own [m].

        Raises:
            ProfileError: The URDF has no collision shapes.
        """
        self._margin = margin_m
        path = str(profile.urdf)
        self._model = pin.buildModelFromUrdf(path)
        self._data = self._model.createData()
        self._geometry = pin.buildGeomFromUrdf(
            self._model, path, pin.GeometryType.COLLISION, package_dirs=[str(profile.urdf.parent)]
        )
        if not len(self._geometry.geometryObjects):
            raise ProfileError(
                f"{profile.urdf}: no collision shapes, and the checkpoint wants points on the arm "
                "to be dropped (observation.points.self_filter_m)"
            )
        self._placed = self._geometry.createData()
        self._shapes = [_shape(item.geometry) for item in self._geometry.geometryObjects]
        self._mimics = _mimics(path)
        base = self._model.getFrameId(profile.base_frame)
        pin.framesForwardKinematics(self._model, self._data, pin.neutral(self._model))
        self._base = pin.SE3(self._data.oMf[base])

    def outside(self, xyz: Points, joints: Mapping[str, float]) -> NDArray[np.bool_]:
        """Which of the points (N, 3) in the base frame [m] are not on the arm, shape (N,).

        Args:
            xyz: The points.
            joints: Measured positions by name [rad or m]; those that are not told are at zero.
        """
        self._place(joints)
        keep = np.ones(len(xyz), dtype=bool)
        for shape, placed in zip(self._shapes, self._placed.oMg, strict=True):
            pose = self._base.actInv(placed)
            rotation = pose.rotation.astype(np.float32)
            origin = pose.translation.astype(np.float32)
            centre = origin + rotation @ shape.centre.astype(np.float32)
            near = np.abs(xyz - centre).max(axis=1) <= shape.reach + self._margin
            rows = np.flatnonzero(near & keep)
            if len(rows):
                local = _product(xyz[rows] - origin, rotation)
                keep[rows] = shape.outside(local, self._margin)
        return keep

    def _place(self, joints: Mapping[str, float]) -> None:
        q = pin.neutral(self._model)
        told = dict(joints)
        for name, (leader, factor, offset) in self._mimics.items():
            if leader in told:
                told[name] = factor * told[leader] + offset
        for name, value in told.items():
            if self._model.existJointName(name):
                q[self._model.joints[self._model.getJointId(name)].idx_q] = value
        pin.updateGeometryPlacements(self._model, self._data, self._geometry, self._placed, q)


def _product(xyz: Points, rotation: Points) -> Points:
    """`xyz` @ `rotation`, the same bits for a point wherever it stands in memory."""
    x, y, z = np.ascontiguousarray(xyz.T)
    columns = [x * rotation[0, k] + y * rotation[1, k] + z * rotation[2, k] for k in range(3)]
    return np.stack(columns, axis=1)


def _shape(geometry: Any) -> Shape:
    """A shape of the collision library as one of ours; what it has no name for by its box."""
    kind, origin = type(geometry).__name__, np.zeros(3)
    if kind == "Sphere":
        return Shape("capsule", np.array([geometry.radius, 0.0]), origin)
    if kind in ("Cylinder", "Capsule"):
        half = np.array([geometry.radius, geometry.halfLength])
        return Shape(kind.lower(), half, origin)
    if kind == "Box":
        return Shape("box", np.array(geometry.halfSide), origin)
    geometry.computeLocalAABB()
    low, high = np.array(geometry.aabb_local.min_), np.array(geometry.aabb_local.max_)
    return Shape("box", (high - low) / 2, (high + low) / 2)


def _mimics(path: str) -> dict[str, tuple[str, float, float]]:
    """Joints that follow another one: its name, the factor and the offset."""
    found = {}
    for joint in ElementTree.parse(path).getroot().findall("joint"):
        mimic = joint.find("mimic")
        if mimic is not None:
            factor, offset = mimic.get("multiplier", "1"), mimic.get("offset", "0")
            found[joint.get("name", "")] = (mimic.get("joint", ""), float(factor), float(offset))
    return found
