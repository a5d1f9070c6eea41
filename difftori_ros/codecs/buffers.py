# SPDX-License-Identifier: MIT
"""What a message says about its size, held against the bytes that it carries.

Nothing is allocated, and no view is made, before both agree.
"""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .fields import CodecError


def check_bytes(msg: Any, what: str, row_bytes: int, step: int) -> None:
    """Pass when `msg.data` holds `height` rows of `row_bytes`, `step` bytes apart.

    Raises:
        CodecError: Rows overlap, or the data are shorter than that.
    """
    height, have = int(msg.height), len(msg.data)
    size = f"{height} rows of {int(msg.width)}"
    if height > 1 and step < row_bytes:
        raise CodecError(f"{what}: wanted a step of at least {row_bytes} bytes, got {step}")
    need = (height - 1) * step + row_bytes if height and row_bytes else 0
    if have < need:
        raise CodecError(f"{what}: wanted {need} bytes of data for {size}, got {have}")


def byte_order(msg: Any) -> str:
    """Of the numbers in the message's data, as numpy writes it."""
    return ">" if msg.is_bigendian else "<"


def pixels(msg: Any, what: str, channels: int, kind: str) -> NDArray[Any]:
    """A view (H, W, channels) of an Image's data; (H, W) for one channel.

    Args:
        msg: A `sensor_msgs` Image.
        what: How errors call it.
        channels: Numbers per pixel.
        kind: numpy's name of the type of one number, without byte order.

    Raises:
        CodecError: The image is empty, or its data are shorter than the stated size.
    """
    height, width = int(msg.height), int(msg.width)
    if height == 0 or width == 0:
        raise CodecError(f"{what}: wanted pixels, got height {height} and width {width}")
    dtype = np.dtype(byte_order(msg) + kind)
    pixel = channels * dtype.itemsize
    check_bytes(msg, what, row_bytes=width * pixel, step=int(msg.step))
    # a single row needs no step, and some drivers leave it 0
    step = int(msg.step) if height > 1 else width * pixel
    shape, strides = (height, width, channels), (step, pixel, dtype.itemsize)
    view = np.ndarray(shape, dtype, msg.data, strides=strides)
    return view[:, :, 0] if channels == 1 else view


def byte_array(values: NDArray[Any]) -> array[int]:
    """The bytes of `values` in the container that a message takes without copying."""
    data = array("B")
    if values.size:
        data.frombytes(np.ascontiguousarray(values).data.cast("B"))
    return data
