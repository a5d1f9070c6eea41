# SPDX-License-Identifier: MIT
"""What an evaluation measured, with its interval, as one sentence and as a JSON file."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np


def wilson(successes: int, episodes: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a success rate (E. B. Wilson, JASA 22, 1927)."""
    if episodes == 0:
        return 0.0, 1.0
    from scipy.stats import binomtest  # takes half a second, which `difftori --help` need not

    interval = binomtest(successes, episodes).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


@dataclass(frozen=True)
class Result:
    """One evaluation; the fields are the keys of the JSON file.

    Attributes:
        task: Task name.
        checkpoint: Checkpoint name.
        policy: `difftori`, `residual`, `bc`, ...: the checkpoint's method, or `base` without
            refinement.
        through: `direct` (one process) or `ros` (three processes).
        episodes: Episodes run.
        successes: Episodes in which the task succeeded.
        first_seed: First seed; they go up by one.
        seeds: Name of the seed range.
        success_by_seed: Outcome of every episode, in order.
        steps_mean: Mean number of plans per episode.
        interval_95: Wilson interval of the success rate.
        plan_ms_p50: Median time of one plan [ms].
        plan_ms_p99: 99th percentile [ms].
        machine: Processor architecture and core count.
    """

    task: str
    checkpoint: str
    policy: str
    through: str
    episodes: int
    successes: int
    first_seed: int
    seeds: str
    success_by_seed: list[bool]
    steps_mean: float
    interval_95: tuple[float, float]
    plan_ms_p50: float
    plan_ms_p99: float
    machine: str

    @property
    def sentence(self) -> str:
        """The result in one line."""
        low, high = self.interval_95
        return (
            f"{self.successes}/{self.episodes} episodes succeeded "
            f"(95 % interval {low:.0%} to {high:.0%}; {self.checkpoint}, {self.policy}, "
            f"through {self.through}, {self.seeds} seeds from {self.first_seed})"
        )


def summarise(
    *,
    task: str,
    checkpoint: str,
    policy: str,
    through: str,
    first_seed: int,
    seeds: str,
    outcomes: Sequence[bool],
    steps: Sequence[int],
    plan_s: Sequence[float],
) -> Result:
    """The result of a list of episodes."""
    times = np.array(plan_s) * 1e3 if len(plan_s) else np.array([math.nan])
    return Result(
        task=task,
        checkpoint=checkpoint,
        policy=policy,
        through=through,
        episodes=len(outcomes),
        successes=sum(map(bool, outcomes)),
        first_seed=first_seed,
        seeds=seeds,
        success_by_seed=list(map(bool, outcomes)),
        steps_mean=float(np.mean(steps)) if len(steps) else math.nan,
        interval_95=wilson(sum(outcomes), len(outcomes)),
        plan_ms_p50=round(float(np.percentile(times, 50)), 3),
        plan_ms_p99=round(float(np.percentile(times, 99)), 3),
        machine=f"{platform.machine()}, {os.cpu_count()} cores",
    )


def writable(path: str | Path) -> None:
    """Pass when a result can be written to `path`; call it before an hour of episodes.

    Raises:
        OSError: It cannot.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.open("a").close()


def write_json(path: str | Path, result: Any) -> None:
    """Write the result, a dataclass, to a file; its folder is made when missing.

    JSON has no NaN: what could not be measured, as the time of a plan when none was made, is null.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in asdict(result).items()
    }
    path.write_text(json.dumps(fields, indent=2, allow_nan=False) + "\n")
