# SPDX-License-Identifier: MIT
"""A world whose camera differs from that of training, in one respect at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from difftori_ros.robot.profile import RobotProfile
from difftori_ros.types import Cloud

from .tasks import Task
from .world import CAMERA_STREAM, CAMERAS, CameraModel, Pictures, World

BOX_M = 0.3
"""Outliers lie within this distance of points of the cloud [m], along each axis."""


@dataclass(frozen=True)
class Perturbation:
    """What is wrong with the camera; nothing by default.

    Attributes:
        sentence: What that means, for tables.
        moved_m: The table's camera stands this far from where it is said to stand, in a direction
            drawn anew for every episode [m].
        colour: Each of the three channels is brighter or darker by up to this share, drawn anew
            for every episode.
        dropped: Share of the points that are missing, other ones in every cloud.
        outliers: Share of the points that are moved to somewhere near.
        delay_s: Pictures come this much later; their stamps are true [s].
    """

    sentence: str
    moved_m: float = 0.0
    colour: float = 0.0
    dropped: float = 0.0
    outliers: float = 0.0
    delay_s: float = 0.0


PERTURBATIONS: Mapping[str, Perturbation] = {
    "none": Perturbation("as in training"),
    "moved": Perturbation("camera 3 cm from where it is said to stand", moved_m=0.03),
    "nudged": Perturbation("camera 1 cm from where it is said to stand", moved_m=0.01),
    "colour": Perturbation("each colour channel off by up to 30 %", colour=0.3),
    "dropped": Perturbation("10 % of the points missing", dropped=0.1),
    "outliers": Perturbation("5 % of the points elsewhere, up to 30 cm", outliers=0.05),
    "delayed": Perturbation("pictures 100 ms late", delay_s=0.1),
}
"""What the robustness table is about."""


class PerturbedWorld(World):
    """A world with a perturbed camera; what it tells about the camera is what was true before."""

    def __init__(
        self, task: Task, profile: RobotProfile, perturbation: Perturbation, **options: Any
    ) -> None:
        super().__init__(task, profile, **options)
        self.perturbation = perturbation
        self._nominal = super().camera()
        sensor: Any = self._sim._sensors[CAMERAS[CAMERA_STREAM]].camera
        self._sensor, self._pose = sensor, sensor.get_local_pose().sp
        self._sensed: deque[tuple[Pictures, Cloud]] = deque()

    def reset(self, seed: int) -> None:
        """Start the episode of `seed`, with a perturbation that is the same whenever it is run."""
        super().reset(seed)
        self._sensed.clear()
        self._rng = np.random.default_rng(seed)
        aside = self._rng.normal(size=3)
        aside *= self.perturbation.moved_m / np.linalg.norm(aside)
        import sapien

        self._sensor.set_local_pose(sapien.Pose(self._pose.p + aside, self._pose.q))
        share = self.perturbation.colour
        self._gain = 1.0 + self._rng.uniform(-share, share, 3)

    def camera(self, name: str = CAMERA_STREAM) -> CameraModel:
        """A camera; that of the table as it is said to stand."""
        return self._nominal if name == CAMERA_STREAM else super().camera(name)

    def sense(self) -> tuple[Pictures, Cloud]:
        """The pictures that have come by now, and the cloud."""
        pictures, cloud = super().sense()
        delay_ns = round(self.perturbation.delay_s * 1e9)
        if not self._sensed:  # the world stood still before the episode
            self._sensed.append((pictures, replace(cloud, stamp_ns=cloud.stamp_ns - delay_ns)))
        self._sensed.append((pictures, cloud))
        while len(self._sensed) > 1 and self._sensed[1][1].stamp_ns <= self.now_ns - delay_ns:
            self._sensed.popleft()
        return self._perturbed(*self._sensed[0])

    def _perturbed(self, pictures: Pictures, cloud: Cloud) -> tuple[Pictures, Cloud]:
        rng, wrong = self._rng, self.perturbation
        xyz, colours = cloud.xyz.copy(), cloud.rgb
        if wrong.colour:
            pictures = {
                name: np.clip(rgb * self._gain, 0, 255).astype(np.uint8)
                for name, rgb in pictures.items()
            }
            if colours is not None:
                colours = np.clip(colours * self._gain, 0, 1).astype(np.float32)
        if wrong.outliers:
            astray = rng.random(len(xyz)) < wrong.outliers
            by = rng.uniform(-BOX_M, BOX_M, (int(astray.sum()), 3))
            xyz[astray] += by.astype(np.float32)
        if wrong.dropped:
            kept = rng.random(len(xyz)) >= wrong.dropped
            xyz, colours = xyz[kept], None if colours is None else colours[kept]
        return pictures, replace(cloud, xyz=xyz, rgb=colours)
