# SPDX-License-Identifier: MIT
"""Streams at one time become an `Observation`, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from difftori_models.contract.specs import Observation, ObservationSpec, tip_at
from difftori_ros.robot.kinematics import Kinematics
from difftori_ros.robot.profile import RobotProfile
from difftori_ros.types import Cloud, FloatArray, Image, JointState, Pose, Reason

from .frame_tree import FrameError, FrameTree
from .image import ImageError
from .joint_interpolation import joints_at
from .point_cloud import CloudError
from .processed import Processed, same
from .rectify import Lens
from .stream_buffer import FOREVER, StreamBuffer, Unread
from .stream_health import StreamHealth

Sample = JointState | Pose | Cloud | Image

MAX_AGE_S: Mapping[str, float] = {"joint_states": 0.05, "points": 0.2, "image": 0.2, "pose": 0.5}
"""Default age limits [s]: joints come at 100 Hz or more, cameras at 10-30 Hz, poses slower."""
JOINTS_KEPT = 512
"""Joint states kept: at 1 kHz they reach back to clouds and images of twice their age limit."""


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
        self._unread_ns: dict[str, int] = {}
        self._seen: tuple[Cloud, ...] = ()
        self._processed = Processed(spec, profile, frames)
        self._watches = {name: StreamHealth(name, self.limit_s(name)) for name in spec.streams}
        self._late = dict.fromkeys(spec.streams, 0)
        self.streams: dict[str, StreamBuffer[Any]] = {
            name: StreamBuffer(
                JOINTS_KEPT if name == "joint_states" else 4,
                span_s=self._span_s(),
                unreadable=partial(self._unreadable, name),
            )
            for name in spec.streams
        }

    @property
    def spec(self) -> ObservationSpec:
        """What the checkpoint needs to see."""
        return self._spec

    def limit_s(self, stream: str) -> float:
        """Age limit of a stream on the clock of the stamps [s]."""
        return self._max_age_s.get(stream, self._max_age_s[self._spec.kind(stream)])

    def _span_s(self) -> float:
        """How far back streams are kept for the frames before the present one [s]."""
        past_s = (self._spec.frames - 1) * self._spec.frames_apart_s
        # joint states tell where the arm was when the oldest frame of a late camera was seen
        return past_s + 2.0 * max(self._max_age_s.values()) if past_s else 0.0

    def set_limit(self, stream: str, limit_s: float) -> None:
        """Samples of `stream` may be `limit_s` old from now on [s]."""
        self._max_age_s[stream] = self._watches[stream].limit_s = limit_s

    def push(self, stream: str, sample: Sample | Unread[Any], now_ns: int) -> None:
        """Take in a sample of a stream; one that is not read yet is read once it is needed."""
        watch, stamp_ns = self._watches[stream], sample.stamp_ns
        kept = self.streams[stream].push(stamp_ns, sample, now_ns)
        watch.arrived(stamp_ns, now_ns)
        ahead_s = (stamp_ns - now_ns) * 1e-9
        if kept:
            if not isinstance(sample, Unread):
                self._dropped.pop(stream, None)
                watch.kept(sample)
        elif stamp_ns <= 0:
            self.dropped(stream, "its stamp is zero", "unstamped")
        elif ahead_s > 0.0:
            self.dropped(stream, f"its stamp is {ahead_s:.3f} s ahead of the clock", "future")
        else:
            late, self._late[stream] = self._late[stream], self.streams[stream].stats.late
            watch.dropped("late" if self._late[stream] > late else "duplicate")

    def set_lens(self, camera: str, lens: Lens) -> None:
        """The calibration of a camera, for checkpoints that want its images rectified."""
        self._processed.set_lens(camera, lens)

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
            if (rhythm := watch.rhythm()) and self._spec.kind(name) in ("points", "image"):
                values[f"period_{name}"], values[f"delay_{name}"] = (f"{t:.3f}" for t in rhythm)
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
        if isinstance(samples, Refusal):
            return samples
        seen = self._assemble(samples, now_ns)
        if isinstance(seen, Refusal) or self._spec.frames == 1:
            return seen
        past: list[Observation] = []
        for k in range(1, self._spec.frames):
            frame = self._before(samples, k)
            if isinstance(frame, Refusal):
                return frame
            past.append(frame)
        return replace(seen, past=tuple(past))

    def prepare(self, now_ns: int, due_ns: int = 0) -> int:
        """Do what can be done ahead of the observation: process the newest of what was seen.

        Returns the stamp that joint states must have before the cloud can be processed [ns], and 0
        when it waits for none.

        Args:
            now_ns: The time now [ns].
            due_ns: The time of the observation [ns]: a cloud or image that will not be the newest
                one by then, as far as its stream's rhythm tells, is left alone.
        """
        for name in self._spec.images:
            picture = self.streams[name].latest_before(now_ns)
            if picture is not None and not self._comes_before(name, due_ns):
                with suppress(ImageError):
                    self._processed.image(name, picture[1])
        for name in self._spec.poses:
            pose = self.streams[name].latest_before(now_ns)
            if pose is not None:
                with suppress(FrameError):
                    self._processed.pose(name, pose[1])
        if self._spec.points is None:
            return 0
        found = [self.streams[name].latest_before(now_ns) for name in self._spec.clouds]
        clouds = tuple(sample for _, sample in filter(None, found))
        if len(clouds) < len(found) or same(clouds, self._seen):
            return 0
        if any(self._comes_before(name, due_ns) for name in self._spec.clouds):
            return 0
        if self._processed.needs_arm:
            stamp_ns = max(cloud.stamp_ns for cloud in clouds)
            if (self.newest_ns("joint_states", now_ns) or 0) < stamp_ns:
                return stamp_ns  # where the arm was at that time is not known yet
        self._seen = clouds
        # what is wrong with them is told when they are needed
        with suppress(FrameError, CloudError):
            self._processed.points(clouds, self.streams["joint_states"], now_ns)
        return 0

    def _comes_before(self, stream: str, time_ns: int) -> bool:
        """Whether another sample will be here by then, as far as the rhythm tells."""
        next_ns = self._watches[stream].next_ns()
        return next_ns is not None and next_ns < time_ns

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

    def stale_ns(self) -> int:
        """When the first stream becomes too old if nothing more comes [ns]."""
        return min(
            (newest_ns + round(self.limit_s(name) * 1e9)) if newest_ns is not None else FOREVER
            for name, stream in self.streams.items()
            for newest_ns in (stream.newest_ns(),)
        )

    def expected_ns(self, stream: str, stamp_ns: int) -> int:
        """When a sample with that stamp or a later one is to be expected [ns]."""
        return self._watches[stream].expected_ns(stamp_ns)

    def _unreadable(self, stream: str, stamp_ns: int, why: str) -> None:
        self._unread_ns[stream] = max(stamp_ns, self._unread_ns.get(stream, 0))
        self.dropped(stream, why)

    def _fresh(self, now_ns: int) -> dict[str, Any] | Refusal:
        samples = {}
        for name, stream in self.streams.items():
            found = stream.latest_before(now_ns)
            if found is not None and found[0] > self._unread_ns.get(name, FOREVER):
                del self._unread_ns[name]  # a newer one could be read
                self._dropped.pop(name, None)
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

    def _assemble(self, samples: Mapping[str, Sample], now_ns: int) -> Observation | Refusal:
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
        for name in (*self._spec.clouds, *self._spec.images):
            then = self._arm_at(samples[name].stamp_ns, now_ns)
            if then is None:
                detail = f"no joint states with the whole arm at the stamp of '{name}'"
                return Refusal(Reason.BAD_JOINT_STATE, detail)
            poses[tip_at(name)] = self._kinematics.tip_pose(then)
        try:
            for name in self._spec.poses:
                poses[name] = self._processed.pose(name, samples[name])
            points = self._points(samples, now_ns)
            images = {n: self._processed.image(n, samples[n]) for n in self._spec.images}
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

    def _before(self, samples: Mapping[str, Sample], k: int) -> Observation | Refusal:
        """The k-th frame before the present one: of each stream the sample nearest to that time.

        The time counts from the stream's own present sample, so that two frames of a camera that
        is late lie as far apart as those of one that is not. Before the first sample there is the
        first one once more.
        """
        back_ns = round(k * self._spec.frames_apart_s * 1e9)
        found: dict[str, Sample] = {}
        for name, sample in samples.items():
            wanted_ns = sample.stamp_ns - back_ns
            stamp_ns, found[name] = self.streams[name].nearest(wanted_ns) or (wanted_ns, sample)
            gap_s = (wanted_ns - stamp_ns) * 1e-9
            if gap_s > self.limit_s(name):
                detail = (
                    f"'{name}' has a gap: the frame {back_ns * 1e-9:g} s ago would be {gap_s:.3f} "
                    f"s older than that, limit {self.limit_s(name):.3f} s"
                )
                return Refusal(Reason.STALE, detail)
        return self._assemble(found, found["joint_states"].stamp_ns)

    def _points(self, samples: Mapping[str, Sample], now_ns: int) -> np.ndarray | None:
        spec = self._spec.points
        if spec is None:
            return None
        clouds = tuple(
            sample for name in spec.clouds if isinstance(sample := samples[name], Cloud)
        )
        return self._processed.points(clouds, self.streams["joint_states"], now_ns)

    def _arm_at(self, stamp_ns: int, now_ns: int) -> FloatArray | None:
        """Arm joint positions at a stamp; None when those around it lack a joint."""
        joints = joints_at(self.streams["joint_states"], stamp_ns, now_ns)
        names = self._profile.arm_joints
        return np.array([joints[n] for n in names]) if joints.keys() >= set(names) else None
