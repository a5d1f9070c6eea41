# SPDX-License-Identifier: MIT
"""Pictures of an episode: frames with the planned path drawn in, as an MP4 and as a strip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Frame = NDArray[np.uint8]
PATH_COLOR = (255, 140, 0)
NEAR_COLOR = (255, 255, 255)


def draw_path(frame: Frame, path: NDArray[np.float64], projection: NDArray[np.float64]) -> Frame:
    """The frame with the planned tip path drawn in as dots joined by a line.

    Args:
        frame: Picture (H, W, 3) uint8.
        path: Tip positions in the base frame (K, 3) [m].
        projection: From the base frame to pixels (3, 4).
    """
    picture = Image.fromarray(frame)
    seen = projection @ np.hstack([path, np.ones((len(path), 1))]).T
    seen = seen[:, seen[2] > 0]  # behind the camera there is no picture
    pixels = [(float(x), float(y)) for x, y in (seen[:2] / seen[2]).T]
    draw = ImageDraw.Draw(picture)
    radius = max(2, frame.shape[0] // 128)
    if len(pixels) > 1:
        draw.line(pixels, fill=PATH_COLOR, width=radius)
    for k, (x, y) in enumerate(pixels):
        color = NEAR_COLOR if k == 0 else PATH_COLOR
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)
    return np.asarray(picture)


def write_video(path: Path, frames: Sequence[Frame], fps: float) -> None:
    """Write an H.264 MP4."""
    path.parent.mkdir(parents=True, exist_ok=True)
    imageio.mimwrite(path, list(frames), fps=fps, macro_block_size=8, quality=8)


def write_strip(path: Path, frames: Sequence[Frame], count: int = 6) -> None:
    """Write `count` frames, evenly spaced from first to last, side by side as a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    chosen = [
        frames[k] for k in np.linspace(0, len(frames) - 1, min(count, len(frames))).astype(int)
    ]
    imageio.imwrite(path, np.concatenate(chosen, axis=1))
