# SPDX-License-Identifier: MIT
"""A picture of a run's log: training and validation error over updates, one panel per phase."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from difftori_models.training.run_log import Row


def draw_curves(rows: Sequence[Row], file: Path, title: str) -> None:
    """The picture lies in `file`, a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    phases = list(dict.fromkeys(row["phase"] for row in rows))
    figure = Figure(figsize=(5.5 * max(1, len(phases)), 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    for k, phase in enumerate(phases):
        axes = figure.add_subplot(1, len(phases), k + 1)
        own = [row for row in rows if row["phase"] == phase]
        for key in [key for key in own[0] if key.startswith(("train", "val"))]:
            style = ":" if key.startswith("train") else "-"
            values = [row[key] for row in own]
            axes.plot([row["step"] for row in own], values, style, label=key.replace("_", " "))
        axes.set(title=f"{title}: {phase}", xlabel="update", ylabel="per action entry [std]")
        if all(row.get("train_loss", 0) >= 0 for row in own):
            axes.set_ylim(bottom=0)
        axes.legend(frameon=False)
        axes.grid(alpha=0.3)
    figure.savefig(file, dpi=120)
