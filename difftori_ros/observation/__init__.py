# SPDX-License-Identifier: MIT
"""Messages become what the policy sees: streams, frames, points, images, one observation.

`Observer` is the way in: push what arrives, ask for an observation at a time. Point clouds,
images, the filter of the arm's own points and the watch for unfamiliar inputs have modules of
their own.
"""

from .frame_tree import FrameError, FrameTree
from .observer import Observer, Refusal

__all__ = [
    "FrameError",
    "FrameTree",
    "Observer",
    "Refusal",
]
