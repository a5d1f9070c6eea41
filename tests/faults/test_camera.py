# SPDX-License-Identifier: MIT
"""Rows 1, 2, 5 and 6: the camera is silent, frozen, or sends what cannot be used."""

import numpy as np
import pytest
from sensor_msgs.msg import Image

from difftori_ros.codecs import image as image_codec
from difftori_ros.codecs.fields import CodecError
from difftori_ros.observation.frame_tree import FrameError, FrameTree
from difftori_sim.ros.fault_injection import FaultInjector, parse
from tests.support.promises import REST_WITHIN_S
from tests.support.virtual.fault_harness import assert_within, virtual_harness

MAX_AGE_S = 0.2
"""Oldest cloud a plan is made from [s]."""
COAST_AFTER_S, COAST_S = 0.15, 0.05
"""Less than a plan lasts, so that the guard must brake before the arm rests by itself [s]."""
FROZEN_FRAMES = 5
CLOUD_PERIOD_S = CONTROL_PERIOD_S = 0.1
TICK_S = 0.025
"""The guard's period, and what it takes to think and to send [s]."""


@pytest.fixture
def harness():
    guard = {"max_recoveries": 1000, "coast_after_s": COAST_AFTER_S, "coast_s": COAST_S}
    policy = {
        "frozen_frames": FROZEN_FRAMES,
        "points_max_age_s": MAX_AGE_S,
        "frozen_is_fault": True,
    }
    yield from virtual_harness("pick_cube_points", guard=guard, policy=policy)


def assert_stops(harness, begin_ns, code, words):
    """No plan from what is too old; coast, brake, rest, each in time; and named."""
    harness.until(
        lambda: (
            harness.policy() == code and all(word in harness.policy("message") for word in words)
        )
    )
    rests_ns = begin_ns + round((MAX_AGE_S + REST_WITHIN_S) * 1e9)
    harness.until(lambda: harness.arm.now_ns() >= rests_ns)
    assert harness.arm.speed == 0.0
    newest_ns = max((plan.stamp_ns for plan in harness.plans), default=begin_ns)
    assert_within(MAX_AGE_S, begin_ns, newest_ns)
    late_ns = harness.first("guard_node", "code", "PLANS_LATE", begin_ns)
    assert_within(MAX_AGE_S + COAST_AFTER_S + TICK_S, begin_ns, late_ns)
    lost_ns = harness.first("guard_node", "code", "PLANS_LOST", begin_ns)
    assert_within(MAX_AGE_S + COAST_AFTER_S + COAST_S + TICK_S, begin_ns, lost_ns)


def assert_stops_and_goes_on(harness, begin_ns, code, words):
    """As above; and by itself, when it is well again soon enough."""
    assert_stops(harness, begin_ns, code, words)
    harness.arm.clear_faults()
    harness.moving(harness.arm.now_ns())
    assert "FAULT" not in harness.told("guard_node", "state", begin_ns)


# 1 -----------------------------------------------------------------------------------------------


def test_row_01_camera_that_stops_lets_the_arm_coast_brake_and_rest_and_names_it(moving):
    begin_ns = moving.arm.now_ns()
    moving.arm.inject("points:silence:0:60")
    assert_stops(moving, begin_ns, "STALE", ["'points' is", "limit 0.200 s"])
    moving.assert_rests(begin_ns, MAX_AGE_S + REST_WITHIN_S)
    assert (moving.guard(), moving.guard("code")) == ("FAULT", "PLANS_LOST")


def test_row_01_camera_that_is_back_within_a_second_is_followed_again_from_the_measured_pose(
    moving,
):
    begin_ns = moving.arm.now_ns()
    moving.arm.inject("points:silence:0:0.6")
    moving.until(lambda: moving.first("policy_node", "code", "STALE", begin_ns))
    moving.moving(moving.arm.now_ns())  # `check` compares every command with the measured pose
    assert "FAULT" not in moving.told("guard_node", "state", begin_ns)


# 2 -----------------------------------------------------------------------------------------------


def test_row_02_camera_that_repeats_its_old_stamp_counts_as_stopped(moving):
    begin_ns = moving.arm.now_ns()
    moving.arm.inject("points:freeze:0:60")
    assert_stops_and_goes_on(moving, begin_ns, "STALE", ["'points' is", "limit 0.200 s"])


def test_row_02_camera_that_repeats_its_content_with_new_stamps_is_named_frozen(moving):
    begin_ns = moving.arm.now_ns()
    moving.arm.inject("points:stuck:0:60")
    moving.until(lambda: moving.policy() == "FROZEN")
    frozen_ns = moving.first("policy_node", "code", "FROZEN", begin_ns)
    assert_within(FROZEN_FRAMES * CLOUD_PERIOD_S + CONTROL_PERIOD_S, begin_ns, frozen_ns)
    assert "'points' has sent" in moving.policy("message")
    moving.assert_rests(frozen_ns)  # this harness has `frozen_is_fault`


# 5 -----------------------------------------------------------------------------------------------


def image(encoding="rgb8", step=0):
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    message = Image()
    image_codec.encode_image(pixels, message, 10**9, "camera")
    if encoding == "bgr8":
        message.encoding = encoding
        message.data = pixels[:, :, ::-1].tobytes()
    if step:
        rows = [pixels[k].tobytes() + bytes(step - 18) for k in range(4)]
        message.step, message.data = step, b"".join(rows)
    return message, pixels


@pytest.mark.parametrize(("encoding", "step"), [("rgb8", 0), ("bgr8", 0), ("rgb8", 32)])
def test_row_05_image_of_another_order_or_step_is_the_same_picture(encoding, step):
    message, pixels = image(encoding, step)
    message.is_bigendian = 1  # means nothing for bytes
    np.testing.assert_array_equal(image_codec.decode_image(message), pixels)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("encoding", "wanted encoding rgb8, .*, got 'yuv422_yuy2'"),
        ("truncate", "wanted 72 bytes of data .*, got 36"),
        ("huge", "wanted a step of at least 12884901885 bytes, got 18"),
    ],
)
def test_row_05_image_that_cannot_be_read_is_dropped_with_what_was_wanted_and_came(kind, words):
    line = FaultInjector([parse(f"camera/image_raw:{kind}:0:1", {"camera/image_raw": Image})])
    ((_, message),) = line.apply("camera/image_raw", image()[0], 0.0)
    with pytest.raises(CodecError, match=words):
        image_codec.decode_image(message)


def test_row_05_cloud_that_cannot_be_read_is_dropped_and_counts_as_a_camera_that_stopped(moving):
    begin_ns = moving.arm.now_ns()
    moving.arm.inject("points:truncate:0:60")
    words = ["'points' is", "wanted 9600 bytes of data", "got 4800"]
    assert_stops_and_goes_on(moving, begin_ns, "STALE", words)


# 6 -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        ("empty:0:60", "TOO_FEW_POINTS", "got 0 of 0"),
        ("nan:0:60", "TOO_FEW_POINTS", "got 0 of 0"),
        ("inf:0:60", "TOO_FEW_POINTS", "wanted at least 1 points"),
        ("fields:0:60", "STALE", "got INT16"),
        ("frame:0:60", "UNKNOWN_FRAME", "nowhere"),
    ],
)
def test_row_06_cloud_that_cannot_be_used_counts_as_a_camera_that_stopped(
    moving, fault, code, words
):
    begin_ns = moving.arm.now_ns()
    moving.arm.inject(f"points:{fault}")
    assert_stops_and_goes_on(moving, begin_ns, code, [words])


def test_row_06_invalid_points_are_removed_even_when_the_cloud_says_there_are_none(moving):
    begin_ns = moving.arm.now_ns()
    moving.arm.inject("points:nan:0:60:0.5")  # and is_dense
    accepted = int(moving.guard("accepted"))
    moving.until(lambda: int(moving.guard("accepted")) > accepted + 8)
    assert "TOO_FEW_POINTS" not in moving.codes("policy_node", begin_ns)


def test_row_06_transform_that_is_missing_or_old_is_refused_without_waiting():
    frames = FrameTree()
    frames.push("base", "camera", 10**9, np.eye(4))
    with pytest.raises(FrameError, match="camera"):
        frames.lookup("base", "camera", 20 * 10**9)
    with pytest.raises(FrameError, match=r"nowhere.*camera"):
        frames.lookup("base", "nowhere", 10**9)
