# SPDX-License-Identifier: MIT
"""Forward and inverse kinematics of the arm on Pinocchio."""

# Pinocchio is a binary module without type stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pinocchio as pin
from numpy.typing import NDArray
from scipy.linalg.lapack import dgesv

from difftori_ros.types import FloatArray

from .profile import ProfileError, RobotProfile

MAX_ITERATIONS = 50
DAMPING = 1e-6
"""Damping of the least-squares step [1]: enough near singular poses, no bias elsewhere."""
DAMPED = DAMPING * np.eye(6)
TOLERANCE = 1e-5
"""Pose error at which an inverse solution counts as found [m and rad]."""


@dataclass(frozen=True)
class IkResult:
    """The best joint positions found (n,) [rad] and the pose error that is left [m and rad]."""

    position: FloatArray
    error: float

    @property
    def converged(self) -> bool:
        """True when the pose was met to 1 mm and 1 mrad."""
        return self.error < 1e-3


@dataclass(frozen=True)
class Attached:
    """Points of the robot: the joints of the model that carry them (S,), and where, (S, 3) [m]."""

    joints: NDArray[np.int64]
    xyz: FloatArray


class Kinematics:
    """Kinematics of one robot profile; deterministic, no random restarts.

    All joints of the model but the arm's stand at their neutral position.
    """

    def __init__(self, profile: RobotProfile):
        """Load the model.

        Raises:
            ProfileError: The URDF lacks a joint or a frame of the profile, or does not hold the
                base still.
        """
        self._whole = pin.buildModelFromUrdf(str(profile.urdf))
        missing = [name for name in profile.arm_joints if not self._whole.existJointName(name)]
        if missing:
            raise ProfileError(
                f"the URDF of '{profile.name}' has no joint {', '.join(missing)}; "
                f"it has {', '.join(list(self._whole.names)[1:])}"
            )
        for frame in (profile.base_frame, profile.tip_frame):
            if not self._whole.existFrame(frame):
                names = ", ".join(f.name for f in self._whole.frames)
                raise ProfileError(
                    f"the URDF of '{profile.name}' has no frame '{frame}'; it has {names}"
                )
        others = [name for name in list(self._whole.names)[1:] if name not in profile.arm_joints]
        locked = [self._whole.getJointId(name) for name in others]
        self._model = pin.buildReducedModel(self._whole, locked, pin.neutral(self._whole))
        names = list(self._model.names)[1:]
        self._order = np.array([profile.arm_joints.index(name) for name in names])
        endless = [names[k] for k, joint in enumerate(self._model.joints[1:]) if joint.nq != 1]
        if endless:
            raise ProfileError(
                f"joint {endless[0]} of '{profile.name}' turns without end: in the URDF it must "
                "be 'revolute', with limits, or 'prismatic'"
            )
        base = _frame(self._model, profile.base_frame)
        if base.parent:
            raise ProfileError(
                f"the base frame '{profile.base_frame}' of '{profile.name}' moves with joint "
                f"{names[base.parent - 1]}"
            )
        self._base = pin.SE3(base.placement)
        self._tip = self._model.getFrameId(profile.tip_frame)
        self._data = self._model.createData()
        self._lower, self._upper = profile.lower[self._order], profile.upper[self._order]
        self._steps = _steps(self._model, self._data)
        self._origin, self._parents = self._base.inverse().homogeneous, self._model.parents[1:]

    def _tip_in_world(self, q: FloatArray) -> pin.SE3:
        pin.forwardKinematics(self._model, self._data, q)
        return pin.updateFramePlacement(self._model, self._data, self._tip)

    def _jacobian(self, q: FloatArray) -> FloatArray:
        """Derivative (6, n) of the tip's pose, in its own frame, by the joints of the model."""
        return pin.computeFrameJacobian(self._model, self._data, q, self._tip, pin.LOCAL)

    def tip_pose(self, position: FloatArray) -> FloatArray:
        """Pose of the tip in the base frame, shape (7,): x y z [m], quaternion x y z w.

        Args:
            position: Arm joint positions in profile order, shape (n,) [rad].
        """
        q = np.asarray(position, dtype=np.float64)[self._order]
        pose = pin.SE3ToXYZQUAT(self._base.actInv(self._tip_in_world(q)))
        if pose[6] < 0:
            pose[3:] = -pose[3:]
        return pose

    def tip_positions(self, positions: FloatArray) -> FloatArray:
        """Where the tip is in the base frame (T, 3) [m] at joint positions (T, n) [rad]."""
        ordered = np.asarray(positions, dtype=np.float64)[:, self._order]
        poses = [pin.SE3ToXYZQUAT(self._base.actInv(self._tip_in_world(q))) for q in ordered]
        return np.array(poses).reshape(-1, 7)[:, :3]

    def depth(self, frame: str) -> int:
        """How many joints of the model lie between its root and a frame.

        Raises:
            ProfileError: The model has no such frame.
        """
        joint, count = _frame(self._whole, frame).parent, 0
        while joint > 0:
            joint, count = self._whole.parents[joint], count + 1
        return count

    def placements(
        self, positions: FloatArray, frames: Sequence[str]
    ) -> tuple[FloatArray, FloatArray]:
        """Rotations (T, F, 3, 3) and origins (T, F, 3) [m] of frames in the base frame.

        Args:
            positions: Arm joint positions in profile order, shape (T, n) [rad].
            frames: Names of F frames.
        """
        seen = [_frame(self._model, name) for name in frames]
        fixed = np.array([frame.placement.homogeneous for frame in seen])
        joints = self._joints_in_base(positions)[[frame.parent for frame in seen]]
        made = np.matmul(joints, fixed[:, None]).swapaxes(0, 1)
        return made[..., :3, :3], made[..., :3, 3]

    def attach(self, frames: Sequence[str], points: FloatArray) -> Attached:
        """Points (S, 3) [m], each given in the frame named beside it, as `trace` takes them.

        Raises:
            ProfileError: The model has no such frame.
        """
        seen = [_frame(self._model, name) for name in frames]
        placed = [frame.placement.act(xyz) for frame, xyz in zip(seen, points, strict=True)]
        joints = np.array([frame.parent for frame in seen], dtype=np.int64)
        return Attached(joints, np.array(placed).reshape(-1, 3))

    def trace(self, positions: FloatArray, points: Attached) -> FloatArray:
        """Where attached points are in the base frame, shape (S, T, 3) [m].

        Args:
            positions: Arm joint positions in profile order, shape (T, n) [rad].
            points: S points.
        """
        joints = self._joints_in_base(positions)[points.joints, :, :3]
        turned = np.einsum("stij,sj->sti", joints[..., :3], points.xyz)
        turned += joints[..., 3]
        return turned

    def _joints_in_base(self, positions: FloatArray) -> FloatArray:
        """Placements (1 + n, T, 4, 4) of the base's origin and of every joint of the model."""
        q = positions.T[self._order]
        basis = np.ones((*q.shape, 4))
        np.cos(q, out=basis[..., 1])
        np.sin(q, out=basis[..., 2])
        basis[..., 3] = q
        steps = np.matmul(basis, self._steps).reshape(*q.shape, 4, 4)
        made = np.empty((1 + len(q), len(positions), 4, 4))
        made[0] = self._origin
        for k, parent in enumerate(self._parents):
            np.matmul(made[parent], steps[k], out=made[k + 1])
        return made

    def solve(self, pose: FloatArray, start: FloatArray) -> IkResult:
        """Joint positions within the limits whose tip pose is nearest to `pose`; see `follow`.

        Args:
            pose: Wanted tip pose in the base frame, shape (7,).
            start: Where to start, shape (n,) [rad]; decides which of several solutions is found.
        """
        return next(self.follow(pose[None, :3], pose[3:7], start))

    def follow(
        self, path: FloatArray, quaternion: FloatArray, start: FloatArray
    ) -> Iterator[IkResult]:
        """Joint positions within the limits that lead the tip along a path, each from the last.

        Damped Gauss-Newton on the SE(3) logarithm, projected to the limits (Siciliano et al.,
        "Robotics", 2009, section 3.7).

        Args:
            path: Wanted tip positions in the base frame, shape (K, 3) [m].
            quaternion: Wanted orientation at all of them, x y z w, shape (4,).
            start: Where to start, shape (n,) [rad]; decides which of several solutions is found.
        """
        turn = pin.Quaternion(np.asarray(quaternion, dtype=np.float64))
        turn.normalize()
        q, target = np.asarray(start, dtype=np.float64)[self._order], pin.SE3.Identity()
        target.rotation = turn.toRotationMatrix()
        for xyz in path:
            target.translation = xyz
            q, error = self._reach(self._base * target, q)
            position = np.empty_like(q)
            position[self._order] = q
            yield IkResult(position, error)

    def _reach(self, target: pin.SE3, q: FloatArray) -> tuple[FloatArray, float]:
        """Positions (n,) of the model's joints that come nearest to the target, and the error."""
        lower, upper = self._lower, self._upper
        q = np.minimum(np.maximum(q, lower), upper)
        best, best_error = q, math.inf
        for _ in range(MAX_ITERATIONS):
            delta = self._tip_in_world(q).actInv(target)
            twist = pin.log6(delta).vector
            error = math.sqrt(twist.dot(twist))
            if error < best_error:
                best, best_error = q, error
            if error < TOLERANCE:
                break
            jacobian = pin.Jlog6(delta.inverse()).dot(self._jacobian(q))
            gram = jacobian.dot(jacobian.T)
            gram += DAMPED
            q = q + jacobian.T.dot(dgesv(gram, twist)[2])
            q = np.minimum(np.maximum(q, lower), upper)
        return best, best_error


def _frame(model: pin.Model, name: str) -> pin.Frame:
    """The frame of that name.

    Raises:
        ProfileError: There is none.
    """
    if not model.existFrame(name):
        have = ", ".join(frame.name for frame in model.frames)
        raise ProfileError(f"the URDF has no frame '{name}'; it has {have}")
    return model.frames[model.getFrameId(name)]


def _steps(model: pin.Model, data: pin.Data) -> FloatArray:
    """Coefficients (n, 4, 16) of 1, cos q, sin q and q in the placement of a joint in its parent.

    They tell the placement of every joint that turns about an axis or slides along one.
    """
    angles = np.array([0.0, 0.5, 1.0, 1.5]) * math.pi
    basis = np.stack([np.ones(4), np.cos(angles), np.sin(angles), angles], axis=1)
    seen = []
    for angle in angles:
        pin.forwardKinematics(model, data, np.full(model.nq, angle))
        seen.append([placement.homogeneous.ravel() for placement in list(data.liMi)[1:]])
    return np.linalg.solve(basis, np.array(seen).swapaxes(0, 1))
