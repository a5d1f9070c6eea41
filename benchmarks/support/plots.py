# SPDX-License-Identifier: MIT
"""The picture of `benchmarks/solver.py`: times on the left, values on the right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")
import matplotlib.pyplot as plt


def draw(tables: list[dict[str, Any]], quality: list[dict[str, Any]], path: Path) -> None:
    """Bars of the median times of the first table, and the quality curves of every problem."""
    figure, axes = plt.subplots(1, 1 + len(quality), figsize=(5 + 4 * len(quality), 4.5))
    rows = tables[0]["rows"]
    axes[0].barh([row["name"] for row in rows], [row["p50_ms"] for row in rows])
    axes[0].set_xscale("log")
    axes[0].invert_yaxis()
    axes[0].set_xlabel("time per solve, median [ms]")
    axes[0].set_title(tables[0]["title"], fontsize=9)
    for axis, curves in zip(axes[1:], quality, strict=True):
        for name, points in curves["share_of_best"].items():
            if name != "mppi":
                axis.plot([int(k) for k in points], list(points.values()), "o-", ms=3, label=name)
        axis.set_xscale("log")
        axis.set_ylim(0, 1.02)
        axis.set_xlabel("evaluations of value and gradient")
        axis.set_ylabel("gain, share of the best found (median)")
        axis.set_title(curves["problem"], fontsize=9)
    axes[-1].legend(fontsize=7)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)
