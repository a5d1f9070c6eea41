# SPDX-License-Identifier: MIT
"""Demonstrations, in memory and on disk, and the samples that training takes of them.

`format` says which arrays there are, `demonstrations` holds them and makes them of recorded
episodes, `files` writes and reads them, `samples` makes state vectors, clouds, images and chunks.
"""

from .demonstrations import DemoEpisode, Demos
from .files import load_demos, write_demos
from .format import DemosError, Meta
from .samples import (
    action_chunks,
    camera_images,
    earlier_steps,
    point_clouds,
    split_episodes,
    state_vectors,
)

__all__ = [
    "DemoEpisode",
    "Demos",
    "DemosError",
    "Meta",
    "action_chunks",
    "camera_images",
    "earlier_steps",
    "load_demos",
    "point_clouds",
    "split_episodes",
    "state_vectors",
    "write_demos",
]
