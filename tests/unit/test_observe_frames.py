# SPDX-License-Identifier: MIT
"""Several frames at once: which samples they are made of, and what an episode begins with."""

import numpy as np
import pytest

from difftori_models.contract.specs import ImageSpec, ObservationSpec
from difftori_ros.observation import Observer, Refusal
from difftori_ros.observation.frame_tree import FrameTree
from difftori_ros.robot.kinematics import Kinematics
from difftori_ros.robot.profile import load_profile
from difftori_ros.types import Image, JointState, Reason

PANDA = load_profile("panda")
MS = 1_000_000
START_NS = 5_000 * MS


def observer(frames=3, apart_s=0.1):
    spec = ObservationSpec(
        frame=PANDA.base_frame,
        joint_names=PANDA.joint_names,
        poses=(),
        features=("position",),
        images={"camera": ImageSpec(8, 8)},
        frames=frames,
        frames_apart_s=apart_s,
    )
    return Observer(spec, PANDA, Kinematics(PANDA), FrameTree())


def feed(seen, until_ms, *, since_ms=0, joints_ms=5, camera_ms=50, late_ms=0):
    """Joint states and pictures that show when they were taken [ms since the start]."""
    for t in range(since_ms, until_ms + 1):
        now_ns = START_NS + t * MS
        if t % joints_ms == 0:
            position = np.append(PANDA.home, 0.04)
            position[0] = t * 1e-3
            state = JointState(now_ns, PANDA.joint_names, position, np.zeros(8))
            seen.streams.push("joint_states", state, now_ns)
        if t % camera_ms == 0 and t - late_ms >= 0:
            picture = np.full((8, 8, 3), (t - late_ms) // 10, np.uint8)
            image = Image(now_ns - late_ms * MS, "camera", picture)
            seen.streams.push("camera", image, now_ns)
    return START_NS + until_ms * MS


def shown_ms(observation):
    """When joints and picture of each frame were taken [ms since the start]."""
    return [
        (round(frame.position[0] * 1e3), int(frame.images["camera"][0, 0, 0]) * 10)
        for frame in (observation, *observation.past)
    ]


def test_frames_lie_as_far_apart_as_the_card_says_and_carry_their_own_stamps():
    seen = observer()
    found = seen.observe(feed(seen, 600))
    assert shown_ms(found) == [(600, 600), (500, 500), (400, 400)]
    stamps = [frame.stamps_ns["camera"] for frame in (found, *found.past)]
    assert stamps == [START_NS + t * MS for t in (600, 500, 400)]
    assert all(frame.past == () for frame in found.past)


def test_an_episode_begins_with_its_first_frame_again_and_again():
    seen = observer()
    assert shown_ms(seen.observe(feed(seen, 0))) == [(0, 0)] * 3
    now_ns = feed(seen, 150, since_ms=1)
    assert shown_ms(seen.observe(now_ns)) == [(150, 150), (50, 50), (0, 0)]


def test_what_was_seen_before_a_reset_or_a_jump_of_the_clock_is_in_no_frame():
    seen = observer()
    feed(seen, 600)
    seen.streams.clear()
    now_ns = feed(seen, 700, since_ms=700)
    assert shown_ms(seen.observe(now_ns)) == [(700, 700)] * 3


def test_frames_of_a_late_camera_are_no_nearer_to_each_other():
    seen = observer()
    found = seen.observe(feed(seen, 600, late_ms=100))
    assert shown_ms(found) == [(600, 500), (500, 400), (400, 300)]


@pytest.mark.parametrize("joints_ms", [1, 10])
def test_the_past_is_kept_at_every_rate(joints_ms):
    seen = observer(frames=8)
    found = seen.observe(feed(seen, 1000, joints_ms=joints_ms))
    assert shown_ms(found) == [(1000 - 100 * k, 1000 - 100 * k) for k in range(8)]


def test_a_gap_in_the_past_is_no_frame_and_is_named():
    seen = observer(frames=2, apart_s=0.4)
    feed(seen, 100)
    now_ns = feed(seen, 900, since_ms=101, camera_ms=1000)
    seen.streams.push("camera", Image(now_ns, "camera", np.zeros((8, 8, 3), np.uint8)), now_ns)
    found = seen.observe(now_ns)
    assert isinstance(found, Refusal)
    assert found.reason is Reason.STALE
    assert "'camera' has a gap: the frame 0.4 s ago would be 0.400 s older" in found.detail


def test_one_frame_has_no_past():
    seen = observer(frames=1)
    found = seen.observe(feed(seen, 600))
    assert found.past == ()
    assert len(seen.streams["camera"]._stamps) == 4
