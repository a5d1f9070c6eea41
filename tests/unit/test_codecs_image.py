# SPDX-License-Identifier: MIT
"""Images and depth images are read as their encodings and REP 117 and 118 mean them."""

import os

os.environ["ROS_PYTHON_CHECK_FIELDS"] = "1"

import re
import tracemalloc
from array import array
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import Image

from difftori_ros.codecs.depth_image import DEPTHS, decode_depth
from difftori_ros.codecs.fields import CodecError
from difftori_ros.codecs.image import COLORS, decode_image, encode_image

quick = settings(deadline=None, max_examples=100)
RGB = np.random.default_rng(0).integers(0, 256, (4, 6, 3)).astype(np.uint8)
ALPHA = np.full((4, 6, 1), 77, dtype=np.uint8)


def image(pixels: np.ndarray, encoding: str, padding: int = 0, big: bool = False) -> Image:
    """A message with `padding` bytes after each row."""
    rows = pixels.reshape(len(pixels), -1)
    rows = np.ascontiguousarray(rows).view(np.uint8)
    rows = np.concatenate([rows, np.full((len(rows), padding), 9, np.uint8)], axis=1)
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding)
    message.is_bigendian = int(big)
    message.step = rows.shape[1]
    message.data = array("B", rows.tobytes())
    return message


def test_an_rgb_image_is_a_view_of_the_message_whatever_its_step():
    for padding in (0, 5):
        message = image(RGB, "rgb8", padding)
        assert np.shares_memory(decode_image(message), np.frombuffer(message.data, np.uint8))


@pytest.mark.parametrize("padding", [0, 1, 10])
@pytest.mark.parametrize(
    ("encoding", "pixels"),
    [
        ("rgb8", RGB),
        ("bgr8", RGB[:, :, ::-1]),
        ("rgba8", np.concatenate([RGB, ALPHA], axis=2)),
        ("bgra8", np.concatenate([RGB[:, :, ::-1], ALPHA], axis=2)),
    ],
)
def test_every_color_encoding_gives_the_same_rgb(encoding, pixels, padding):
    decoded = decode_image(image(pixels, encoding, padding))
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, RGB)


def test_a_gray_image_gives_equal_channels():
    decoded = decode_image(image(RGB[:, :, 0], "mono8", padding=3))
    np.testing.assert_array_equal(decoded, np.repeat(RGB[:, :, :1], 3, axis=2))


@pytest.mark.parametrize("big", [False, True])
def test_sixteen_bits_of_gray_are_rounded_to_eight(big):
    every = np.arange(2**16, dtype=">u2" if big else "<u2").reshape(256, 256)
    decoded = decode_image(image(every, "mono16", padding=1, big=big))
    expected = np.round(np.arange(2**16) / 257).reshape(256, 256).astype(np.uint8)
    for channel in range(3):
        np.testing.assert_array_equal(decoded[:, :, channel], expected)


def test_an_unknown_encoding_is_named_with_those_that_are_supported():
    with pytest.raises(CodecError, match=r"wanted encoding rgb8, bgr8, .*, got 'yuv422'"):
        decode_image(image(RGB, "yuv422"))
    with pytest.raises(CodecError, match="wanted encoding 16UC1, mono16, 32FC1, got 'rgb8'"):
        decode_depth(image(RGB, "rgb8"))


def test_an_encoded_image_decodes_to_itself():
    message = Image()
    encode_image(RGB[:, ::2], message, 5_000_000_001, "camera")
    np.testing.assert_array_equal(decode_image(message), RGB[:, ::2])
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (5, 1)
    assert (message.header.frame_id, message.encoding, message.step) == ("camera", "rgb8", 9)


def test_an_image_of_floats_is_not_encoded():
    with pytest.raises(CodecError, match=r"wanted \(H, W, 3\) uint8, got \(4, 6, 3\) float32"):
        encode_image(RGB.astype(np.float32), Image(), 1, "camera")


@pytest.mark.parametrize("encoding", ["16UC1", "mono16"])
@pytest.mark.parametrize("big", [False, True])
def test_millimetres_become_metres_and_zero_becomes_nan(big, encoding):
    pixels = np.array([[0, 1, 1000], [65535, 0, 250]], dtype=">u2" if big else "<u2")
    depth = decode_depth(image(pixels, encoding, padding=3, big=big))
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, [[np.nan, 0.001, 1], [65.535, np.nan, 0.25]], rtol=1e-6)


@pytest.mark.parametrize("big", [False, True])
def test_metres_stay_and_what_is_no_distance_becomes_nan(big):
    values = [[0.5, np.nan, np.inf], [-np.inf, 0, -1]]
    pixels = np.array(values, dtype=">f4" if big else "<f4")
    depth = decode_depth(image(pixels, "32FC1", padding=4, big=big))
    assert depth.dtype == np.dtype(np.float32)
    np.testing.assert_array_equal(depth, np.array([[0.5] + [np.nan] * 2, [np.nan] * 3]))


@quick
@given(
    st.sampled_from([*COLORS, *DEPTHS, "", "bayer"]),
    st.one_of(st.integers(0, 6), st.just(2**32 - 1)),
    st.one_of(st.integers(0, 6), st.just(2**32 - 1)),
    st.one_of(st.integers(0, 30), st.just(2**32 - 1)),
    st.integers(0, 255),
    st.binary(max_size=200),
    st.sampled_from([decode_image, decode_depth]),
)
def test_arbitrary_images_give_the_stated_size_or_a_codec_error(
    encoding, height, width, step, big, data, decode
):
    message = Image(height=height, width=width, encoding=encoding, is_bigendian=big, step=step)
    message.data = array("B", data)
    try:
        decoded = decode(message)
    except CodecError as error:
        complaint = str(error)
    else:
        assert decoded.shape[:2] == (height, width)
        assert decoded.dtype == (np.uint8 if decode is decode_image else np.float32)
        assert not np.isinf(decoded).any()
        return
    assert re.match("(depth )?image: wanted .*, got ", complaint)


@pytest.mark.parametrize(
    ("height", "width"), [(2**32 - 1, 2**32 - 1), (2**16, 2**16), (1, 2**32 - 1)]
)
@pytest.mark.parametrize("encoding", ["rgb8", "mono16", "bayer_rggb8"])
def test_billions_of_claimed_pixels_are_refused_before_anything_is_allocated(
    encoding, height, width
):
    message = Image(height=height, width=width, encoding=encoding, step=2**32 - 1)
    message.data = array("B", bytes(64))
    tracemalloc.start()
    try:
        with pytest.raises(CodecError, match=r"image: wanted .*, got"):
            decode_image(message)
        assert tracemalloc.get_traced_memory()[1] < 20_000
    finally:
        tracemalloc.stop()


def test_an_image_is_read_from_bytes_and_numpy_arrays_alike():
    message = image(RGB, "bgr8")
    given = {name: getattr(message, name) for name in ("height", "width", "step", "encoding")}
    for data in (bytes(message.data), np.frombuffer(message.data, np.uint8)):
        other = SimpleNamespace(**given, is_bigendian=0, data=data)
        np.testing.assert_array_equal(decode_image(other), RGB[:, :, ::-1])
