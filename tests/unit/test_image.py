# SPDX-License-Identifier: MIT
"""A camera's picture becomes the policy's image: cropped, rectified, resized, the same bits."""

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from difftori_models.contract.specs import ImageSpec
from difftori_ros.codecs.fields import CodecError
from difftori_ros.observation.image import ImageError, crop_box, process_image, resized
from difftori_ros.observation.rectify import Lens, decode_lens
from difftori_ros.types import Reason

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (120, 160, 3), dtype=np.uint8)
SMOOTH = np.asarray(cv2.GaussianBlur(NOISE, (0, 0), 4), np.uint8)
MATRIX = (120.0, 0.0, 81.0, 0.0, 118.0, 59.0, 0.0, 0.0, 1.0)
LENSES = [
    Lens(160, 120, MATRIX, "plumb_bob", (-0.2, 0.05, 0.002, -0.003, 0.01)),
    Lens(160, 120, MATRIX, "rational_polynomial", (-0.2, 0.05, 0.002, 0, 0.01, 0.1, 0.02, 0.001)),
    Lens(160, 120, MATRIX, "equidistant", (-0.05, 0.01, 0.002, -0.001)),
]


def by_loops(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """The mean over each pixel's area, on a grid so fine that no pixel is cut."""
    rows, columns, _ = picture.shape
    fine = picture.repeat(height, axis=0).repeat(width, axis=1).astype(np.int64)
    blocks = fine.reshape(height, rows, width, columns, 3)
    return np.floor(blocks.sum(axis=(1, 3)) / (rows * columns) + 0.5).astype(np.uint8)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    wanted=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_pixel_is_the_mean_of_what_it_covers_whatever_the_sizes(shape, wanted, seed):
    picture = np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)
    np.testing.assert_array_equal(resized(picture, *wanted), by_loops(picture, *wanted))


def test_half_the_size_is_what_opencv_makes_of_it():
    wanted = cv2.resize(NOISE, (80, 60), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(resized(NOISE, 60, 80), wanted)


def test_large_white_picture_stays_white():
    white = np.full((2160, 3840, 3), 255, np.uint8)
    assert (resized(white, 84, 84) == 255).all()


def test_crop_keeps_the_same_part_at_every_resolution():
    spec = ImageSpec(40, 40, (0.25, 0.125, 0.75, 0.625))
    assert crop_box(spec, 128, 128) == (32, 16, 96, 80)
    large = NOISE.repeat(4, axis=0).repeat(4, axis=1)
    np.testing.assert_array_equal(process_image(large, spec), process_image(NOISE, spec))


def test_picture_of_the_wanted_size_comes_back_as_it_was_in_memory_of_its_own():
    image = process_image(NOISE, ImageSpec(120, 160))
    np.testing.assert_array_equal(image, NOISE)
    assert image.flags.c_contiguous
    assert image.dtype == np.uint8


def test_layout_of_the_picture_in_memory_changes_no_bit():
    spec = ImageSpec(33, 47, (0.1, 0.2, 0.9, 0.95))
    wanted = process_image(NOISE, spec)
    for view in (np.asfortranarray(NOISE), np.pad(NOISE, ((0, 0), (0, 9), (0, 0)))[:, :160]):
        np.testing.assert_array_equal(process_image(view, spec), wanted)


@pytest.mark.parametrize("crop", [(0.999, 0.0, 1.0, 1.0), (0.0, 0.5, 1.0, 0.5001)])
def test_crop_that_is_thinner_than_a_pixel_keeps_one(crop):
    assert process_image(NOISE[:3, :3], ImageSpec(8, 8, crop)).shape == (8, 8, 3)


@pytest.mark.parametrize("lens", LENSES, ids=lambda lens: lens.model)
def test_rectified_picture_is_opencvs(lens):
    k, d = np.array(MATRIX).reshape(3, 3), np.array(lens.distortion)
    if lens.model == "equidistant":
        wanted = cv2.fisheye.undistortImage(SMOOTH, k, d, Knew=k)
    else:
        wanted = cv2.undistort(SMOOTH, k, d)
    seen = process_image(SMOOTH, ImageSpec(120, 160, rectify=True), lens)
    assert np.abs(seen.astype(int) - wanted).max() <= 1
    assert np.abs(seen.astype(int) - SMOOTH).max() > 20, "it does distort"


def test_rotation_and_projection_of_the_calibration_are_used():
    turn = cv2.Rodrigues(np.array([0.0, 0.05, 0.1]))[0]
    after = np.array([[100.0, 0.0, 70.0], [0.0, 100.0, 60.0], [0.0, 0.0, 1.0]])
    lens = replace(LENSES[0], rotation=tuple(turn.ravel()), rectified=tuple(after.ravel()))
    k, d = np.array(MATRIX).reshape(3, 3), np.array(lens.distortion)
    maps = cv2.initUndistortRectifyMap(k, d, turn, after, (160, 120), cv2.CV_32FC1)
    wanted = cv2.remap(SMOOTH, *maps, cv2.INTER_LINEAR)
    seen = process_image(SMOOTH, ImageSpec(120, 160, rectify=True), lens)
    assert np.abs(seen.astype(int) - wanted).max() <= 1


def test_crop_is_that_of_the_rectified_picture():
    whole = process_image(SMOOTH, ImageSpec(120, 160, rectify=True), LENSES[0])
    part = ImageSpec(60, 80, (0.25, 0.25, 0.75, 0.75), rectify=True)
    np.testing.assert_array_equal(process_image(SMOOTH, part, LENSES[0]), whole[30:90, 40:120])


def test_lens_without_distortion_changes_nothing():
    lens = Lens(160, 120, MATRIX)
    np.testing.assert_array_equal(
        process_image(NOISE, ImageSpec(120, 160, rectify=True), lens), NOISE
    )


def test_rectifying_without_a_calibration_or_with_that_of_another_size_is_refused():
    spec = ImageSpec(8, 8, rectify=True)
    with pytest.raises(ImageError, match="no camera_info has come") as caught:
        process_image(NOISE, spec)
    assert caught.value.reason is Reason.MISSING
    with pytest.raises(ImageError, match=r"of 160x120 .* got 80x60") as caught:
        process_image(NOISE[::2, ::2], spec, LENSES[0])
    assert caught.value.reason is Reason.BAD_MESSAGE


def info(**changes) -> SimpleNamespace:
    header = SimpleNamespace(stamp=SimpleNamespace(sec=1, nanosec=0), frame_id="camera")
    values = {
        "header": header,
        "width": 160,
        "height": 120,
        "distortion_model": "plumb_bob",
        "k": MATRIX,
        "d": (-0.2, 0.05, 0.002, -0.003, 0.01),
        "r": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
        "p": (*MATRIX[:3], 0.0, *MATRIX[3:6], 0.0, *MATRIX[6:], 0.0),
        "binning_x": 0,
        "binning_y": 0,
        "roi": SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0),
    }
    return SimpleNamespace(**(values | changes))


def test_calibration_is_read_from_its_message():
    assert decode_lens(info()) == replace(LENSES[0], rectified=MATRIX)
    plain = decode_lens(info(distortion_model="", d=(), r=(0.0,) * 9, p=(0.0,) * 12))
    assert plain == Lens(160, 120, MATRIX, rectified=MATRIX)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"k": (0.0,) * 9}, "camera info: wanted"),
        ({"distortion_model": "fisheye62", "d": (0.1,) * 6}, "got 'fisheye62'"),
        ({"distortion_model": "rational_polynomial", "d": (0.1,) * 12}, "at most 8"),
    ],
)
def test_calibration_that_cannot_be_used_is_refused_with_the_reason(changes, words):
    with pytest.raises(CodecError, match=words):
        decode_lens(info(**changes))
