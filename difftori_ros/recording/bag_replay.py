# SPDX-License-Identifier: MIT
"""A bag becomes the observations that the policy would have planned from.

Its messages go through the decoders, streams and the observer of the policy node, in the order in
which they were recorded, and an observation is made whenever the node would have planned. The
clock is `/clock` where the bag holds it, and otherwise the time at which a message was recorded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from difftori_models.contract.specs import Card, Observation
from difftori_ros import codecs
from difftori_ros.config.parameter_files import values_of
from difftori_ros.config.parameters import POLICY
from difftori_ros.observation import FrameError, Refusal, make_observer
from difftori_ros.observation.frame_tree import take_transforms
from difftori_ros.observation.input_topics import CAMERA_INFO, InputTopics
from difftori_ros.policy.compatibility import check_card
from difftori_ros.policy.plan_schedule import PlanTimes
from difftori_ros.robot.profile import RobotProfile
from difftori_ros.status.clock_jump import shown_ns

from .bag_reader import CLOCK, TF, TF_STATIC, Bag, BagError, Recorded


class BagReplay:
    """One pass through a bag.

    Attributes:
        refusals: How often an observation was due and there was none, by the code of the reason.
        last_refusal: The reason of the newest one, in words.
        unreadable: Messages dropped because they could not be decoded.
    """

    def __init__(
        self,
        bag: Bag,
        card: Card,
        profile: RobotProfile,
        values: Mapping[str, Any] | None = None,
        *,
        remaps: Mapping[str, str] | None = None,
        period_s: float | None = None,
        extra_topics: Sequence[str] = (),
        on_message: Callable[[int, Recorded], None] = lambda now_ns, recorded: None,
    ):
        """Find every stream in the bag.

        Args:
            bag: The bag.
            card: What the policy sees, and how often it plans.
            profile: The robot; it must be the card's.
            values: Parameters of the policy node: age limits, camera extrinsics, `trigger`,
                `image_transport`, `points_from`; the defaults without.
            remaps: Name of a topic -> name under which it was recorded.
            period_s: Time between two observations with `trigger` timer; the card's by default.
            extra_topics: Topics beside the streams that `on_message` is called with.
            on_message: Takes what the clock shows [ns] and the message.

        Raises:
            BagError: A stream is not in the bag.
            InputTopicError: The streams cannot come in the way that `values` say.
            ProfileError: The card is that of another robot.
            FrameError: The camera's pose in `values` is not one.
        """
        check_card(card, profile)
        self._bag, self._extra, self._on_message = bag, frozenset(extra_topics), on_message
        values = values or values_of("policy_node", POLICY)
        spec = card.observation
        self._inputs = InputTopics(spec, values)
        self._stream_of = {
            bag.topic(topic, (self._inputs.types[stream],), remaps or {}): stream
            for stream, topic in self._inputs.topics.items()
        }
        self._camera_of = {
            bag.topic(topic, (CAMERA_INFO,), remaps or {}): stream
            for stream, topic in self._inputs.calibrations.items()
        }
        self._simulated = CLOCK in bag.topics
        self._observer = make_observer(card, profile, values)
        period_s = card.action.plan_period_s if period_s is None else period_s
        self._times = PlanTimes(self._observer.streams, values["trigger"], period_s)
        self._now_ns = 0
        self.refusals: Counter[str] = Counter()
        self.last_refusal, self.unreadable = "", 0

    def observations(self) -> Iterator[Observation]:
        """Every observation that a plan would have been made from, in order.

        Raises:
            BagError: The bag is damaged.
        """
        around = (CLOCK, TF, TF_STATIC, *self._camera_of)
        for recorded in self._bag.messages([*around, *self._stream_of, *self._extra]):
            self._take(recorded)
            time_ns = self._times.time_ns(self._now_ns)
            if time_ns is None:
                continue
            observation = self._observer.observe(time_ns)
            if isinstance(observation, Refusal):
                self.refusals[observation.reason.name] += 1
                self.last_refusal = f"{observation.reason.name}: {observation.detail}"
            elif self._times.observed(observation.stamp_ns):
                yield observation

    def _take(self, recorded: Recorded) -> None:
        topic, message = recorded.topic, recorded.message
        if not self._simulated:
            self._now_ns = recorded.time_ns
        if topic == CLOCK:
            self._tick(codecs.stamp_to_ns(message.clock))
        elif topic in (TF, TF_STATIC):
            self._transforms(message, topic == TF_STATIC)
        elif topic in self._camera_of:
            self._calibrate(self._camera_of[topic], message)
        elif topic in self._stream_of:
            self._sample(self._stream_of[topic], message)
        if topic in self._extra:
            self._on_message(self._now_ns, recorded)

    def _tick(self, now_ns: int) -> None:
        if now_ns < self._now_ns:  # as the node does when the clock jumps back
            self._observer.streams.clear()
            self._times.clear()
        self._now_ns = now_ns

    def _sample(self, stream: str, message: Any) -> None:
        try:
            sample = self._inputs.decode(stream, message)
        except codecs.CodecError as error:
            self._observer.streams.dropped(stream, str(error))
            self.unreadable += 1
            return
        now_ns = shown_ns(self._now_ns, sample.stamp_ns, self._simulated)
        self._observer.streams.push(stream, sample, now_ns)

    def _calibrate(self, stream: str, message: Any) -> None:
        try:
            self._inputs.calibrate(stream, message, self._observer)
        except codecs.CodecError:
            self.unreadable += 1

    def _transforms(self, message: Any, static: bool) -> None:
        try:
            take_transforms(self._observer.frames, message, static)
        except (codecs.CodecError, FrameError):
            self.unreadable += 1


def replay(
    bag: Bag, card: Card, profile: RobotProfile, values: Mapping[str, Any] | None = None
) -> Iterator[Observation]:
    """The observations of a bag at the times at which the policy of `card` would have planned.

    Raises:
        BagError: A stream is not in the bag, nothing can be observed, or it is damaged.
    """
    player = BagReplay(bag, card, profile, values)
    empty = True
    for observation in player.observations():
        empty = False
        yield observation
    if empty:
        raise BagError(
            f"{bag.path}: nothing can be observed: {player.last_refusal or 'no messages'}"
        )
