# SPDX-License-Identifier: MIT
"""Messages become what the policy sees: streams, frames, points, images, one observation.

`Observer` is the way in: push what arrives into its `streams`, ask for an observation at a time;
`make_observer` builds one from a card, a robot and parameters. Point clouds, images, the filter of
the arm's own points and the watch for unfamiliar inputs have modules of their own.
"""

from .frame_tree import FrameError, FrameTree
from .observer import Observer, make_observer
from .stream_set import Refusal, StreamSet

__all__ = [
    "FrameError",
    "FrameTree",
    "Observer",
    "Refusal",
    "StreamSet",
    "make_observer",
]
