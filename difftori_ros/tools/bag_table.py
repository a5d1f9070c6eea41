# SPDX-License-Identifier: MIT
"""Which topics a bag holds, as a table."""

from __future__ import annotations

from pathlib import Path

from rich.markup import escape
from rich.table import Table

from difftori_ros.recording.bag_reader import Bag


def bag_table(path: Path) -> Table:
    """Every topic with its type, its number of messages and their mean rate [Hz].

    Raises:
        BagError: There is no such bag, or it is damaged.
    """
    with Bag(path) as bag:
        table = Table(title=escape(f"{path}: {bag.duration_s:.1f} s"))
        for head in ("topic", "type"):
            table.add_column(head, overflow="fold")
        for head in ("messages", "rate [Hz]"):
            table.add_column(head, justify="right")
        for topic, kind in sorted(bag.topics.items()):
            count = bag.counts[topic]
            rate = f"{count / bag.duration_s:.1f}" if bag.duration_s > 0 else "-"
            table.add_row(escape(topic), escape(kind), str(count), rate)
    return table
