# SPDX-License-Identifier: MIT
"""Images and depth images: `sensor_msgs` Image to arrays and back.

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
DEPTHS = {"16UC1": "u2", "mono16": "u2", "32FC1": "f4"}
"""Encodings that `decode_depth` takes, and their numbers."""


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


def decode_depth(msg: Any) -> NDArray[np.float32]:
    """Depth image (H, W) float32 [m] in memory of its own, NaN where nothing was measured.

    By REP 118: 16UC1 (or mono16, as some drivers call it) is in millimetres with 0 for no
    measurement; 32FC1 is in metres, where everything that is not a finite positive number is no
    measurement.

    Raises:
        CodecError: The encoding is none of `DEPTHS`, the image is empty, or the data are shorter
            than the stated size.
    """
    encoding = str(msg.encoding)
    if encoding not in DEPTHS:
        raise CodecError(f"depth image: wanted encoding {', '.join(DEPTHS)}, got '{encoding}'")
    raw = pixels(msg, "depth image", 1, DEPTHS[encoding])
    return millimetres(raw) if raw.dtype.kind == "u" else metres(raw)


def millimetres(raw: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Depth [m], NaN for 0."""
    depth = raw.astype(np.float32)
    depth *= np.float32(1e-3)
    depth[raw == 0] = np.nan
    return depth


def metres(raw: NDArray[Any]) -> NDArray[np.float32]:
    """Depth [m], NaN for what is no finite positive number."""
    depth = raw.astype(np.float32)
    depth[~(np.isfinite(depth) & (depth > 0))] = np.nan
    return depth


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
