# SPDX-License-Identifier: MIT
"""Where the arm may be: a box for its tip, and its own links kept apart.

Both need the arm's kinematics, and so Pinocchio; without a box and without spheres in the robot
profile nothing is loaded. The links are filled with spheres, coarsely and generously: the check is
there to stop an arm that folds into itself, not to let it brush past.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from scipy.interpolate import CubicHermiteSpline

from difftori_models.contract import FloatArray
from difftori_ros.guard_config import GuardConfig
from difftori_ros.plan_check import RefusedError
from difftori_ros.robot import ProfileError, RobotProfile
from difftori_ros.timing import split
from difftori_ros.types import Reason, Trajectory

STEP_S = 0.03
"""Time between two looks at a plan [s]: 6 cm at 2 m/s."""

NEIGHBOURS = 2
"""Links with no more joints between them than this may touch: they always do."""


class Workspace:
    """The checks of one robot and one configuration."""

    def __init__(self, profile: RobotProfile, config: GuardConfig):
        """Load the kinematics if there is anything to check.

        Raises:
            ProfileError: Pinocchio is not installed, or a frame is not in the URDF.
        """
        self._profile = profile
        spheres = profile.spheres if config.self_collision else {}
        self.active = config.has_box or bool(spheres)
        if not self.active:
            return
        try:
            from difftori_ros.kinematics import Kinematics
        except ImportError as error:
            raise ProfileError(
                "a workspace box and the check for self-collision need Pinocchio: pip install "
                "pin, or set self_collision to false and leave the box away"
            ) from error
        self._kinematics = Kinematics(profile)
        box = (config.workspace_lower, config.workspace_upper)
        self._lower, self._upper = (np.array(corner) for corner in box)
        if not config.has_box:
            self._lower, self._upper = np.full(3, -np.inf), np.full(3, np.inf)
        self._placed = [*spheres, profile.tip_frame]
        rows = np.concatenate([np.zeros((0, 4)), *spheres.values()])
        self._centres, radii = rows[:, :3], rows[:, 3]
        owner = [k for k, frame in enumerate(spheres) for _ in spheres[frame]]
        self._owner = np.array(owner, dtype=np.int64)
        depth = [self._kinematics.depth(frame) for frame in spheres]
        pairs = [
            (i, j)
            for i, j in combinations(range(len(owner)), 2)
            if abs(depth[owner[i]] - depth[owner[j]]) > NEIGHBOURS
        ]
        self._pairs = np.array(pairs, dtype=np.int64).reshape(-1, 2)
        self._reach = radii[self._pairs].sum(axis=1)

    def check(self, plan: Trajectory) -> None:
        """Pass silently when the arm stays where it may be, at every look.

        Raises:
            RefusedError: It does not; tells the time of the last look before.
        """
        if not self.active:
            return
        arm = split(plan, self._profile.arm_joints)
        begin, end = float(arm.times[0]), float(arm.times[-1])
        times = np.linspace(begin, end, max(2, int(np.ceil((end - begin) / STEP_S)) + 1))
        positions = CubicHermiteSpline(arm.times, arm.positions, arm.velocities)(times)
        found = self._first(positions)
        if found is not None:
            index, reason, detail = found
            raise RefusedError(reason, detail, float(times[max(index - 1, 0)]))

    def complaint(self, position: FloatArray) -> tuple[Reason, str] | None:
        """What is wrong with the arm at `position` (n,) [rad], with numbers."""
        found = self._first(position[None])
        return None if found is None else found[1:]

    def _first(self, positions: FloatArray) -> tuple[int, Reason, str] | None:
        """The first of positions (T, n) [rad] where something is wrong, and what."""
        rotations, origins = self._kinematics.placements(positions, self._placed)
        tips = origins[:, -1]
        outside = ((tips < self._lower) | (tips > self._upper)).any(axis=1)
        of, at = self._owner, self._centres
        centres = np.einsum("tsij,sj->tsi", rotations[:, of], at) + origins[:, of]
        i, j = self._pairs.T
        gaps = np.linalg.norm(centres[:, i] - centres[:, j], axis=2) - self._reach
        touching = (gaps <= 0).any(axis=1)
        wrong = np.flatnonzero(outside | touching)
        if not len(wrong):
            return None
        index = int(wrong[0])
        if outside[index]:
            tip = tips[index]
            axis = int(np.argmax((tip < self._lower) | (tip > self._upper)))
            detail = (
                f"the tip comes to {'xyz'[axis]} = {tip[axis]:.3f} m, allowed are "
                f"{self._lower[axis]:g} to {self._upper[axis]:g} m"
            )
            return index, Reason.WORKSPACE, detail
        k = int(np.argmin(gaps[index]))
        one, other = (self._placed[of[sphere]] for sphere in self._pairs[k])
        detail = f"{one} and {other} overlap by {-gaps[index, k] * 1e3:.0f} mm"
        return index, Reason.SELF_COLLISION, detail
