# SPDX-License-Identifier: MIT
"""Clouds, images and poses as the policy takes them, each of the newest processed once."""

from __future__ import annotations

import operator
from collections import deque
from functools import partial

import numpy as np

from difftori_models.contract.specs import ObservationSpec
from difftori_ros.rigid import matrix_to_pose, pose_to_matrix
from difftori_ros.robot.profile import RobotProfile
from difftori_ros.types import Cloud, FloatArray, Image, JointState, Pose

from .frame_tree import FrameTree
from .image import ImageError, process_image
from .joint_interpolation import joints_at
from .point_cloud import View, process_clouds
from .rectify import Lens
from .self_filter import SelfFilter
from .stream_buffer import StreamBuffer

HELD = 4
"""Samples of each stream that are kept processed, for each frame of a stack."""


class Processed:
    """Processes samples, and keeps the newest results. Called by the planning thread.

    Attributes:
        needs_arm: Clouds are processed with the arm's pose at their stamp.
    """

    def __init__(self, spec: ObservationSpec, profile: RobotProfile, frames: FrameTree):
        self._spec, self._frames = spec, frames
        held = 1 if spec.frames == 1 else HELD * spec.frames
        self._clouds: deque[tuple[tuple[Cloud, ...], np.ndarray]] = deque(maxlen=held)
        margin = spec.points.self_filter_m if spec.points else None
        self._self_filter = None if margin is None else SelfFilter(profile, margin)
        self.needs_arm = self._self_filter is not None
        self._lenses: dict[str, Lens] = {}
        self._images: dict[str, deque[tuple[Image, np.ndarray]]] = {
            name: deque(maxlen=held) for name in spec.images
        }
        self._poses: dict[str, deque[tuple[Pose, FloatArray]]] = {
            name: deque(maxlen=held) for name in spec.poses
        }

    def set_lens(self, camera: str, lens: Lens) -> None:
        """The calibration of a camera, for checkpoints that want its images rectified."""
        self._lenses[camera] = lens

    @property
    def newest_cloud(self) -> Cloud | None:
        """The first of the clouds that were processed last; None before any."""
        return self._clouds[-1][0][0] if self._clouds else None

    def points(
        self, clouds: tuple[Cloud, ...], states: StreamBuffer[JointState], now_ns: int
    ) -> np.ndarray:
        """Those clouds processed; once, as long as they are among the newest.

        Args:
            clouds: One of each camera.
            states: The joint states.
            now_ns: Joint states stamped later than this are not known [ns].

        Raises:
            FrameError: It is not known where a camera is.
            CloudError: No points are left.
        """
        for done, points in self._clouds:
            if same(done, clouds):
                return points
        points = self._process(clouds, states, now_ns)
        self._clouds.append((clouds, points))
        return points

    def image(self, name: str, picture: object) -> np.ndarray:
        """That image of the camera processed; once, as long as it is among the newest.

        Raises:
            ImageError: It cannot be used.
        """
        assert isinstance(picture, Image)
        for done, image in self._images[name]:
            if done is picture:
                return image
        lens = self._lenses.get(name)
        try:
            image = process_image(picture.rgb, self._spec.images[name], lens)
        except ImageError as error:
            raise ImageError(f"'{name}': {error}", error.reason) from error
        self._images[name].append((picture, image))
        return image

    def pose(self, name: str, pose: object) -> FloatArray:
        """That pose (7,) in the base frame.

        Raises:
            FrameError: It is not known where its frame was at its stamp.
        """
        assert isinstance(pose, Pose)
        for done, there in self._poses[name]:
            if done is pose:
                return there
        matrix = pose_to_matrix(pose.pose)
        if pose.frame_id != self._spec.frame:
            # a transform that comes later may tell more exactly: not kept
            then = self._frames.lookup(self._spec.frame, pose.frame_id, pose.stamp_ns)
            return matrix_to_pose(then @ matrix)
        there = matrix_to_pose(matrix)
        self._poses[name].append((pose, there))
        return there

    def _process(
        self, clouds: tuple[Cloud, ...], states: StreamBuffer[JointState], now_ns: int
    ) -> np.ndarray:
        spec, views = self._spec.points, []
        assert spec is not None
        for cloud in clouds:
            transform, outside = np.eye(4), None
            if cloud.frame_id != spec.frame:
                transform = self._frames.lookup(spec.frame, cloud.frame_id, cloud.stamp_ns)
            if self._self_filter is not None:
                joints = joints_at(states, cloud.stamp_ns, now_ns)
                outside = partial(self._self_filter.outside, joints=joints)
            views.append(View(cloud, transform, outside))
        return process_clouds(views, spec)


def same(some: tuple[Cloud, ...], others: tuple[Cloud, ...]) -> bool:
    """Whether they are the very same clouds."""
    return len(some) == len(others) and all(map(operator.is_, some, others))
