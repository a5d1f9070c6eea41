# SPDX-License-Identifier: MIT
"""Training curves: one JSON object per validation in `curves.jsonl`, and a picture of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from difftori_models.contract.strict_json import loads, write_atomically

PHASES = ("base", "fold0", "fold1", "head")
"""Phases of a run, in order; those that a run has no use for are left out."""


class Curves:
    """The curves of a run; rows past the point from which a resumed run goes on are dropped."""

    def __init__(self, folder: Path, phase: str | None = None, step: int = 0) -> None:
        """Open the curves.

        Args:
            folder: Directory of the run.
            phase: Phase that goes on, None for a new run.
            step: Updates of that phase that are kept.
        """
        self._file = folder / "curves.jsonl"
        self._picture = folder / "curves.png"
        self.rows: list[dict[str, Any]] = []
        folder.mkdir(parents=True, exist_ok=True)
        if phase is None or not self._file.is_file():
            return
        order = (*PHASES, "done")
        for line in self._file.read_text().splitlines():
            row = loads(line)
            if (order.index(row["phase"]), row["step"]) <= (order.index(phase), step):
                self.rows.append(row)

    def add(self, row: dict[str, Any]) -> None:
        """`row` is the last line of the file."""
        self.rows.append(row)
        write_atomically(self._file, "".join(json.dumps(r) + "\n" for r in self.rows).encode())

    def draw(self, title: str) -> None:
        """`curves.png` shows training and validation error over updates, one panel per phase."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        phases = [p for p in PHASES if any(r["phase"] == p for r in self.rows)]
        figure = Figure(figsize=(5.5 * max(1, len(phases)), 3.8), layout="constrained")
        FigureCanvasAgg(figure)
        for k, phase in enumerate(phases):
            axes = figure.add_subplot(1, len(phases), k + 1)
            rows = [r for r in self.rows if r["phase"] == phase]
            for key in [key for key in rows[0] if key.startswith(("train", "val"))]:
                style = ":" if key.startswith("train") else "-"
                values = [r[key] for r in rows]
                axes.plot([r["step"] for r in rows], values, style, label=key.replace("_", " "))
            axes.set(title=f"{title}: {phase}", xlabel="update", ylabel="per action entry [std]")
            if all(row.get("train_loss", 0) >= 0 for row in rows):
                axes.set_ylim(bottom=0)
            axes.legend(frameon=False)
            axes.grid(alpha=0.3)
        figure.savefig(self._picture, dpi=120)
