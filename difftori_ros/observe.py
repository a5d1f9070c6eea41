# SPDX-License-Identifier: MIT
"""Streams at one time become an `Observation`, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from difftori_models.contract import FloatArray, Observation, ObservationSpec, PointSpec
from difftori_ros.cloud import CloudError, process_cloud
from difftori_ros.frames import FrameError, FrameTree, matrix_to_pose, pose_to_matrix
from difftori_ros.kinematics import Kinematics
from difftori_ros.robot import RobotProfile
from difftori_ros.stream import Stream
from difftori_ros.stream_watch import StreamWatch
from difftori_ros.types import Cloud, JointState, Pose, Reason

MAX_AGE_S: Mapping[str, float] = {"joint_states": 0.05, "points": 0.2, "pose": 0.5}
"""Default age limits [s]: joints come at 100 Hz or more, cameras at 10-30 Hz, poses slower."""
FOREVER = 2**62
"""A time after every stamp [ns]."""


@dataclass(frozen=True)
class Refusal:
    """Why there is no observation."""

    reason: Reason
    detail: str


class Observer:
    """Collects the streams that a checkpoint needs and assembles observations from them.

    Callbacks call `push`; the planning thread calls `observe`. Poses and clouds are taken to the
    base frame by the frame tree at their own stamp.
    """

    def __init__(
        self,
        spec: ObservationSpec,
        profile: RobotProfile,
        kinematics: Kinematics,
        frames: FrameTree,
        max_age_s: Mapping[str, float] | None = None,
        *,
        frozen_frames: int = 0,
        frozen_is_fault: bool = False,
    ):
        """Observe nothing yet.

        Args:
            spec: What the checkpoint needs to see.
            profile: The robot.
            kinematics: Of the same robot.
            frames: Where the cameras are.
            max_age_s: Age limits by stream [s], over `MAX_AGE_S`.
            frozen_frames: Identical clouds in a row that make the camera a frozen one; 0 for
                never.
            frozen_is_fault: A frozen camera gives a refusal.
        """
        self._spec, self._profile = spec, profile
        self._kinematics, self._frames = kinematics, frames
        self._max_age_s = dict(MAX_AGE_S) | dict(max_age_s or {})
        self._frozen_frames, self._frozen_is_fault = frozen_frames, frozen_is_fault
        self._dropped: dict[str, str] = {}
        self._seen: Cloud | None = None
        self._processed: tuple[Cloud | None, np.ndarray | None] = (None, None)
        self._watches = {name: StreamWatch(name, self.limit_s(name)) for name in spec.streams}
        self.streams: dict[str, Stream[Any]] = {
            name: Stream(depth=64 if name == "joint_states" else 4) for name in spec.streams
        }

    def limit_s(self, stream: str) -> float:
        """Age limit of a stream on the clock of the stamps [s]."""
        return self._max_age_s.get(stream, self._max_age_s["pose"])

    def set_limit(self, stream: str, limit_s: float) -> None:
        """Samples of `stream` may be `limit_s` old from now on [s]."""
        self._max_age_s[stream] = self._watches[stream].limit_s = limit_s

    def push(self, stream: str, sample: JointState | Pose | Cloud, now_ns: int) -> None:
        """Take in a decoded sample of a stream."""
        watch, stamp_ns = self._watches[stream], sample.stamp_ns
        late = self.streams[stream].stats.late
        kept = self.streams[stream].push(stamp_ns, sample, now_ns)
        watch.arrived(stamp_ns, now_ns)
        ahead_s = (stamp_ns - now_ns) * 1e-9
        if kept:
            self._dropped.pop(stream, None)
            watch.kept(sample)
        elif stamp_ns <= 0:
            self.dropped(stream, "its stamp is zero", "unstamped")
        elif ahead_s > 0.0:
            self.dropped(stream, f"its stamp is {ahead_s:.3f} s ahead of the clock", "future")
        else:
            watch.dropped("late" if self.streams[stream].stats.late > late else "duplicate")

    def clear(self) -> None:
        """Forget everything, as after a reset or a jump of the clock."""
        for name, stream in self.streams.items():
            stream.clear()
            self._watches[name].clear()

    def frozen(self) -> Refusal | None:
        """The camera that delivers the same content again and again, if there is one."""
        for name, watch in self._watches.items():
            if 0 < self._frozen_frames <= watch.identical:
                return Refusal(
                    Reason.FROZEN, f"'{name}' has sent {watch.identical} identical frames"
                )
        return None

    def report(self, now_ns: int) -> dict[str, str]:
        """Ages and skew of the streams, drops by cause, and what is wrong with their stamps."""
        values = {f"age_{name}": f"{age:.3f}" for name, age in self.ages_s(now_ns).items()}
        newest = [found[0] for s in self.streams.values() if (found := s.latest_before(FOREVER))]
        if newest:
            values["skew_s"] = f"{(max(newest) - min(newest)) * 1e-9:.3f}"
        for name, watch in self._watches.items():
            for cause, count in watch.drops.items():
                values[f"dropped_{name}_{cause}"] = str(count)
            if 0 < self._frozen_frames <= watch.identical:
                values[f"frozen_{name}"] = str(watch.identical)
            if sentence := watch.constant_offset():
                values[f"offset_{name}"] = sentence
        return values

    def ages_s(self, now_ns: int) -> dict[str, float]:
        """Age of the newest sample of each stream that has delivered [s]."""
        ages = {name: stream.age_s(now_ns) for name, stream in self.streams.items()}
        return {name: age for name, age in ages.items() if age is not None}

    def silent(self) -> list[str]:
        """Streams that have not delivered anything usable."""
        return [name for name, s in self.streams.items() if s.latest_before(FOREVER) is None]

    def newest_ns(self, stream: str, now_ns: int) -> int | None:
        """Stamp of the newest sample of `stream` that is not after `now_ns`; None without one."""
        found = self.streams[stream].latest_before(now_ns)
        return None if found is None else found[0]

    def newest_common_ns(self) -> int | None:
        """The newest stamp of the streams, if it is the same for all of them."""
        newest = {
            found[0] if (found := stream.latest_before(FOREVER)) else None
            for stream in self.streams.values()
        }
        return newest.pop() if len(newest) == 1 else None

    def observe(self, now_ns: int) -> Observation | Refusal:
        """The observation at `now_ns`: of each stream the latest sample not after it.

        A stream that is missing or older than its limit gives a refusal, never a zero.
        """
        samples = self._fresh(now_ns)
        return samples if isinstance(samples, Refusal) else self._assemble(samples)

    def prepare(self, now_ns: int) -> None:
        """Do what can be done ahead of the observation: process the newest cloud."""
        if self._spec.points is None:
            return
        found = self.streams["points"].latest_before(now_ns)
        if found is None or found[1] is self._seen:
            return
        self._seen = found[1]
        # what is wrong with it is told when it is needed
        with suppress(FrameError, CloudError):
            self._processed = found[1], self._process(found[1], self._spec.points)

    def lacking(self, now_ns: int) -> Refusal | None:
        """Why there could be no observation at `now_ns`, as far as the streams' ages tell."""
        samples = self._fresh(now_ns)
        return samples if isinstance(samples, Refusal) else None

    def dropped(self, stream: str, why: str, cause: str = "unreadable") -> None:
        """The stream's newest message could not be used; told as long as none is usable.

        Args:
            stream: Its name.
            why: A sentence.
            cause: One word, under which it is counted.
        """
        self._dropped[stream] = why
        self._watches[stream].dropped(cause)

    def _fresh(self, now_ns: int) -> dict[str, Any] | Refusal:
        samples = {}
        for name, stream in self.streams.items():
            found = stream.latest_before(now_ns)
            why = f"; the last message was dropped: {w}" if (w := self._dropped.get(name)) else ""
            if sentence := self._watches[name].constant_offset():
                why = f"; {sentence}"
            if found is None:
                return Refusal(Reason.MISSING, f"'{name}' has not delivered yet{why}")
            age = (now_ns - found[0]) * 1e-9
            if age > self.limit_s(name):
                detail = f"'{name}' is {age:.3f} s old, limit {self.limit_s(name):.3f} s{why}"
                return Refusal(Reason.STALE, detail)
            samples[name] = found[1]
        frozen = self.frozen() if self._frozen_is_fault else None
        return frozen or samples

    def _assemble(self, samples: Mapping[str, JointState | Pose | Cloud]) -> Observation | Refusal:
        joints = samples["joint_states"]
        assert isinstance(joints, JointState)
        names = self._spec.joint_names
        missing = [name for name in names if name not in joints.names]
        if missing:
            detail = (
                f"no joint {', '.join(missing)} in joint_states; it has {', '.join(joints.names)}"
            )
            return Refusal(Reason.BAD_JOINT_STATE, detail)
        order = [joints.names.index(name) for name in names]
        position, velocity = joints.position[order], joints.velocity[order]
        arm = position[[names.index(name) for name in self._profile.arm_joints]]
        poses: dict[str, FloatArray] = {"tip": self._kinematics.tip_pose(arm)}
        try:
            for name in self._spec.poses:
                pose = samples[name]
                assert isinstance(pose, Pose)
                poses[name] = self._to_base(pose)
            points = self._points(samples)
        except FrameError as error:
            return Refusal(Reason.UNKNOWN_FRAME, str(error))
        except CloudError as error:
            return Refusal(error.reason, str(error))
        return Observation(
            stamp_ns=joints.stamp_ns,
            joint_names=names,
            position=position,
            velocity=velocity,
            poses=poses,
            points=points,
            stamps_ns={name: sample.stamp_ns for name, sample in samples.items()},
        )

    def _to_base(self, pose: Pose) -> FloatArray:
        matrix = pose_to_matrix(pose.pose)
        if pose.frame_id != self._spec.frame:
            matrix = self._frames.lookup(self._spec.frame, pose.frame_id, pose.stamp_ns) @ matrix
        return matrix_to_pose(matrix)

    def _points(self, samples: Mapping[str, JointState | Pose | Cloud]) -> np.ndarray | None:
        spec = self._spec.points
        if spec is None:
            return None
        cloud = samples["points"]
        assert isinstance(cloud, Cloud)
        done, points = self._processed
        return points if done is cloud else self._process(cloud, spec)

    def _process(self, cloud: Cloud, spec: PointSpec) -> np.ndarray:
        transform = (
            np.eye(4)
            if cloud.frame_id == spec.frame
            else self._frames.lookup(spec.frame, cloud.frame_id, cloud.stamp_ns)
        )
        return process_cloud(cloud, transform, spec)
