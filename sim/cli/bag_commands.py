# SPDX-License-Identifier: MIT
"""`difftori bag record|show` and `difftori replay`: what was on a robot's topics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from tyro.conf import Positional

from .options import Command, PolicyTopics, needed_for, policy_values, remaps_of


@dataclass(frozen=True, kw_only=True)
class BagRecord(PolicyTopics):
    """Record what the policy sees, from its topics, until interrupted."""

    out: Path
    """The .mcap file."""
    seconds: float | None = None
    """End after this time [s]."""

    def run(self, console: Console) -> int:
        """Record; return the exit status of the recorder."""
        from difftori_ros.robot.profile import load_profile

        remaps, card, profile = remaps_of(self.remap), self.card(), load_profile(self.robot)
        with needed_for("recording", "ROS 2's Python packages"):
            from difftori_ros.nodes.bag_recorder_node import record_bag
        values = policy_values(self.config_file)
        return record_bag(card, profile, self.out, self.seconds, remaps, values)


@dataclass(frozen=True)
class BagShow(Command):
    """Show which topics a bag holds, of which type, and how often they came."""

    file: Positional[Path]
    """rosbag2 folder or .mcap file."""

    def run(self, console: Console) -> int:
        """Show the table."""
        from difftori_ros.tools.bag_table import bag_table

        console.print(bag_table(self.file))
        return 0


@dataclass(frozen=True)
class Replay(Command):
    """Show the recording that a fault has left."""

    file: Positional[Path]
    """The .mcap file that the black box has written."""
    png: Path | None = None
    """Draw joints, commands and statuses there."""

    def run(self, console: Console) -> int:
        """Show the table; draw the picture."""
        with needed_for("replaying", "ROS 2's Python packages"):
            from difftori_ros.tools.show_recording import replay

            replay(self.file, console, self.png)
        return 0
