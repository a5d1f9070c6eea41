# SPDX-License-Identifier: MIT
"""Streams at one time become an `Observation`, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from difftori_models.contract.specs import Card, Observation, ObservationSpec, tip_at
from difftori_ros.robot.kinematics import Kinematics
from difftori_ros.robot.profile import RobotProfile
from difftori_ros.types import FloatArray, Reason

from .cloud_cache import CloudCache
from .frame_tree import FrameError, FrameTree
from .image import ImageError
from .image_cache import ImageCache
from .joint_interpolation import joints_at
from .point_cloud import CloudError
from .pose_cache import PoseCache
from .rectify import Lens
from .stream_set import JOINTS, Refusal, StreamSet

RESULTS_KEPT = 4
"""Processed samples of each stream that are kept for each frame of a stack."""


class Observer:
    """Assembles observations from the newest samples of the streams.

    Poses and clouds are taken to the base frame by the frame tree at their own stamp.

    Attributes:
        spec: What the checkpoint needs to see.
        streams: What has come; callbacks push into it.
        frames: Where the cameras are.
    """

    def __init__(
        self,
        spec: ObservationSpec,
        profile: RobotProfile,
        kinematics: Kinematics,
        frames: FrameTree,
        streams: StreamSet | None = None,
    ):
        """Observe nothing yet.

        Args:
            spec: What the checkpoint needs to see.
            profile: The robot.
            kinematics: Of the same robot.
            frames: Where the cameras are.
            streams: The streams of `spec`; those with the default age limits without.
        """
        self.spec, self.frames, self._kinematics = spec, frames, kinematics
        self.streams = StreamSet(spec) if streams is None else streams
        self._arm_joints = profile.arm_joints
        kept = 1 if spec.frames == 1 else RESULTS_KEPT * spec.frames
        self._poses = PoseCache(spec.poses, spec.frame, frames, kept)
        self._images = ImageCache(spec.images, kept)
        self._clouds: CloudCache | None = None
        if spec.points is not None:
            self._clouds = CloudCache(spec.points, profile, frames, kept)

    def set_lens(self, camera: str, lens: Lens) -> None:
        """The calibration of a camera, for checkpoints that want its images rectified."""
        self._images.set_lens(camera, lens)

    def observe(self, now_ns: int) -> Observation | Refusal:
        """The observation at `now_ns`: of each stream the latest sample not after it.

        A stream that is missing or older than its limit gives a refusal, never a zero.
        """
        samples = self.streams.fresh(now_ns)
        if isinstance(samples, Refusal):
            return samples
        present = self._assemble(samples, now_ns)
        if isinstance(present, Refusal) or self.spec.frames == 1:
            return present
        past: list[Observation] = []
        for k in range(1, self.spec.frames):
            earlier = self.streams.back(samples, round(k * self.spec.frames_apart_s * 1e9))
            if isinstance(earlier, Refusal):
                return earlier
            frame = self._assemble(earlier, earlier[JOINTS].stamp_ns)
            if isinstance(frame, Refusal):
                return frame
            past.append(frame)
        return replace(present, past=tuple(past))

    def prepare(self, now_ns: int, due_ns: int = 0) -> int:
        """Do what can be done ahead of the observation: process the newest of what has come.

        Returns the stamp that joint states must have before the cloud can be processed [ns], and 0
        when it waits for none.

        Args:
            now_ns: The time now [ns].
            due_ns: The time of the observation [ns]: a cloud or image that will not be the newest
                one by then, as far as its stream's rhythm tells, is left alone.
        """
        streams = self.streams
        for name in self.spec.images:
            picture = streams[name].latest_before(now_ns)
            if picture is not None and not streams.comes_before(name, due_ns):
                with suppress(ImageError):
                    self._images.image(name, picture[1])
        for name in self.spec.poses:
            pose = streams[name].latest_before(now_ns)
            if pose is not None:
                with suppress(FrameError):
                    self._poses.pose(name, pose[1])
        if self._clouds is None:
            return 0
        found = [streams[name].latest_before(now_ns) for name in self.spec.clouds]
        clouds = tuple(sample for _, sample in filter(None, found))
        if len(clouds) < len(found) or self._clouds.tried(clouds):
            return 0
        if any(streams.comes_before(name, due_ns) for name in self.spec.clouds):
            return 0
        return self._clouds.prepare(clouds, streams[JOINTS], now_ns)

    def _assemble(self, samples: Mapping[str, Any], now_ns: int) -> Observation | Refusal:
        joints, names = samples[JOINTS], self.spec.joint_names
        missing = [name for name in names if name not in joints.names]
        if missing:
            detail = (
                f"no joint {', '.join(missing)} in joint_states; it has {', '.join(joints.names)}"
            )
            return Refusal(Reason.BAD_JOINT_STATE, detail)
        order = [joints.names.index(name) for name in names]
        position, velocity = joints.position[order], joints.velocity[order]
        arm = position[[names.index(name) for name in self._arm_joints]]
        poses: dict[str, FloatArray] = {"tip": self._kinematics.tip_pose(arm)}
        for name in (*self.spec.clouds, *self.spec.images):
            then = self._arm_at(samples[name].stamp_ns, now_ns)
            if then is None:
                detail = f"no joint states with the whole arm at the stamp of '{name}'"
                return Refusal(Reason.BAD_JOINT_STATE, detail)
            poses[tip_at(name)] = self._kinematics.tip_pose(then)
        try:
            for name in self.spec.poses:
                poses[name] = self._poses.pose(name, samples[name])
            points = self._points(samples, now_ns)
            images = {n: self._images.image(n, samples[n]) for n in self.spec.images}
        except FrameError as error:
            return Refusal(Reason.UNKNOWN_FRAME, str(error))
        except (CloudError, ImageError) as error:
            return Refusal(error.reason, str(error))
        return Observation(
            stamp_ns=joints.stamp_ns,
            joint_names=names,
            position=position,
            velocity=velocity,
            poses=poses,
            points=points,
            images=images,
            stamps_ns={name: sample.stamp_ns for name, sample in samples.items()},
        )

    def _points(self, samples: Mapping[str, Any], now_ns: int) -> np.ndarray | None:
        if self._clouds is None:
            return None
        clouds = tuple(samples[name] for name in self.spec.clouds)
        return self._clouds.points(clouds, self.streams[JOINTS], now_ns)

    def _arm_at(self, stamp_ns: int, now_ns: int) -> FloatArray | None:
        """Arm joint positions at a stamp; None when those around it lack a joint."""
        joints = joints_at(self.streams[JOINTS], stamp_ns, now_ns)
        names = self._arm_joints
        return np.array([joints[n] for n in names]) if joints.keys() >= set(names) else None


def make_observer(
    card: Card,
    profile: RobotProfile,
    values: Mapping[str, Any],
    kinematics: Kinematics | None = None,
) -> Observer:
    """The observer of a checkpoint as the policy node's parameters set it up.

    Args:
        card: What the checkpoint needs to see.
        profile: The robot.
        values: Parameters of the policy node: age limits, the camera's pose, frozen frames.
        kinematics: Of the same robot; loaded without.

    Raises:
        FrameError: The camera's pose in `values` is not one.
        ProfileError: As `Kinematics`.
    """
    spec, frames = card.observation, FrameTree()
    if values["camera_frame"]:
        pose = np.array(values["camera_pose"])
        frames.set_static_pose(profile.base_frame, values["camera_frame"], pose)
    streams = StreamSet(
        spec,
        {name: values[f"{spec.kind(name)}_max_age_s"] for name in spec.streams},
        frozen_frames=values["frozen_frames"],
        frozen_is_fault=values["frozen_is_fault"],
    )
    return Observer(spec, profile, kinematics or Kinematics(profile), frames, streams)
