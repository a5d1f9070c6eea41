# SPDX-License-Identifier: MIT
"""`difftori inspect` and `difftori export`: what a checkpoint sees, and its graphs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from tyro.conf import FlagCreatePairsOff, UseAppendAction

from difftori_ros.config.paths import find_checkpoint

from .options import Command, needed_for, policy_values, remaps_of


@dataclass(frozen=True)
class Inspect(Command):
    """Show what a policy sees, from its card or live from the robot's topics."""

    checkpoint: str
    """Folder or shipped name."""
    live: FlagCreatePairsOff[bool] = False
    """Listen to the robot's topics."""
    robot: str = "panda"
    """Robot profile: shipped name or YAML file."""
    out: Path = Path("out/inspect.png")
    """The picture of --live."""
    once: FlagCreatePairsOff[bool] = False
    """One look, not one a second."""
    demos: Path | None = None
    """Demonstrations that it was trained on, to be shown beside."""
    sim_time: FlagCreatePairsOff[bool] = False
    """Take the time from /clock."""
    config_file: Path | None = None
    """Parameters of the policy node, laid over the shipped ones."""
    remap: UseAppendAction[tuple[str, ...]] = ()
    """A stream is on another topic, NAME:=TOPIC; may be given several times."""

    def run(self, console: Console) -> int:
        """Show the card, or look until interrupted; 1 when nothing was seen in time."""
        from difftori_models.checkpoint import load_card
        from difftori_models.data import load_demos
        from difftori_ros.policy.compatibility import check_card
        from difftori_ros.robot.profile import load_profile
        from difftori_ros.tools.input_report import card_table

        remaps = remaps_of(self.remap)
        folder, profile = find_checkpoint(self.checkpoint), load_profile(self.robot)
        demos = load_demos(self.demos) if self.demos else None
        card = load_card(folder)
        if not self.live:
            console.print(card_table(card))
            return 0
        check_card(card, profile)
        with needed_for("a live look", "ROS 2's Python packages"):
            from difftori_ros.tools.inspect_node import inspect_live
        return inspect_live(
            card,
            profile,
            policy_values(self.config_file),
            self.out,
            console,
            remaps=remaps,
            demos=demos,
            once=self.once,
            sim_time=self.sim_time,
        )


@dataclass(frozen=True)
class Export(Command):
    """Write a checkpoint as ONNX graphs, which run without PyTorch."""

    checkpoint: str
    """Folder or shipped name."""
    out: Path | None = None
    """Folder; the checkpoint's own by default."""
    check: bool = True
    """Compare with PyTorch first, and refuse to write graphs that differ."""

    def run(self, console: Console) -> int:
        """Write the graphs."""
        with needed_for("exporting", "PyTorch"):
            from difftori_models.inference.export import export
        folder = find_checkpoint(self.checkpoint)
        out = folder if self.out is None else self.out
        manifest = export(folder, out, check=self.check)
        compared = (
            f"at most {manifest.difference:.1e} from PyTorch on {manifest.checked} random "
            "observations"
            if manifest.checked
            else "not compared with PyTorch"
        )
        console.print(f"wrote {', '.join(manifest.graphs)} to {out}: {compared}", soft_wrap=True)
        return 0
