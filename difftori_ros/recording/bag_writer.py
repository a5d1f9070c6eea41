# SPDX-License-Identifier: MIT
"""Writes a bag as it is heard: one MCAP file, there under its name once it is complete."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from .mcap_file import Channel, begin


class BagWriter:
    """An open file; what a crash leaves ends in `.part`, and nothing is ever overwritten.

    Attributes:
        path: Where the file will be.
        counts: Messages written, by role.
    """

    def __init__(self, path: str | Path, channels: Sequence[Channel]):
        """Make the file, and its folder if that is not there.

        Raises:
            OSError: It is there already, or cannot be written.
        """
        self.path = Path(path)
        if self.path.suffix != ".mcap":
            raise OSError(f"wanted a file that ends in .mcap, got {self.path}")
        if self.path.exists():
            raise FileExistsError(f"{self.path} is there already; it is not overwritten")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._part = self.path.with_suffix(".part")
        self._stream = self._part.open("xb")
        self._writer, self._numbers = begin(self._stream, channels)
        self.counts: Counter[str] = Counter({channel.role: 0 for channel in channels})

    def write(self, role: str, data: bytes, time_ns: int) -> None:
        """One message that came at `time_ns` [ns, clock on the wall]."""
        sequence = self.counts[role]
        self._writer.add_message(self._numbers[role], time_ns, data, time_ns, sequence)
        self.counts[role] += 1

    def close(self) -> None:
        """The file is complete, and on the disk."""
        self._writer.finish()
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()
        self._part.rename(self.path)
