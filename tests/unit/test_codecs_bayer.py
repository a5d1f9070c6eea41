# SPDX-License-Identifier: MIT
"""Bayer mosaics become the images that OpenCV and a plain loop make of them."""

import os

os.environ["ROS_PYTHON_CHECK_FIELDS"] = "1"

from array import array

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import Image

from difftori_ros.codecs.bayer import PATTERNS
from difftori_ros.codecs.fields import CodecError
from difftori_ros.codecs.image import decode_image

sizes = st.integers(2, 9)


def mosaic(height: int, width: int, kind: str, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).integers(
        0, 2 ** (8 * np.dtype(kind).itemsize), (height, width)
    )
    return values.astype(kind)


def message(values: np.ndarray, pattern: str, padding: int = 0) -> Image:
    rows = np.ascontiguousarray(values).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=9)
    return Image(
        height=values.shape[0],
        width=values.shape[1],
        encoding=f"bayer_{pattern}{8 * values.itemsize}",
        is_bigendian=int(values.dtype.byteorder == ">"),
        step=rows.shape[1],
        data=array("B", rows.tobytes()),
    )


def by_loop(values: np.ndarray, pattern: str) -> np.ndarray:
    """Rounded means of the nearest pixels of each colour, mirrored at the edges."""
    height, width = values.shape
    near = {
        "same": [(0, 0)],
        "cross": [(-1, 0), (1, 0), (0, -1), (0, 1)],
        "diagonal": [(-1, -1), (-1, 1), (1, -1), (1, 1)],
    }
    out = np.empty((height, width, 3), dtype=np.int64)
    for y in range(height):
        for x in range(width):
            for channel, color in enumerate("rgb"):
                for kind in ("same", "cross", "diagonal"):
                    found = [
                        int(values[mirrored(y + dy, height), mirrored(x + dx, width)])
                        for dy, dx in near[kind]
                        if pattern[2 * ((y + dy) % 2) + (x + dx) % 2] == color
                    ]
                    if found:
                        out[y, x, channel] = (sum(found) + len(found) // 2) // len(found)
                        break
    return out


def mirrored(index: int, size: int) -> int:
    index = abs(index)
    return index if index < size else 2 * (size - 1) - index


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(PATTERNS), sizes, sizes, st.integers(0, 99), st.integers(0, 3))
def test_every_pattern_and_size_is_the_mean_of_the_nearest_pixels(
    pattern, height, width, seed, padding
):
    values = mosaic(height, width, "u1", seed)
    decoded = decode_image(message(values, pattern, padding))
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, by_loop(values, pattern))


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(PATTERNS), sizes, sizes, st.sampled_from(["<u2", ">u2"]))
def test_sixteen_bits_are_rounded_to_eight_after_the_means(pattern, height, width, kind):
    values = mosaic(height, width, kind)
    expected = np.round(by_loop(values, pattern) / 257)
    np.testing.assert_array_equal(decode_image(message(values, pattern)), expected)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(("height", "width"), [(48, 64), (31, 17)])
def test_open_cv_makes_the_same_image_but_for_its_outermost_pixels(pattern, height, width):
    cv2 = pytest.importorskip("cv2")
    values = mosaic(height, width, "u1")
    theirs = cv2.cvtColor(values, getattr(cv2, f"COLOR_Bayer{pattern.upper()}2RGB"))
    ours = decode_image(message(values, pattern))
    np.testing.assert_array_equal(ours[1:-1, 1:-1], theirs[1:-1, 1:-1])


@pytest.mark.parametrize("shape", [(1, 6), (6, 1), (1, 1)])
def test_less_than_one_pattern_is_refused(shape):
    with pytest.raises(CodecError, match="at least 2 rows and columns of a Bayer pattern, got"):
        decode_image(message(mosaic(*shape, "u1"), "rggb"))
