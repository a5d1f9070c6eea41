# SPDX-License-Identifier: MIT
"""A camera's picture becomes the image that the policy was trained on."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from difftori_models.contract.specs import ImageSpec
from difftori_ros.codecs.compressed_image import decode_compressed_image
from difftori_ros.codecs.fields import stamp_to_ns
from difftori_ros.codecs.image import decode_image
from difftori_ros.errors import DifftoriError
from difftori_ros.types import Image, Reason

from .rectify import Lens, rectified

Pixels = NDArray[np.uint8]


class ImageError(DifftoriError, ValueError):
    """A picture cannot be used; `reason` is the code that the operator reads."""

    def __init__(self, message: str, reason: Reason):
        super().__init__(message)
        self.reason = reason


def image_topic(camera: str) -> str:
    """Relative topic of a camera's pictures."""
    return f"{camera}/image_raw"


def info_topic(camera: str) -> str:
    """Relative topic of a camera's calibration."""
    return f"{camera}/camera_info"


def decode_picture(msg: Any) -> Image:
    """The picture that a `sensor_msgs` Image holds.

    Raises:
        CodecError: It cannot be read.
    """
    return Image(stamp_to_ns(msg.header.stamp), str(msg.header.frame_id), decode_image(msg))


def decode_compressed_picture(msg: Any) -> Image:
    """The picture that a `sensor_msgs` CompressedImage holds.

    Raises:
        CodecError: It cannot be read.
    """
    stamp_ns, frame = stamp_to_ns(msg.header.stamp), str(msg.header.frame_id)
    return Image(stamp_ns, frame, decode_compressed_image(msg))


def process_image(picture: Pixels, spec: ImageSpec, lens: Lens | None = None) -> Pixels:
    """The part of the picture that the spec keeps, at its size: (height, width, 3) uint8.

    Takes the distortion out if the spec says so, crops, and resizes by area: every pixel of the
    result is the mean of what it covers, in whole numbers, so that the same picture gives the same
    bits on every machine.

    Args:
        picture: RGB, shape (H, W, 3), at any resolution.
        spec: What the checkpoint wants.
        lens: The camera's calibration; needed when `spec.rectify` is set.

    Raises:
        ImageError: The calibration is missing (`Reason.MISSING`), or is that of another resolution
            (`Reason.BAD_MESSAGE`).
    """
    height, width = picture.shape[:2]
    box = crop_box(spec, height, width)
    if not spec.rectify:
        left, top, right, bottom = box
        return resized(picture[top:bottom, left:right], spec.height, spec.width)
    if lens is None:
        raise ImageError(
            "the checkpoint wants rectified images, and no camera_info has come",
            Reason.MISSING,
        )
    if (lens.height, lens.width) != (height, width):
        raise ImageError(
            f"wanted a picture of {lens.width}x{lens.height} as its camera_info says, got "
            f"{width}x{height}",
            Reason.BAD_MESSAGE,
        )
    return resized(rectified(picture, lens, box), spec.height, spec.width)


def crop_box(spec: ImageSpec, height: int, width: int) -> tuple[int, int, int, int]:
    """What is kept of a picture [px]: left, top, right, bottom; at least one pixel."""
    left, top, right, bottom = spec.crop
    x, y = min(round(left * width), width - 1), min(round(top * height), height - 1)
    return x, y, max(round(right * width), x + 1), max(round(bottom * height), y + 1)


def resized(picture: Pixels, height: int, width: int) -> Pixels:
    """The picture at another size: each pixel the mean of the area it covers, half rounded up."""
    rows, columns, _ = picture.shape
    if (rows, columns) == (height, width):
        return np.ascontiguousarray(picture)
    # Sums of whole numbers: 255 * rows fits int32, and times columns int64.
    flat = picture.reshape(rows, -1).astype(np.int32)
    squeezed = np.asarray(_areas(rows, height) @ flat).reshape(height, columns, 3)
    turned = np.ascontiguousarray(squeezed.transpose(1, 0, 2)).reshape(columns, -1)
    sums = np.asarray(_areas(columns, width) @ turned.astype(np.int64))
    area = rows * columns
    means = (2 * sums + area) // (2 * area)
    return np.ascontiguousarray(
        means.reshape(width, height, 3).transpose(1, 0, 2).astype(np.uint8)
    )


@lru_cache(maxsize=32)
def _areas(before: int, after: int) -> csr_array:
    """How much of each old pixel lies in each new one, (after, before); a row sums to `before`."""
    edges = np.arange(after + 1) * before
    first = edges[:-1] // after
    last = -(-edges[1:] // after)
    rows = np.repeat(np.arange(after), last - first)
    columns = np.concatenate([np.arange(a, b) for a, b in zip(first, last, strict=True)])
    begin = np.maximum(columns * after, edges[rows])
    end = np.minimum((columns + 1) * after, edges[rows + 1])
    return csr_array(((end - begin).astype(np.int32), (rows, columns)), (after, before))
