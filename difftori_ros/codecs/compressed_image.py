# SPDX-License-Identifier: MIT
"""Compressed images: `sensor_msgs` CompressedImage, JPEG and PNG, to arrays.

Messages are taken by their attributes alone, so this module imports no ROS package. The size that
a picture states is judged before its pixels are unpacked: a few bytes may claim billions of them.
"""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .depth_image import metres, millimetres
from .fields import CodecError
from .image import gray_to_rgb, to_8_bit

MOST_PIXELS = 2**25
"""Larger pictures are refused; that of an 8K camera has 33.2 million pixels."""
GRAYS_16 = ("I;16", "I;16B", "I")
"""Pillow's modes for 16 bits of gray; the last is that of versions before 10.3."""
DEPTH_HEADER = struct.Struct("<iff")
"""What compressed_depth_image_transport puts before the PNG: format, quantisation A and B."""


def decode_compressed_image(msg: Any) -> NDArray[np.uint8]:
    """RGB image (H, W, 3) uint8 of a JPEG or PNG; 16 bits are rounded to 8, alpha is left out.

    The bytes tell JPEG from PNG; `format` is only asked whether red and blue were exchanged
    ("compressed rgb", as compressed_image_transport writes).

    Raises:
        CodecError: The data are neither JPEG nor PNG, truncated or corrupt, of more than
            `MOST_PIXELS`, or with other than gray or RGB colours.
    """
    picture = _unpack("compressed image", bytes(memoryview(msg.data)), ("JPEG", "PNG"))
    if picture.mode in GRAYS_16:
        return gray_to_rgb(to_8_bit(_gray_16(picture)))
    if picture.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
        raise CodecError(
            f"compressed image: wanted gray or RGB colours, got Pillow's mode '{picture.mode}'"
        )
    if picture.mode in ("1", "L", "LA"):
        return gray_to_rgb(np.asarray(picture.convert("L")))
    rgb = np.asarray(picture.convert("RGB"))
    exchanged = "compressed rgb" in str(msg.format)
    return np.ascontiguousarray(rgb[:, :, ::-1]) if exchanged else rgb


def decode_compressed_depth(msg: Any) -> NDArray[np.float32]:
    """Depth image (H, W) float32 [m], NaN where nothing was measured.

    Takes what compressed_depth_image_transport sends: 16UC1 or mono16 [mm] as PNG, and 32FC1 [m]
    as a PNG of A / depth + B, with A and B in front.

    Raises:
        CodecError: `format` names another encoding or codec, or the data are truncated, corrupt,
            or of more than `MOST_PIXELS`.
    """
    encoding, _, codec = (part.strip() for part in str(msg.format).partition(";"))
    if encoding not in ("16UC1", "mono16", "32FC1") or codec not in (
        "compressedDepth",
        "compressedDepth png",
    ):
        raise CodecError(
            "compressed depth: wanted format '16UC1; compressedDepth png' or '32FC1; "
            f"compressedDepth png', got '{msg.format}'"
        )
    data = bytes(memoryview(msg.data))
    if len(data) <= DEPTH_HEADER.size:
        raise CodecError(
            f"compressed depth: wanted {DEPTH_HEADER.size} bytes and a PNG, got {len(data)} bytes"
        )
    picture = _unpack("compressed depth", data[DEPTH_HEADER.size :], ("PNG",))
    if picture.mode not in GRAYS_16:
        raise CodecError(
            f"compressed depth: wanted 16 bits of gray, got Pillow's mode '{picture.mode}'"
        )
    raw = _gray_16(picture)
    if encoding != "32FC1":
        return millimetres(raw)
    _, a, b = DEPTH_HEADER.unpack_from(data)
    if not (np.isfinite([a, b]).all() and a > 0):
        raise CodecError(
            f"compressed depth: wanted finite quantisation A > 0 and B, got {a} and {b}"
        )
    with np.errstate(divide="ignore", over="ignore"):
        depth = np.float32(a) / (raw.astype(np.float32) - np.float32(b))
    depth[raw == 0] = np.nan
    return metres(depth)


def _unpack(what: str, data: bytes, formats: tuple[str, ...]) -> Image.Image:
    """The picture with all its pixels, whatever the parsers make of the bytes."""
    try:
        picture = Image.open(BytesIO(data), formats=formats)
        if picture.width * picture.height > MOST_PIXELS:
            raise CodecError(
                f"{what}: wanted at most {MOST_PIXELS} pixels, "
                f"got {picture.height} rows of {picture.width}"
            )
        picture.load()
        return picture
    except CodecError:
        raise
    except Exception as error:  # parsers fail in more ways than they document
        raise CodecError(
            f"{what}: wanted a whole {' or '.join(formats)}, "
            f"got {len(data)} bytes that cannot be read: {error}"
        ) from error


def _gray_16(picture: Image.Image) -> NDArray[np.uint16]:
    return np.asarray(picture).astype(np.uint16)
