# SPDX-License-Identifier: MIT
"""Colour images: `sensor_msgs` Image to arrays and back. Depth images are in `depth_image`.

Messages are taken by their attributes alone, so this module imports no ROS package.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bayer import PATTERNS, demosaic
from .buffers import byte_array, pixels
from .fields import CodecError, ns_to_stamp

CHANNELS = {
    "rgb8": (3, (0, 1, 2)),
    "bgr8": (3, (2, 1, 0)),
    "rgba8": (4, (0, 1, 2)),
    "bgra8": (4, (2, 1, 0)),
}
"""Encoding to bytes per pixel and where red, green and blue are among them."""
GRAYS = {"mono8": "u1", "mono16": "u2"}
BAYERS = {f"bayer_{pattern}{8 * size}": (pattern, size) for pattern in PATTERNS for size in (1, 2)}
COLORS = (*CHANNELS, *GRAYS, *BAYERS)
"""Encodings that `decode_image` takes."""


def decode_image(msg: Any) -> NDArray[np.uint8]:
    """RGB image (H, W, 3) uint8.

    That of an rgb8 message is a view of the message's memory, so neither may be changed. Gray
    becomes three equal channels, Bayer patterns are interpolated, 16 bits are rounded to 8, alpha
    is left out.

    Raises:
        CodecError: The encoding is not one of `COLORS`, the image is empty, or the data are
            shorter than the stated size.
    """
    encoding = str(msg.encoding)
    if encoding in CHANNELS:
        channels, order = CHANNELS[encoding]
        view = pixels(msg, "image", channels, "u1")
        return view if encoding == "rgb8" else picked(view, order)
    if encoding in GRAYS:
        return gray_to_rgb(to_8_bit(pixels(msg, "image", 1, GRAYS[encoding])))
    if encoding in BAYERS:
        pattern, size = BAYERS[encoding]
        mosaic = pixels(msg, "image", 1, f"u{size}")
        if min(mosaic.shape) < 2:
            raise CodecError(
                "image: wanted at least 2 rows and columns of a Bayer pattern, "
                f"got {mosaic.shape[0]} and {mosaic.shape[1]}"
            )
        return to_8_bit(demosaic(mosaic, pattern))
    raise CodecError(f"image: wanted encoding {', '.join(COLORS)}, got '{encoding}'")


def to_8_bit(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Unsigned numbers of 8 or 16 bits in 8 bits, rounded: 65535 becomes 255."""
    if values.dtype.itemsize == 1:
        return values
    # the same as division by 257, rounded, for every 16-bit number
    return ((values.astype(np.uint32) * 255 + 32895) >> 16).astype(np.uint8)


def picked(view: NDArray[np.uint8], order: tuple[int, ...]) -> NDArray[np.uint8]:
    """The channels `order` of an image (H, W, C), in memory of its own."""
    out = np.empty((*view.shape[:2], len(order)), dtype=np.uint8)
    for place, channel in enumerate(order):
        # one channel after the other: eight times faster than a view with reversed channels
        out[:, :, place] = view[:, :, channel]
    return out


def gray_to_rgb(gray: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) as (H, W, 3) with equal channels, in memory of its own."""
    return picked(gray[:, :, None], (0, 0, 0))


def encode_image(rgb: NDArray[np.uint8], msg: Any, stamp_ns: int, frame_id: str) -> None:
    """Fill a `sensor_msgs` Image with an RGB image (H, W, 3) uint8, encoding rgb8.

    Raises:
        CodecError: The array is not (H, W, 3) uint8.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise CodecError(f"image: wanted (H, W, 3) uint8, got {rgb.shape} {rgb.dtype}")
    ns_to_stamp(stamp_ns, msg.header.stamp)
    msg.header.frame_id = frame_id
    msg.height, msg.width = rgb.shape[0], rgb.shape[1]
    msg.encoding = "rgb8"
    msg.is_bigendian = 0
    msg.step = 3 * rgb.shape[1]
    msg.data = byte_array(rgb)
