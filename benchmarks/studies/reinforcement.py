# SPDX-License-Identifier: MIT
"""Return against environment steps and wall time, DiffTORI and TD-MPC, in a declared grid.

    python benchmarks/studies/reinforcement.py  # runs what is missing of the whole grid
    python benchmarks/studies/reinforcement.py --only pendulum-swingup --seeds 0
    python benchmarks/studies/reinforcement.py --render  # only table and picture, of what is there

Every run of the grid is an ordinary run of `difftori train rl` in a folder of its own; one that
was stopped goes on where it was, and so does one that is wanted longer (`--steps`). One that is
done has its evaluations as one line in docs/results/reinforcement.jsonl and is not repeated; table
and picture are made from that file, into docs/results/reinforcement.md and docs/images.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout
from benchmarks.support.pages import DOCS, kept, put, read
from benchmarks.support.quick import add_quick, folder_of
from difftori_models.contract.strict_json import write_atomically
from difftori_models.training.rl.config import RLConfig
from difftori_models.training.run_log import read_rows
from difftori_sim.cli.train_commands import train_rl

LINES = DOCS / "results" / "reinforcement.jsonl"
VARIANTS: dict[str, dict[str, Any]] = {
    "difftori_rl": {"method": "difftori_rl"},
    "tdmpc": {"method": "tdmpc"},
    "difftori_rl, long steps": {"method": "difftori_rl", "iterations": 4, "step_size": 0.8},
}
"""Settings by the name in table and picture; the last is run only when it is asked for."""
METHODS = ("difftori_rl", "tdmpc")
COLORS = dict(zip(VARIANTS, ("tab:blue", "tab:orange", "tab:green"), strict=True))
SEEDS = (0, 1)


STEPS = {"cartpole-swingup": 4000, "reacher-easy": 4000, "pendulum-swingup": 4000}
"""Actions of a run: a small scale, far from the paper's million environment steps."""

QUICK: Mapping[str, Any] = {
    "steps": 60,
    "seed_steps": 40,
    "eval_every": 60,
    "eval_episodes": 1,
    "save_every": 60,
    "batch": 16,
}
"""Settings of a quick run."""


def config_of(task: str, variant: str, seed: int, steps: int | None, out: Path) -> RLConfig:
    """The settings of one run; the methods differ in nothing but what makes them."""
    return RLConfig(
        suite="dmc",
        task=task,
        out=out / f"{task}-{variant.replace(', ', '-').replace(' ', '-')}-{seed}",
        seed=seed,
        steps=steps or STEPS[task],
        seed_steps=500,
        hidden=128,
        encoder=128,
        batch=128,
        horizon=3,
        horizon_steps=1,
        std_steps=3000,
        std_last=0.1,
        pg_every=4,
        pg_batch=8,
        capacity=20_000,
        eval_every=1000,
        eval_episodes=2,
        save_every=500,
        **VARIANTS[variant],
    )


def evaluations(folder: Path) -> list[dict[str, Any]]:
    """Evaluations of a run, in order."""
    return [row for row in read_rows(folder) if row["phase"] == "eval"]


def run(
    runs: Iterable[tuple[int, str, str]],
    steps: int | None,
    out: Path,
    path: Path,
    others: Mapping[str, Any],
) -> None:
    """The runs are done, each of seed, task and variant, and each has its line in the file.

    One that has fewer steps than are wanted goes on, as long as its folder is there. `others` are
    settings instead of those declared.
    """
    for seed, task, variant in runs:
        config = replace(config_of(task, variant, seed, steps, out), **others)
        key = {"task": task, "method": variant, "seed": seed}
        if any(row | key == row and row["steps"] >= config.steps for row in read(path)):
            continue
        train_rl(config)
        names = ("env_step", "return", "return_std", "seconds")
        found = [{name: row[name] for name in names} for row in evaluations(config.out)]
        rows = [row for row in read(path) if row | key != row]
        rows.append({**key, "steps": config.steps, "evaluations": found})
        write_atomically(path, "".join(json.dumps(row) + "\n" for row in rows).encode())


def table(rows: list[dict[str, Any]]) -> str:
    """What every run has reached, as Markdown."""
    lines = [
        "| task | method | seed | environment steps | last return | best return | minutes |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda r: (r["task"], r["method"], r["seed"])):
        found = row["evaluations"]
        best, last = max(one["return"] for one in found), found[-1]
        lines.append(
            f"| {row['task']} | {row['method']} | {row['seed']} | {last['env_step']} | "
            f"{last['return']:.0f} | {best:.0f} | {last['seconds'] / 60:.1f} |"
        )
    return "\n".join(lines)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Return over environment steps, and over time, one column per task."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tasks = sorted({row["task"] for row in rows})
    figure = Figure(figsize=(4.2 * len(tasks), 6.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.atleast_2d(figure.subplots(2, len(tasks), squeeze=False))
    for column, task in enumerate(tasks):
        for row in (row for row in rows if row["task"] == task):
            returns = [one["return"] for one in row["evaluations"]]
            label = row["method"] if row["seed"] == SEEDS[0] else None
            for k, key, scale in ((0, "env_step", 1e-3), (1, "seconds", 1 / 60)):
                x = [one[key] * scale for one in row["evaluations"]]
                axes[k][column].plot(x, returns, color=COLORS[row["method"]], label=label)
        axes[0][column].set(title=task, xlabel="environment steps [1000]", ylabel="return")
        axes[1][column].set(xlabel="time of one shared core [min]", ylabel="return")
        for k in (0, 1):
            axes[k][column].grid(alpha=0.3)
            axes[k][column].set_ylim(-20, max(100, axes[k][column].get_ylim()[1]))
        axes[0][column].legend(frameon=False)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Run what is left of the grid, and draw it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/reinforcement"))
    parser.add_argument("--only", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--methods", nargs="+", choices=VARIANTS, default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--steps", type=int, help="actions of a run, instead of those declared")
    parser.add_argument("--jsonl", type=Path, default=LINES)
    parser.add_argument("--render", action="store_true", help="run nothing")
    add_quick(parser, f"{QUICK['steps']} actions of one task")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.only, arguments.methods, arguments.seeds = ["pendulum-swingup"], METHODS[:1], [0]
        arguments.out = folder_of("reinforcement")
        arguments.jsonl = arguments.out / "reinforcement.jsonl"
    if not arguments.render:
        # one seed after the other, so that what is there is always comparable
        runs = product(arguments.seeds, arguments.only, arguments.methods)
        others = QUICK if arguments.quick else {}
        run(runs, arguments.steps, arguments.out, arguments.jsonl, others)
    rows = kept(arguments.jsonl)
    if arguments.jsonl == LINES:
        put(DOCS / "results" / "reinforcement.md", "curves", table(rows))
        draw(rows, DOCS / "images" / "reinforcement.png")
    Console(soft_wrap=True).print(table(rows), markup=False, highlight=False)


if __name__ == "__main__":
    main()
