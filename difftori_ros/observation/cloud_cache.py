# SPDX-License-Identifier: MIT
"""Clouds as the policy takes them: cropped, filtered and sampled, each of the newest once."""

from __future__ import annotations

import operator
from collections import deque
from contextlib import suppress
from functools import partial

import numpy as np

from difftori_models.contract.specs import PointSpec
from difftori_ros.robot.profile import RobotProfile
from difftori_ros.types import Cloud, JointState

from .frame_tree import FrameError, FrameTree
from .joint_interpolation import joints_at
from .point_cloud import CloudError, View, process_clouds
from .self_filter import SelfFilter
from .stream_buffer import StreamBuffer

Clouds = tuple[Cloud, ...]
"""One cloud of each camera."""


class CloudCache:
    """Processes clouds, and keeps the newest results. Called by the planning thread."""

    def __init__(self, spec: PointSpec, profile: RobotProfile, frames: FrameTree, depth: int):
        """Nothing is processed yet.

        Args:
            spec: The cloud that the policy takes.
            profile: The robot, for the filter of its own points.
            frames: Where the cameras are.
            depth: Results kept.
        """
        self._spec, self._frames = spec, frames
        self._results: deque[tuple[Clouds, np.ndarray]] = deque(maxlen=depth)
        self._tried: Clouds = ()
        margin = spec.self_filter_m
        self._self_filter = None if margin is None else SelfFilter(profile, margin)

    @property
    def newest(self) -> Cloud | None:
        """The first of the clouds that were processed last; None before any."""
        return self._results[-1][0][0] if self._results else None

    def points(self, clouds: Clouds, states: StreamBuffer[JointState], now_ns: int) -> np.ndarray:
        """Those clouds processed; once, as long as they are among the newest.

        Args:
            clouds: One of each camera.
            states: The joint states.
            now_ns: Joint states stamped later than this are not known [ns].

        Raises:
            FrameError: It is not known where a camera is.
            CloudError: No points are left.
        """
        for done, points in self._results:
            if _same(done, clouds):
                return points
        points = self._process(clouds, states, now_ns)
        self._results.append((clouds, points))
        return points

    def tried(self, clouds: Clouds) -> bool:
        """Whether `prepare` has processed these, whatever came of it."""
        return _same(clouds, self._tried)

    def prepare(self, clouds: Clouds, states: StreamBuffer[JointState], now_ns: int) -> int:
        """Process clouds ahead of the observation; what is wrong is told when they are needed.

        Returns the stamp that joint states must have before that can be done [ns]; 0 when it is
        done.
        """
        if self._self_filter is not None:
            stamp_ns = max(cloud.stamp_ns for cloud in clouds)
            measured = states.latest_before(now_ns)
            if measured is None or measured[0] < stamp_ns:
                return stamp_ns  # where the arm was at that time is not known yet
        self._tried = clouds
        with suppress(FrameError, CloudError):
            self.points(clouds, states, now_ns)
        return 0

    def _process(
        self, clouds: Clouds, states: StreamBuffer[JointState], now_ns: int
    ) -> np.ndarray:
        views = []
        for cloud in clouds:
            transform, outside = np.eye(4), None
            if cloud.frame_id != self._spec.frame:
                transform = self._frames.lookup(self._spec.frame, cloud.frame_id, cloud.stamp_ns)
            if self._self_filter is not None:
                joints = joints_at(states, cloud.stamp_ns, now_ns)
                outside = partial(self._self_filter.outside, joints=joints)
            views.append(View(cloud, transform, outside))
        return process_clouds(views, self._spec)


def _same(some: Clouds, others: Clouds) -> bool:
    """Whether they are the very same clouds."""
    return len(some) == len(others) and all(map(operator.is_, some, others))
