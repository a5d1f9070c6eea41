# SPDX-License-Identifier: MIT
"""A Bayer mosaic, one colour per pixel as the sensor measures it, becomes an RGB image.

Bilinear: a colour that a pixel has not measured is the rounded mean of its two or four nearest
neighbours that have. At the edges, what lies outside is mirrored inside.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

PATTERNS = ("rggb", "bggr", "gbrg", "grbg")
"""Colours of the upper left four pixels, row by row."""
OPPOSITE = {"r": "b", "b": "r"}


def demosaic(mosaic: NDArray[Any], pattern: str) -> NDArray[Any]:
    """RGB image (H, W, 3) of the native type that `mosaic` (H, W) has in some byte order.

    Args:
        mosaic: 8 or 16 bits, at least 2 rows and 2 columns.
        pattern: One of `PATTERNS`.
    """
    height, width = mosaic.shape
    # sums of four must not overflow
    wide = np.pad(mosaic.astype(np.uint16 if mosaic.itemsize == 1 else np.uint32), 1, "reflect")
    out = np.empty((height, width, 3), dtype=mosaic.dtype.newbyteorder("="))
    for place, color in enumerate(pattern):
        top, left = divmod(place, 2)

        def mean(*offsets: tuple[int, int], top: int = top, left: int = left) -> NDArray[Any]:
            """Of the neighbours at these offsets, for every pixel of this place."""
            total: Any = len(offsets) // 2
            for down, right in offsets:
                y, x = 1 + top + down, 1 + left + right
                total = total + wide[y : height + 1 + down : 2, x : width + 1 + right : 2]
            return total // len(offsets) if len(offsets) > 1 else total

        found = {color: mean((0, 0))}
        if color == "g":
            beside = pattern[2 * top + 1 - left]
            found[beside] = mean((0, -1), (0, 1))
            found[OPPOSITE[beside]] = mean((-1, 0), (1, 0))
        else:
            found["g"] = mean((0, -1), (0, 1), (-1, 0), (1, 0))
            found[OPPOSITE[color]] = mean((-1, -1), (-1, 1), (1, -1), (1, 1))
        for channel, name in enumerate("rgb"):
            out[top::2, left::2, channel] = found[name]
    return out
