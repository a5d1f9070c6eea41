# SPDX-License-Identifier: MIT
"""Where the arm may be: a box for its tip, and its own links kept apart.

Both need the arm's kinematics, and so Pinocchio; without a box and without spheres in the robot
profile nothing is loaded. The links are filled with spheres, coarsely and generously: the check is
there to stop an arm that folds into itself, not to let it brush past.
"""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np

from difftori_ros.cubic import states_at
from difftori_ros.motion.trajectory import split
from difftori_ros.robot.profile import ProfileError, RobotProfile
from difftori_ros.types import FloatArray, Reason, Trajectory

from .config import GuardConfig
from .plan_checks import RefusedError

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
        spheres: dict[str, FloatArray] = dict(profile.spheres) if config.self_collision else {}
        self.active = config.has_box or bool(spheres)
        if not self.active:
            return
        try:
            from difftori_ros.robot.kinematics import Kinematics
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
        self._owners = [frame for frame, rows in spheres.items() for _ in rows]
        rows = np.concatenate([np.zeros((0, 4)), *spheres.values()])
        # the last point is the tip
        frames, points = [*self._owners, profile.tip_frame], np.vstack([rows[:, :3], np.zeros(3)])
        self._points = self._kinematics.attach(frames, points)
        depth = [self._kinematics.depth(frame) for frame in self._owners]
        pairs = [
            (i, j)
            for i, j in combinations(range(len(rows)), 2)
            if abs(depth[i] - depth[j]) > NEIGHBOURS
        ]
        self._one, self._other = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
        self._reach = rows[self._one, 3] + rows[self._other, 3]

    def check(self, plan: Trajectory) -> None:
        """Pass silently when the arm stays where it may be, at every look.

        Raises:
            RefusedError: It does not; tells the time of the last look before.
        """
        if not self.active:
            return
        arm = split(plan, self._profile.arm_joints)
        begin, end = float(arm.times[0]), float(arm.times[-1])
        count = max(2, math.ceil((end - begin) / STEP_S) + 1)
        times = begin + np.arange(count) * ((end - begin) / (count - 1))
        positions, _ = states_at(arm.times, arm.positions, arm.velocities, times)
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
        traced = self._kinematics.trace(positions, self._points)
        tips = traced[-1]
        outside = ((tips < self._lower) | (tips > self._upper)).any(axis=1)
        apart: FloatArray = np.take(traced, self._one, 0)
        apart -= np.take(traced, self._other, 0)
        squares: FloatArray = np.einsum("pti,pti->pt", apart, apart)  # pyright: ignore
        touching = (squares <= (self._reach**2)[:, None]).any(axis=0)
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
        gaps = np.sqrt(squares[:, index]) - self._reach
        k = int(np.argmin(gaps))
        one, other = self._owners[int(self._one[k])], self._owners[int(self._other[k])]
        detail = f"{one} and {other} overlap by {-gaps[k] * 1e3:.0f} mm"
        return index, Reason.SELF_COLLISION, detail
