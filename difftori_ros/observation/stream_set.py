# SPDX-License-Identifier: MIT
"""The streams that a policy needs: their newest samples, age limits, drops and health."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from difftori_models.contract.specs import ObservationSpec
from difftori_ros.types import Cloud, Image, JointState, Pose, Reason

from .stream_buffer import FOREVER, StreamBuffer, Unread
from .stream_health import StreamHealth

Sample = JointState | Pose | Cloud | Image

JOINTS = "joint_states"
"""The stream of the measured joints."""
MAX_AGE_S: Mapping[str, float] = {JOINTS: 0.05, "points": 0.2, "image": 0.2, "pose": 0.5}
"""Default age limits [s]: joints come at 100 Hz or more, cameras at 10-30 Hz, poses slower."""
JOINTS_KEPT = 512
"""Joint states kept: at 1 kHz they reach back to clouds and images of twice their age limit."""
CAMERA_KINDS = ("points", "image")
"""Kinds of streams that come from a camera."""


@dataclass(frozen=True)
class Refusal:
    """Why there is no observation."""

    reason: Reason
    detail: str


class StreamSet:
    """One buffer for every stream of an observation. Callbacks push, the planning thread reads."""

    def __init__(
        self,
        spec: ObservationSpec,
        max_age_s: Mapping[str, float] | None = None,
        *,
        frozen_frames: int = 0,
        frozen_is_fault: bool = False,
    ):
        """Make empty streams.

        Args:
            spec: What the checkpoint needs to see.
            max_age_s: Age limits by stream [s], over `MAX_AGE_S`.
            frozen_frames: Identical clouds in a row that make the camera a frozen one; 0 for
                never.
            frozen_is_fault: A frozen camera gives a refusal.
        """
        self._spec = spec
        self._max_age_s = dict(MAX_AGE_S) | dict(max_age_s or {})
        self._frozen_frames, self._frozen_is_fault = frozen_frames, frozen_is_fault
        self._last_drop: dict[str, str] = {}
        self._unread_ns: dict[str, int] = {}
        self._late = dict.fromkeys(spec.streams, 0)
        self._health = {name: StreamHealth(name, self.limit_s(name)) for name in spec.streams}
        self._buffers: dict[str, StreamBuffer[Any]] = {
            name: StreamBuffer(
                JOINTS_KEPT if name == JOINTS else 4,
                span_s=self._span_s(),
                unreadable=partial(self._unreadable, name),
            )
            for name in spec.streams
        }

    def __iter__(self) -> Iterator[str]:
        """Names of the streams."""
        return iter(self._buffers)

    def __getitem__(self, stream: str) -> StreamBuffer[Any]:
        """The samples of a stream."""
        return self._buffers[stream]

    # taking in -----------------------------------------------------------------------------------

    def push(self, stream: str, sample: Sample | Unread[Any], now_ns: int) -> None:
        """Take in a sample of a stream; one that is not read yet is read once it is needed."""
        health, stamp_ns = self._health[stream], sample.stamp_ns
        kept = self._buffers[stream].push(stamp_ns, sample, now_ns)
        health.arrived(stamp_ns, now_ns)
        ahead_s = (stamp_ns - now_ns) * 1e-9
        if kept:
            if not isinstance(sample, Unread):
                self._last_drop.pop(stream, None)
                health.kept(sample)
        elif stamp_ns <= 0:
            self.dropped(stream, "its stamp is zero", "unstamped")
        elif ahead_s > 0.0:
            self.dropped(stream, f"its stamp is {ahead_s:.3f} s ahead of the clock", "future")
        else:
            late, self._late[stream] = self._late[stream], self._buffers[stream].stats.late
            health.dropped("late" if self._late[stream] > late else "duplicate")

    def dropped(self, stream: str, why: str, cause: str = "unreadable") -> None:
        """The stream's newest message could not be used; told as long as none is usable.

        Args:
            stream: Its name.
            why: A sentence.
            cause: One word, under which it is counted.
        """
        self._last_drop[stream] = why
        self._health[stream].dropped(cause)

    def clear(self) -> None:
        """Forget every sample, as after a reset or a jump of the clock."""
        for name, buffer in self._buffers.items():
            buffer.clear()
            self._health[name].clear()

    # age limits ----------------------------------------------------------------------------------

    def limit_s(self, stream: str) -> float:
        """Age limit of a stream on the clock of the stamps [s]."""
        return self._max_age_s.get(stream, self._max_age_s[self._spec.kind(stream)])

    def set_limit(self, stream: str, limit_s: float) -> None:
        """Samples of `stream` may be `limit_s` old from now on [s]."""
        self._max_age_s[stream] = self._health[stream].limit_s = limit_s

    def fresh(self, now_ns: int) -> dict[str, Any] | Refusal:
        """Of each stream the latest sample not after `now_ns`; or which one is missing or old."""
        samples = {}
        for name, buffer in self._buffers.items():
            found = buffer.latest_before(now_ns)
            if found is not None and found[0] > self._unread_ns.get(name, FOREVER):
                del self._unread_ns[name]  # a newer one could be read
                self._last_drop.pop(name, None)
            drop = self._last_drop.get(name)
            why = f"; the last message was dropped: {drop}" if drop else ""
            if sentence := self._health[name].constant_offset():
                why = f"; {sentence}"
            if found is None:
                return Refusal(Reason.MISSING, f"'{name}' has not delivered yet{why}")
            age_s = (now_ns - found[0]) * 1e-9
            if age_s > self.limit_s(name):
                detail = f"'{name}' is {age_s:.3f} s old, limit {self.limit_s(name):.3f} s{why}"
                return Refusal(Reason.STALE, detail)
            samples[name] = found[1]
        frozen = self.frozen() if self._frozen_is_fault else None
        return frozen or samples

    def missing(self, now_ns: int) -> Refusal | None:
        """Why there could be no observation at `now_ns`, as far as the streams' ages tell."""
        samples = self.fresh(now_ns)
        return samples if isinstance(samples, Refusal) else None

    def back(self, samples: Mapping[str, Sample], back_ns: int) -> dict[str, Sample] | Refusal:
        """Of each stream the sample nearest to `back_ns` before the present one [ns].

        The time counts from the stream's own present sample, so that two frames of a camera that
        is late lie as far apart as those of one that is not. Before the first sample there is the
        first one once more. A refusal names the stream that has a gap there.
        """
        found: dict[str, Sample] = {}
        for name, sample in samples.items():
            wanted_ns = sample.stamp_ns - back_ns
            stamp_ns, found[name] = self._buffers[name].nearest(wanted_ns) or (wanted_ns, sample)
            gap_s = (wanted_ns - stamp_ns) * 1e-9
            if gap_s > self.limit_s(name):
                detail = (
                    f"'{name}' has a gap: the frame {back_ns * 1e-9:g} s ago would be {gap_s:.3f} "
                    f"s older than that, limit {self.limit_s(name):.3f} s"
                )
                return Refusal(Reason.STALE, detail)
        return found

    # stamps --------------------------------------------------------------------------------------

    def newest_ns(self, stream: str, now_ns: int) -> int | None:
        """Stamp of the newest sample of `stream` that is not after `now_ns`; None without one."""
        found = self._buffers[stream].latest_before(now_ns)
        return None if found is None else found[0]

    def newest_common_ns(self) -> int | None:
        """The newest stamp of the streams, if it is the same for all of them."""
        newest = {self.newest_ns(name, FOREVER) for name in self}
        return newest.pop() if len(newest) == 1 else None

    def stale_ns(self) -> int:
        """When the first stream becomes too old if nothing more comes [ns]."""
        return min(
            (newest_ns + round(self.limit_s(name) * 1e9)) if newest_ns is not None else FOREVER
            for name, buffer in self._buffers.items()
            for newest_ns in (buffer.newest_ns(),)
        )

    def expected_ns(self, stream: str, stamp_ns: int) -> int:
        """When a sample with that stamp or a later one is to be expected [ns]."""
        return self._health[stream].expected_ns(stamp_ns)

    def comes_before(self, stream: str, time_ns: int) -> bool:
        """Whether another sample will be here by then, as far as the rhythm tells."""
        next_ns = self._health[stream].next_ns()
        return next_ns is not None and next_ns < time_ns

    # health --------------------------------------------------------------------------------------

    def silent(self) -> list[str]:
        """Streams that have not delivered anything usable."""
        return [name for name in self if self.newest_ns(name, FOREVER) is None]

    def frozen(self) -> Refusal | None:
        """The camera that delivers the same content again and again, if there is one."""
        for name, health in self._health.items():
            if 0 < self._frozen_frames <= health.identical:
                detail = f"'{name}' has sent {health.identical} identical frames"
                return Refusal(Reason.FROZEN, detail)
        return None

    def ages_s(self, now_ns: int) -> dict[str, float]:
        """Age of the newest sample of each stream that has delivered [s]."""
        ages = {name: buffer.age_s(now_ns) for name, buffer in self._buffers.items()}
        return {name: age for name, age in ages.items() if age is not None}

    def report(self, now_ns: int) -> dict[str, str]:
        """Ages and skew of the streams, drops by cause, and what is wrong with their stamps."""
        values = {f"age_{name}": f"{age:.3f}" for name, age in self.ages_s(now_ns).items()}
        stamps = [self.newest_ns(name, FOREVER) for name in self]
        newest = [stamp_ns for stamp_ns in stamps if stamp_ns is not None]
        if newest:
            values["skew_s"] = f"{(max(newest) - min(newest)) * 1e-9:.3f}"
        for name, health in self._health.items():
            for cause, count in health.drops.items():
                values[f"dropped_{name}_{cause}"] = str(count)
            if 0 < self._frozen_frames <= health.identical:
                values[f"frozen_{name}"] = str(health.identical)
            if sentence := health.constant_offset():
                values[f"offset_{name}"] = sentence
            if (rhythm := health.rhythm()) and self._spec.kind(name) in CAMERA_KINDS:
                values[f"period_{name}"], values[f"delay_{name}"] = (f"{t:.3f}" for t in rhythm)
        return values

    def _span_s(self) -> float:
        """How far back streams are kept for the frames before the present one [s]."""
        past_s = (self._spec.frames - 1) * self._spec.frames_apart_s
        # joint states tell where the arm was when the oldest frame of a late camera was seen
        return past_s + 2.0 * max(self._max_age_s.values()) if past_s else 0.0

    def _unreadable(self, stream: str, stamp_ns: int, why: str) -> None:
        self._unread_ns[stream] = max(stamp_ns, self._unread_ns.get(stream, 0))
        self.dropped(stream, why)
