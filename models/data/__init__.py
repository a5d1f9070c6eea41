# SPDX-License-Identifier: MIT
"""Demonstrations on disk, and the samples that are drawn of them."""

from .demonstrations import Demos, DemosError, Meta, load_demos, write_demos

__all__ = [
    "Demos",
    "DemosError",
    "Meta",
    "load_demos",
    "write_demos",
]
