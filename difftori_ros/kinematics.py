# SPDX-License-Identifier: MIT
"""Forward and inverse kinematics of the arm on Pinocchio."""

# Pinocchio is a binary module without type stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pinocchio as pin

from difftori_models.contract import FloatArray
from difftori_ros.robot import ProfileError, RobotProfile

MAX_ITERATIONS = 50
DAMPING = 1e-6
"""Damping of the least-squares step [1]: enough near singular poses, no bias elsewhere."""
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


class Kinematics:
    """Kinematics of one robot profile; deterministic, no random restarts."""

    def __init__(self, profile: RobotProfile):
        self._profile = profile
        self._model = pin.buildModelFromUrdf(str(profile.urdf))
        missing = [name for name in profile.arm_joints if not self._model.existJointName(name)]
        if missing:
            raise ProfileError(
                f"the URDF of '{profile.name}' has no joint {', '.join(missing)}; "
                f"it has {', '.join(list(self._model.names)[1:])}"
            )
        for frame in (profile.base_frame, profile.tip_frame):
            if not self._model.existFrame(frame):
                names = ", ".join(f.name for f in self._model.frames)
                raise ProfileError(
                    f"the URDF of '{profile.name}' has no frame '{frame}'; it has {names}"
                )
        indices = [
            self._model.joints[self._model.getJointId(name)].idx_q for name in profile.arm_joints
        ]
        self._q_index = np.array(indices)
        self._data = self._model.createData()
        self._tip = self._model.getFrameId(profile.tip_frame)
        self._base = self._model.getFrameId(profile.base_frame)

    def _tip_in_base(self, position: FloatArray) -> pin.SE3:
        q = pin.neutral(self._model)
        q[self._q_index] = position
        pin.forwardKinematics(self._model, self._data, q)
        pin.updateFramePlacements(self._model, self._data)
        return self._data.oMf[self._base].actInv(self._data.oMf[self._tip])

    def tip_pose(self, position: FloatArray) -> FloatArray:
        """Pose of the tip in the base frame, shape (7,): x y z [m], quaternion x y z w.

        Args:
            position: Arm joint positions in profile order, shape (n,) [rad].
        """
        placement = self._tip_in_base(position)
        quaternion = pin.Quaternion(placement.rotation).coeffs()
        quaternion = quaternion if quaternion[3] >= 0 else -quaternion
        return np.concatenate([placement.translation, quaternion])

    def depth(self, frame: str) -> int:
        """How many joints of the model lie between its root and a frame.

        Raises:
            ProfileError: The model has no such frame.
        """
        if not self._model.existFrame(frame):
            names = ", ".join(f.name for f in self._model.frames)
            raise ProfileError(f"the URDF has no frame '{frame}'; it has {names}")
        joint, count = self._model.frames[self._model.getFrameId(frame)].parent, 0
        while joint > 0:
            joint, count = self._model.parents[joint], count + 1
        return count

    def placements(
        self, positions: FloatArray, frames: Sequence[str]
    ) -> tuple[FloatArray, FloatArray]:
        """Rotations (T, F, 3, 3) and origins (T, F, 3) [m] of frames in the base frame.

        Args:
            positions: Arm joint positions in profile order, shape (T, n) [rad].
            frames: Names of F frames.
        """
        identities = [self._model.getFrameId(name) for name in frames]
        rotations = np.empty((len(positions), len(frames), 3, 3))
        origins = np.empty((len(positions), len(frames), 3))
        for t, position in enumerate(positions):
            self._tip_in_base(position)
            for f, identity in enumerate(identities):
                placement = self._data.oMf[identity]
                rotations[t, f], origins[t, f] = placement.rotation, placement.translation
            base = self._data.oMf[self._base]
            origins[t] = (origins[t] - base.translation) @ base.rotation
            rotations[t] = base.rotation.T @ rotations[t]
        return rotations, origins

    def solve(self, pose: FloatArray, start: FloatArray) -> IkResult:
        """Joint positions within the limits whose tip pose is nearest to `pose`.

        Damped Gauss-Newton on the SE(3) logarithm, projected to the limits (Siciliano et al.,
        "Robotics", 2009, section 3.7).

        Args:
            pose: Wanted tip pose in the base frame, shape (7,).
            start: Where to start, shape (n,) [rad]; decides which of several solutions is found.
        """
        quaternion = pin.Quaternion(np.asarray(pose[3:7], dtype=np.float64))
        quaternion.normalize()
        target = pin.SE3(quaternion.toRotationMatrix(), np.asarray(pose[:3], dtype=np.float64))
        lower, upper = self._profile.lower, self._profile.upper
        position = np.clip(np.asarray(start, dtype=np.float64), lower, upper)
        best, best_error = position, np.inf
        for _ in range(MAX_ITERATIONS):
            delta = self._tip_in_base(position).actInv(target)
            twist = pin.log6(delta).vector
            error = float(np.linalg.norm(twist))
            if error < best_error:
                best, best_error = position, error
            if error < TOLERANCE:
                break
            q = pin.neutral(self._model)
            q[self._q_index] = position
            jacobian = pin.computeFrameJacobian(self._model, self._data, q, self._tip, pin.LOCAL)
            jacobian = pin.Jlog6(delta.inverse()) @ jacobian[:, self._v_index()]
            gram = jacobian @ jacobian.T + DAMPING * np.eye(6)
            position = np.clip(position + jacobian.T @ np.linalg.solve(gram, twist), lower, upper)
        return IkResult(best, best_error)

    def _v_index(self) -> list[int]:
        joints = self._profile.arm_joints
        return [self._model.joints[self._model.getJointId(name)].idx_v for name in joints]
