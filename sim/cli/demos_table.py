# SPDX-License-Identifier: MIT
"""What a file of demonstrations holds, as a table."""

from __future__ import annotations

import numpy as np
from rich.markup import escape
from rich.table import Table

from difftori_models.data import Demos


def demos_table(demos: Demos) -> Table:
    """Task, episodes, what is seen, what actions mean, and the command that made the file."""
    meta, lengths = demos.meta, np.unique(demos.episode, return_counts=True)[1]
    spec, action = meta.observation, meta.action
    rows = [
        ("task", f"{meta.task}, robot {meta.robot}"),
        (
            "episodes",
            f"{len(lengths)}, {len(demos)} steps of {action.dt_s:g} s; {lengths.min()} to "
            f"{lengths.max()} steps each, median {np.median(lengths):g}",
        ),
        (
            "seeds",
            f"{demos.seed.min()} to {demos.seed.max()}" if demos.seed.min() >= 0 else "none",
        ),
        ("noise", f"{meta.noise:g} on executed actions"),
        ("joints", " ".join(spec.joint_names) or "none"),
        ("poses", " ".join(demos.poses) or "none"),
        ("state", " ".join(spec.features)),
    ]
    if demos.points is not None:
        rows.append(("cloud", " x ".join(map(str, demos.points.shape[1:]))))
    rows += [
        (f"image '{name}'", " x ".join(map(str, images.shape[1:])))
        for name, images in demos.images.items()
    ]
    rows += [
        ("actions", f"{action.kind}: {' '.join(action.names)}"),
        ("sha256", demos.sha256),
        ("made by", meta.command),
    ]
    table = Table(show_header=False)
    for key, text in rows:
        table.add_row(key, escape(text))
    return table
