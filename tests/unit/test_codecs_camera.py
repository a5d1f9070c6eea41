# SPDX-License-Identifier: MIT
"""Calibrations that make sense are read, the others refused; depth images become points."""

import os

os.environ["ROS_PYTHON_CHECK_FIELDS"] = "1"

from array import array

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, Image

from difftori_ros.codecs.camera_info import (
    decode_camera_info,
    encode_camera_info,
)
from difftori_ros.codecs.depth_image import decode_depth_cloud, depth_points
from difftori_ros.codecs.fields import CodecError

MATRIX = np.array([[80.5, 0, 31.5], [0, 81.5, 32.5], [0, 0, 1]])


def make_info(width: int = 64, height: int = 48) -> CameraInfo:
    message = CameraInfo()
    encode_camera_info(message, 3_000_000_004, "camera", MATRIX, width, height)
    return message


def test_a_camera_survives_encoding_and_decoding():
    info = decode_camera_info(make_info())
    assert (info.stamp_ns, info.frame_id) == (3_000_000_004, "camera")
    assert (info.width, info.height) == (64, 48)
    assert info.distortion_model == "plumb_bob"
    np.testing.assert_array_equal(info.k, MATRIX)
    np.testing.assert_array_equal(info.distortion, np.zeros(5))
    np.testing.assert_array_equal(info.r, np.eye(3))
    np.testing.assert_array_equal(info.p, np.column_stack([MATRIX, np.zeros(3)]))


def test_rectification_left_at_zero_is_the_identity_and_the_camera_matrix():
    message = make_info()
    message.r, message.p = [0.0] * 9, [0.0] * 12
    info = decode_camera_info(message)
    np.testing.assert_array_equal(info.r, np.eye(3))
    np.testing.assert_array_equal(info.p[:, :3], MATRIX)


@pytest.mark.parametrize(
    ("model", "count"),
    [("plumb_bob", 4), ("plumb_bob", 5), ("rational_polynomial", 8), ("equidistant", 4)],
)
def test_known_distortions_keep_their_coefficients(model, count):
    message = make_info()
    message.distortion_model, message.d = model, [0.125 * k for k in range(1, count + 1)]
    info = decode_camera_info(message)
    assert info.distortion_model == model
    np.testing.assert_array_equal(info.distortion, 0.125 * np.arange(1, count + 1))


@pytest.mark.parametrize(("model", "count"), [("", 0), ("", 5), ("none", 0), ("plumb_bob", 0)])
def test_a_camera_without_distortion_needs_no_model(model, count):
    message = make_info()
    message.distortion_model, message.d = model, [0.0] * count
    assert not decode_camera_info(message).distortion.any()


@pytest.mark.parametrize("focal", [0.0, -1.0, float("nan"), float("inf")])
def test_an_uncalibrated_camera_is_refused(focal):
    message = make_info()
    message.k = [focal, 0.0, 1.0, 0.0, 80.0, 1.0, 0.0, 0.0, 1.0]
    with pytest.raises(CodecError, match=r"wanted a (finite )?matrix k.*, got"):
        decode_camera_info(message)


def mirrored() -> list[float]:
    return np.diag([1.0, 1.0, -1.0]).ravel().tolist()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"width": 0}, "wanted pixels, got height 48 and width 0"),
        ({"k": [80.0] * 9}, "wanted a matrix k whose first three columns end with 0 in row 2"),
        ({"r": [1e300] * 9}, "wanted a rotation r, got"),
        ({"r": mirrored()}, "wanted a rotation r, got a reflection"),
        ({"r": [float("nan")] * 9}, "wanted a finite matrix r"),
        ({"p": [1.0] * 12}, "wanted a matrix p whose"),
        ({"p": [-1.0] * 12}, "wanted a matrix p with positive focal lengths"),
        ({"d": [0.1, 0.0, 0.0]}, "wanted 4 or 5 coefficients d of model 'plumb_bob', got 3"),
        ({"d": [float("inf")] * 5}, "wanted finite coefficients d"),
        ({"d": [0.1], "distortion_model": "mine"}, "wanted distortion model plumb_bob, .* 'mine'"),
        ({"binning_x": 2}, r"wanted an image without binning, got \(2, 0\)"),
    ],
)
def test_nonsense_is_refused_by_name(changes, words):
    message = make_info()
    for name, value in changes.items():
        setattr(message, name, value)
    with pytest.raises(CodecError, match=f"camera info: {words}"):
        decode_camera_info(message)


def test_a_part_of_the_image_is_refused_and_the_whole_is_not():
    message = make_info()
    message.roi.width, message.roi.height = 64, 48
    decode_camera_info(message)
    message.roi.width, message.roi.x_offset = 32, 16
    with pytest.raises(CodecError, match=r"the whole image of 64 by 48, got .* 32 by 48 at 16, 0"):
        decode_camera_info(message)


def test_depth_becomes_points_that_project_onto_their_pixels():
    camera = decode_camera_info(make_info())
    rng = np.random.default_rng(0)
    depth = rng.uniform(0.2, 4.0, (48, 64)).astype(np.float32)
    points = depth_points(depth, camera)
    assert points.dtype == np.float32
    pixels = points.astype(np.float64) @ MATRIX.T
    rows, columns = np.divmod(np.arange(48 * 64), 64)
    np.testing.assert_allclose(pixels[:, 0] / pixels[:, 2], columns, atol=1e-4)
    np.testing.assert_allclose(pixels[:, 1] / pixels[:, 2], rows, atol=1e-4)
    np.testing.assert_array_equal(points[:, 2], depth.ravel())


def test_pixels_without_a_measurement_give_no_point_and_a_loop_gives_the_same():
    camera = decode_camera_info(make_info(5, 4))
    depth = np.full((4, 5), 2.0, np.float32)
    depth[0, 0], depth[1, 2], depth[2, 4], depth[3, 1] = np.nan, 0.0, -1.0, np.inf
    expected = [
        [(u - MATRIX[0, 2]) / MATRIX[0, 0] * 2, (v - MATRIX[1, 2]) / MATRIX[1, 1] * 2, 2]
        for v in range(4)
        for u in range(5)
        if depth[v, u] == 2.0
    ]
    np.testing.assert_allclose(depth_points(depth, camera), expected, rtol=1e-6)


def test_a_depth_message_becomes_a_cloud_in_its_optical_frame():
    message = Image(height=4, width=5, encoding="16UC1", step=10)
    message.header.frame_id, message.header.stamp.sec = "depth_optical", 7
    values = np.zeros((4, 5), "<u2")
    values[2, 3] = 1500
    message.data = array("B", values.tobytes())
    cloud = decode_depth_cloud(message, decode_camera_info(make_info(5, 4)))
    assert (cloud.stamp_ns, cloud.frame_id) == (7_000_000_000, "depth_optical")
    assert cloud.rgb is None
    expected = [[(3 - 31.5) / 80.5 * 1.5, (2 - 32.5) / 81.5 * 1.5, 1.5]]
    np.testing.assert_allclose(cloud.xyz, expected, rtol=1e-6)


def test_depth_of_another_size_than_the_calibration_is_refused_with_both():
    depth = np.ones((4, 5), np.float32)
    with pytest.raises(CodecError, match=r"wanted 48 rows of 64, .*, got 4 of 5"):
        depth_points(depth, decode_camera_info(make_info()))
