# SPDX-License-Identifier: MIT
"""Poses in the frame of the policy, each of the newest computed once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from difftori_ros.rigid import matrix_to_pose, pose_to_matrix
from difftori_ros.types import FloatArray, Pose

from .frame_tree import FrameTree


class PoseCache:
    """Takes poses to one frame, and keeps the newest results. Called by the planning thread."""

    def __init__(self, streams: Iterable[str], frame: str, frames: FrameTree, depth: int):
        """Nothing is computed yet.

        Args:
            streams: Names of the streams.
            frame: The frame that poses are wanted in.
            frames: Where other frames are.
            depth: Results kept of each stream.
        """
        self._frame, self._frames = frame, frames
        self._results: dict[str, deque[tuple[Pose, FloatArray]]] = {
            name: deque(maxlen=depth) for name in streams
        }

    def pose(self, stream: str, pose: Pose) -> FloatArray:
        """That pose (7,) in the wanted frame.

        Raises:
            FrameError: It is not known where its frame was at its stamp.
        """
        for done, there in self._results[stream]:
            if done is pose:
                return there
        matrix = pose_to_matrix(pose.pose)
        if pose.frame_id != self._frame:
            # a transform that comes later may tell more exactly: not kept
            then = self._frames.lookup(self._frame, pose.frame_id, pose.stamp_ns)
            return matrix_to_pose(then @ matrix)
        there = matrix_to_pose(matrix)
        self._results[stream].append((pose, there))
        return there
