# SPDX-License-Identifier: MIT
"""What became of killed and stopped processes: kept as it goes, summed up, and drawn."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from tests.support.kills import Episode

mpl.use("agg")
import matplotlib.pyplot as plt


class Record:
    """The episodes so far, in a file of one line for each; a run that was broken off goes on."""

    def __init__(self, path: Path, settings: dict[str, Any], turns: int) -> None:
        """Read what is there; a file that has all the turns is of a run that is over, and goes.

        Raises:
            SystemExit: It is of other settings.
        """
        self._path, self._settings = path, settings
        self.seen: dict[int, Episode] = {}
        for line in path.read_text().splitlines() if path.exists() else ():
            row = json.loads(line)
            if row["settings"] != settings:
                raise SystemExit(f"{path} is of {row['settings']}, not of {settings}")
            self.seen[row["turn"]] = Episode(**row["episode"])
        if len(self.seen) >= turns:
            self.seen.clear()
            path.unlink()

    def add(self, turn: int, episode: Episode) -> None:
        """The episode is in the file."""
        self.seen[turn] = episode
        self._path.parent.mkdir(parents=True, exist_ok=True)
        row = {"turn": turn, "settings": self._settings, "episode": asdict(episode)}
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def episodes(self) -> list[Episode]:
        """All of them, in the order of the turns."""
        return [self.seen[turn] for turn in sorted(self.seen)]


def summary(seen: list[Episode]) -> dict[str, dict[str, Any]]:
    """Of every kind: how many, how long to rest and to a name, the largest step, violations."""
    found: dict[str, dict[str, Any]] = {}
    for label in dict.fromkeys(one.label for one in seen):
        own = [one for one in seen if one.label == label]
        found[label] = {"episodes": len(own)}
        for key, at in (("rest_s", 50), ("named_s", 50)):
            values = [getattr(one, key) for one in own if getattr(one, key) is not None]
            found[label][f"{key}_p50"] = _rounded(np.percentile(values, at) if values else None)
            found[label][f"{key}_max"] = _rounded(max(values, default=None))
        steps = [one.step_rad for one in own if one.step_rad is not None]
        found[label]["step_rad_max"] = _rounded(max(steps, default=None))
        found[label]["violations"] = sum(bool(one.violation) for one in own)
    return found


def _rounded(value: Any) -> float | None:
    return None if value is None else round(float(value), 4)


def plot(seen: list[Episode], bound_s: float, path: Path) -> None:
    """Time to rest of every episode, by when the signal came."""
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    for label in dict.fromkeys(one.label for one in seen):
        own = [one for one in seen if one.label == label and one.rest_s is not None]
        if own:
            times = [one.delay_s for one in own]
            rests = np.array([one.rest_s for one in own], float)
            axes.plot(times, rests, ".", label=label)
    axes.axhline(bound_s, color="black", linewidth=1, label="bound")
    axes.set(xlabel="signal after [s]", ylabel="time to rest [s]", ylim=(0, None))
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def write(seen: list[Episode], bound_s: float, others: dict[str, Any], path: Path) -> None:
    """What was seen, as JSON and as a picture.

    Args:
        seen: The episodes.
        bound_s: Time within which the arm must rest [s].
        others: What else is to stand in the JSON.
        path: The JSON's.
    """
    found = {
        "violations": sum(bool(one.violation) for one in seen),
        "episodes": len(seen),
        "kinds": summary(seen),
        "what_was_violated": [one.violation for one in seen if one.violation],
        "runs": [asdict(one) for one in seen],
        **others,
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=2) + "\n")
    plot(seen, bound_s, path.with_suffix(".png"))
