# SPDX-License-Identifier: MIT
"""JPEG, PNG and compressed depth give what OpenCV reads from them, or an error by name."""

import os

os.environ["ROS_PYTHON_CHECK_FIELDS"] = "1"

import io
import re
import struct
import tracemalloc
import zlib
from array import array

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from sensor_msgs.msg import CompressedImage

from difftori_ros.codecs.compressed_image import decode_compressed_depth, decode_compressed_image
from difftori_ros.codecs.fields import CodecError

RNG = np.random.default_rng(0)
SMOOTH = np.add.outer(np.arange(40) * 3, np.arange(56) * 2)[:, :, None] + np.array([0, 20, 40])
RGB = (SMOOTH % 256).astype(np.uint8)
GRAY_16 = RNG.integers(0, 2**16, (40, 56)).astype(np.uint16)
MILLIMETRES = "16UC1; compressedDepth png"
INVERSE = "32FC1; compressedDepth png"


def packed(pixels: np.ndarray, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    Pillow.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def message(data: bytes, form: str = "") -> CompressedImage:
    return CompressedImage(format=form, data=array("B", data))


def png(width: int, height: int, body: bytes = b"") -> bytes:
    """A PNG of one's own: gray, 8 bits, with any stated size."""

    def chunk(name: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + check

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n"
    return start + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def by_open_cv(data: bytes) -> np.ndarray:
    cv2 = pytest.importorskip("cv2")
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]


@pytest.mark.parametrize("pixels", [RGB, RGB[:, :, 0]], ids=["color", "gray"])
@pytest.mark.parametrize("quality", [60, 95])
def test_a_jpeg_is_what_open_cv_reads_but_for_rounding(pixels, quality):
    data = packed(pixels, "JPEG", quality=quality)
    decoded = decode_compressed_image(message(data, "rgb8; jpeg compressed bgr8"))
    assert (decoded.dtype, decoded.shape) == (np.uint8, RGB.shape)
    assert np.abs(decoded.astype(int) - by_open_cv(data)).max() <= 2


@pytest.mark.parametrize(
    "pixels",
    [
        RGB,
        RGB[:, :, 0],
        np.dstack([RGB, np.full(RGB.shape[:2], 9, np.uint8)]),
        RGB[:, :, 0] > 90,
        np.dstack([RGB[:, :, 0], RGB[:, :, 1]]),
    ],
    ids=["rgb", "gray", "rgba", "bits", "gray and alpha"],
)
def test_a_png_loses_nothing_but_its_alpha(pixels):
    data = packed(pixels)
    decoded = decode_compressed_image(message(data, "png"))
    first = pixels.astype(np.uint8) * 255 if pixels.dtype == bool else pixels
    first = first[:, :, None] if first.ndim == 2 else first
    expected = first[:, :, :3] if first.shape[2] > 2 else np.repeat(first[:, :, :1], 3, axis=2)
    np.testing.assert_array_equal(decoded, expected)


def test_a_png_with_a_palette_has_the_colors_of_the_palette():
    stream = io.BytesIO()
    picture = Pillow.fromarray(RGB).quantize(16)
    picture.save(stream, "PNG")
    expected = np.asarray(picture.convert("RGB"))
    decoded = decode_compressed_image(message(stream.getvalue()))
    np.testing.assert_array_equal(decoded, expected)
    np.testing.assert_array_equal(decoded, by_open_cv(stream.getvalue()))


def test_a_png_of_sixteen_bits_is_rounded_to_eight():
    decoded = decode_compressed_image(message(packed(GRAY_16), "mono16; png compressed "))
    np.testing.assert_array_equal(decoded[:, :, 1], np.round(GRAY_16 / 257))


def test_red_and_blue_that_were_exchanged_by_the_sender_are_put_back():
    data = packed(RGB[:, :, ::-1])
    decoded = decode_compressed_image(message(data, "rgb8; png compressed rgb8"))
    np.testing.assert_array_equal(decoded, RGB)


def test_millimetres_in_a_png_become_metres_and_zero_becomes_nan():
    values = GRAY_16.copy()
    values[0, :5] = 0
    depth = decode_compressed_depth(message(bytes(12) + packed(values), MILLIMETRES))
    assert depth.dtype == np.float32
    expected = np.where(values == 0, np.nan, values * 1e-3)
    np.testing.assert_allclose(depth, expected, rtol=1e-6)
    older = decode_compressed_depth(message(bytes(12) + packed(values), "16UC1; compressedDepth"))
    np.testing.assert_array_equal(older, depth)


def test_quantised_inverse_depth_comes_back_within_its_step():
    depth = RNG.uniform(0.5, 9.0, (20, 30)).astype(np.float32)
    depth[3, 4] = np.nan
    quantum, farthest = 100.0, 10.0  # what compressed_depth_image_transport takes by default
    a = quantum * (quantum + 1.0)
    b = 1.0 - a / farthest
    with np.errstate(invalid="ignore"):
        values = np.where(np.isnan(depth), 0, a / depth + b).astype(np.uint16)
    header = struct.pack("<iff", 0, a, b)
    decoded = decode_compressed_depth(message(header + packed(values), INVERSE))
    np.testing.assert_array_equal(np.isnan(decoded), np.isnan(depth))
    step = depth**2 / a  # what one unit of a / depth is worth
    assert np.nanmax(np.abs(decoded - depth) / step) < 1.01
    by_loop = [
        [a / (float(value) - np.float32(b)) if value else np.nan for value in row]
        for row in values
    ]
    np.testing.assert_allclose(decoded, by_loop, rtol=1e-5)


@pytest.mark.parametrize("form", ["", "32FC1", "16UC1; compressedDepth rvl", "jpeg", "8UC1; png"])
def test_depth_in_another_form_is_refused_with_the_forms_that_are_read(form):
    with pytest.raises(CodecError, match=r"wanted format '16UC1; compressedDepth png' or .*, got"):
        decode_compressed_depth(message(bytes(12) + packed(GRAY_16), form))


@pytest.mark.parametrize(
    ("data", "form", "words"),
    [
        (bytes(12), MILLIMETRES, "wanted 12 bytes and a PNG, got 12 bytes"),
        (bytes(12) + packed(RGB), MILLIMETRES, "wanted 16 bits of gray, got Pillow's mode 'RGB'"),
        (bytes(12) + packed(RGB, "JPEG"), MILLIMETRES, "wanted a whole PNG, got"),
        (bytes(12) + packed(GRAY_16), INVERSE, "wanted finite quantisation A > 0 and B, got 0"),
        (
            struct.pack("<iff", 0, float("nan"), 1) + packed(GRAY_16),
            INVERSE,
            "wanted finite quantisation A > 0 and B, got nan",
        ),
    ],
)
def test_depth_that_cannot_be_read_is_refused_by_name(data, form, words):
    with pytest.raises(CodecError, match=f"compressed depth: {words}"):
        decode_compressed_depth(message(data, form))


@pytest.mark.parametrize("size", [(65536, 65536), (2**31 - 1, 2**31 - 1), (2**25 + 1, 1)])
def test_a_picture_that_claims_billions_of_pixels_is_refused_before_it_is_unpacked(size):
    data = message(png(*size, zlib.compress(bytes(1000))))
    tracemalloc.start()
    try:
        with pytest.raises(CodecError, match=r"wanted .*, got"):
            decode_compressed_image(data)
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_other_formats_are_not_even_tried(kind):
    with pytest.raises(CodecError, match="wanted a whole JPEG or PNG, got"):
        decode_compressed_image(message(packed(RGB, kind)))


def test_inks_are_no_colors():
    stream = io.BytesIO()
    Pillow.fromarray(RGB).convert("CMYK").save(stream, "JPEG")
    with pytest.raises(CodecError, match="wanted gray or RGB colours, got Pillow's mode 'CMYK'"):
        decode_compressed_image(message(stream.getvalue()))


GOOD = {
    "jpeg": (packed(RGB, "JPEG"), "jpeg", decode_compressed_image),
    "progressive": (packed(RGB, "JPEG", progressive=True), "jpeg", decode_compressed_image),
    "png": (packed(RGB), "png", decode_compressed_image),
    "depth": (bytes(12) + packed(GRAY_16), MILLIMETRES, decode_compressed_depth),
    "inverse": (
        struct.pack("<iff", 0, 10100.0, -1009.0) + packed(GRAY_16),
        INVERSE,
        decode_compressed_depth,
    ),
}


@pytest.mark.parametrize("what", ["jpeg", "png", "depth", "inverse"])
def test_every_truncation_is_refused(what):
    data, form, decode = GOOD[what]
    for length in [*range(0, 64), *range(64, len(data) - 20, 97)]:
        with pytest.raises(CodecError, match=r"compressed (image|depth): wanted .*, got"):
            decode(message(data[:length], form))


@settings(deadline=None, max_examples=250)
@given(
    st.sampled_from(list(GOOD)),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6),
    st.binary(max_size=8),
)
def test_damaged_pictures_give_pixels_or_a_codec_error(what, damage, more):
    data, form, decode = GOOD[what]
    changed = bytearray(data)
    for place, value in damage:
        changed[int(place * min(len(data), 300))] = value
    gives_pixels_or_refuses(decode, message(bytes(changed) + more, form))


@settings(deadline=None, max_examples=100)
@given(
    st.binary(max_size=60), st.sampled_from(list(GOOD)), st.integers(0, 40), st.text(max_size=9)
)
def test_arbitrary_bytes_give_pixels_or_a_codec_error(data, what, kept, form):
    start, usual, decode = GOOD[what]
    gives_pixels_or_refuses(decode, message(start[:kept] + data, usual))
    gives_pixels_or_refuses(decode, message(start, form.replace("\0", "")))


def gives_pixels_or_refuses(decode, given_message: CompressedImage) -> None:
    try:
        decoded = decode(given_message)
    except CodecError as error:
        complaint = str(error)
    else:
        if decode is decode_compressed_image:
            assert decoded.dtype == np.uint8
            assert decoded.shape[2:] == (3,)
        else:
            assert decoded.dtype == np.float32
            assert not (np.isinf(decoded) | (decoded <= 0)).any()
        return
    assert re.match(r"compressed (image|depth): wanted .*, got ", complaint, re.DOTALL)
