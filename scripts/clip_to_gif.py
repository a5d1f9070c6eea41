# SPDX-License-Identifier: MIT
"""Make a small GIF of a clip that `./scripts/demo` has written: `clip_to_gif.py CLIP.mp4 OUT.gif`.

Every frame has a palette of its own, so that the few pixels of the cube and the goal keep theirs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import imageio.v3 as imageio
from PIL import Image

FRAME_MS = 100
"""Half of the speed: a frame of the clip is 50 ms of the simulated time."""
LAST_FRAME_MS = 1500
COLOURS = 255
KEPT = (0.08, 0.16, 0.92, 1.0)
"""Left, upper, right, lower edge of what is kept; above the arm there is only the sky."""


def make_gif(clip: Path, out: Path, size: int) -> int:
    """Write the GIF; return its size in bytes.

    Args:
        clip: MP4 file with square frames.
        out: GIF file to write.
        size: Width and height of its pictures [px].
    """
    frames = [Image.fromarray(frame) for frame in imageio.imread(clip)]
    box = tuple(share * frames[0].width for share in KEPT)
    frames = [frame.resize((size, size), Image.Resampling.LANCZOS, box) for frame in frames]
    indexed = [frame.quantize(COLOURS, Image.Quantize.MAXCOVERAGE) for frame in frames]
    times = [FRAME_MS] * (len(indexed) - 1) + [LAST_FRAME_MS]
    out.parent.mkdir(parents=True, exist_ok=True)
    indexed[0].save(out, save_all=True, append_images=indexed[1:], duration=times, loop=0)
    return out.stat().st_size


def main() -> None:
    """Read the arguments and write the GIF."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clip", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", type=int, default=320, help="width and height [px]")
    arguments = parser.parse_args()
    make_gif(arguments.clip, arguments.out, arguments.size)


if __name__ == "__main__":
    main()
