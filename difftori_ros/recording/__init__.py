# SPDX-License-Identifier: MIT
"""The black box's ring, MCAP files, bags, and the replay of bags."""

from .bag_reader import Bag, BagError
from .mcap_file import Channel, RecordingError
from .ring_buffer import FaultWatch, Ring

__all__ = ["Bag", "BagError", "Channel", "FaultWatch", "RecordingError", "Ring"]
