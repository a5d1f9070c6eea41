# SPDX-License-Identifier: MIT
"""Every imitation policy on the same demonstrations and test seeds, at equal training budgets.

    python benchmarks/studies/imitation.py  # runs what is missing of the whole grid
    python benchmarks/studies/imitation.py --tasks push_cube --policies bc diffusion --seeds 0
    python benchmarks/studies/imitation.py --render  # only tables and picture of what is there

The demonstrations are recorded first where they are missing. Every run is trained (killed at any
moment, it goes on where it was), evaluated in one process in lockstep, and written as one JSON
line; what the file has already is not run again. Equal is the training's CPU time: the updates of
`POLICIES` were chosen once so that each takes about `BUDGET_S` on one core, whatever it does with
it. Tables and picture are made from the file, into docs/results/imitation.md and docs/images.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from rich.console import Console
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout
from benchmarks.support.pages import DOCS, kept, put, read
from benchmarks.support.quick import add_quick, folder_of, lessened
from difftori_models.training.imitation.config import TrainConfig
from difftori_models.training.imitation.trainer import Trainer
from difftori_sim.arm.tasks import TEST_SEEDS, TRAIN_SEEDS, find_task
from difftori_sim.arm.vulkan import use_shipped_driver
from difftori_sim.demonstrations.record import record
from difftori_sim.evaluation.direct import evaluate_direct
from difftori_sim.evaluation.results import wilson

mpl.use("agg")
import matplotlib.pyplot as plt

LINES = DOCS / "results" / "imitation.jsonl"
TASKS = ("push_cube", "pick_cube", "stack_cube")
DEMONSTRATIONS = 100
QUICK = 3
"""Demonstrations and test episodes of a quick run."""
NOISE = 0.15
"""On the executed actions of the demonstrations; the default of `difftori demos record`."""
BUDGET_S = 45
"""CPU time that the updates below take on one core, roughly [s]."""
POLICIES: Mapping[str, Mapping[str, Any]] = {
    "bc": {"method": "bc", "base_steps": 10000},
    "bc_rnn": {"method": "bc_rnn", "base_steps": 2200},
    "diffusion": {"method": "diffusion", "base_steps": 2200, "batch": 64},
    "difftori": {"method": "difftori", "base_steps": 6000, "head_steps": 600},
    "residual": {"method": "residual", "base_steps": 6000, "head_steps": 3000},
    "ibc": {"method": "ibc", "base_steps": 500},
    "difftori on diffusion": {
        "method": "difftori",
        "base": "diffusion",
        "base_steps": 1400,
        "head_steps": 600,
        "batch": 64,
    },
    "difftori, dynamics": {
        "method": "difftori",
        "score": "dynamics",
        "iterations": 5,
        "base_steps": 6000,
        "head_steps": 150,
    },
}
"""Settings of `difftori train imitation` by the name in the table; all else is as by default."""
FIRST = "bc"
"""What all others are compared with, on the same episodes."""


def demonstrations(task: str, folder: Path, episodes: int) -> Path:
    """The task's demonstrations, recorded if need be."""
    path = folder / f"{task}_state.npz"
    if not path.is_file():
        record(
            find_task(task),
            "state",
            path,
            episodes=episodes,
            noise=NOISE,
            first_seed=TRAIN_SEEDS.start,
        )
    return path


def run(task: str, policy: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """One line of the file: train, then evaluate."""
    settings = lessened(POLICIES[policy]) if arguments.quick else POLICIES[policy]
    episodes = QUICK if arguments.quick else DEMONSTRATIONS
    name = f"{task}-{policy.replace(', ', '-').replace(' ', '-')}-{seed}"
    config = TrainConfig(
        demos=demonstrations(task, arguments.data, episodes),
        out=arguments.runs / name,
        name=name,
        seed=seed,
        save_every=1000,
        **settings,
    )
    begun_before = (config.out / "state").exists()
    began = time.process_time()
    folder = Trainer.open(config).run()
    spent = time.process_time() - began
    result = evaluate_direct(folder, episodes=arguments.episodes, first_seed=arguments.first_seed)
    return {
        "task": task,
        "policy": policy,
        "training_seed": seed,
        "settings": settings,
        # of a run that was killed and went on only the rest would be counted
        "train_cpu_s": None if begun_before else round(spent, 1),
        "result": asdict(result),
    }


def table_of(rows: list[dict[str, Any]], task: str) -> list[str]:
    """Lines of a Markdown table: a policy and training seed each."""
    lines = [
        "| policy | training seed | success | 95 % interval | wins / losses against bc | "
        "CPU time to train [s] | plan p50 / p99 [ms] |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in in_order(rows, task):
        found = row["result"]
        low, high = found["interval_95"]
        cpu = row["train_cpu_s"]
        lines.append(
            f"| {row['policy']} | {row['training_seed']} "
            f"| {found['successes']}/{found['episodes']} | {low:.2f} to {high:.2f} "
            f"| {against(row, rows)} | {'not known' if cpu is None else f'{cpu:.0f}'} "
            f"| {found['plan_ms_p50']:.1f} / {found['plan_ms_p99']:.1f} |"
        )
    return lines


def against(row: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """Episodes that `row` alone, and that `FIRST` of the same training seed alone, has won."""
    same = ("task", "training_seed")
    other = [r for r in rows if r["policy"] == FIRST and all(r[key] == row[key] for key in same)]
    if not other or row["policy"] == FIRST:
        return "-"
    mine, theirs = (r["result"]["success_by_seed"] for r in (row, other[0]))
    pairs = list(zip(mine, theirs, strict=False))
    return f"{pairs.count((True, False))} / {pairs.count((False, True))}"


def in_order(rows: Iterable[dict[str, Any]], task: str) -> list[dict[str, Any]]:
    """The task's rows as the grid declares them."""
    mine = [row for row in rows if row["task"] == task and row["policy"] in POLICIES]
    return sorted(mine, key=lambda r: (list(POLICIES).index(r["policy"]), r["training_seed"]))


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Success of every policy with its interval, over training seeds, one panel per task."""
    tasks = [task for task in TASKS if in_order(rows, task)]
    figure, panels = plt.subplots(
        1, len(tasks), figsize=(1 + 4 * len(tasks), 4), layout="constrained", squeeze=False
    )
    for axes, task in zip(panels[0], tasks, strict=True):
        names = list(dict.fromkeys(row["policy"] for row in in_order(rows, task)))
        for k, name in enumerate(names):
            found = [r["result"] for r in in_order(rows, task) if r["policy"] == name]
            wins, count = (sum(r[key] for r in found) for key in ("successes", "episodes"))
            rate, (low, high) = wins / count, wilson(wins, count)
            # at 0 and 1 the bound is the rate, but for rounding
            error = np.maximum(0.0, [[rate - low], [high - rate]])
            axes.bar(k, rate, yerr=error, color="0.8", capsize=3)
            each = [r["successes"] / r["episodes"] for r in found]
            axes.plot(k + np.linspace(-0.15, 0.15, len(each)), each, "k.")
        axes.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize="small")
        axes.set(title=task, ylim=(0, 1.05), ylabel="success")
    figure.savefig(path, dpi=100)
    plt.close(figure)


def table(rows: list[dict[str, Any]]) -> str:
    """The tables of all tasks."""
    lines = []
    for task in TASKS:
        if in_order(rows, task):
            lines += [f"### {task}", "", *table_of(rows, task), ""]
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--policies", nargs="+", choices=list(POLICIES), default=list(POLICIES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1], help="of training")
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--first-seed", type=int, default=TEST_SEEDS.start)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--runs", type=Path, default=Path("runs/imitation"))
    parser.add_argument("--jsonl", type=Path, default=LINES)
    parser.add_argument("--render", action="store_true", help="run nothing")
    add_quick(parser, "two policies that have learned nothing")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.tasks, arguments.policies = ["push_cube"], [FIRST, "difftori"]
        arguments.seeds, arguments.episodes = [0], QUICK
        folder = folder_of("imitation")
        arguments.data = arguments.runs = folder
        arguments.jsonl = folder / "imitation.jsonl"
    if not arguments.render:
        use_shipped_driver()
        arguments.jsonl.parent.mkdir(parents=True, exist_ok=True)
        grid = [
            (task, policy, seed)
            for task in arguments.tasks
            for seed in arguments.seeds
            for policy in arguments.policies
        ]
        for task, policy, seed in tqdm(grid, desc="runs", disable=None):
            wanted = (task, policy, seed, arguments.episodes, arguments.first_seed)
            if wanted in {key_of(row) for row in read(arguments.jsonl)}:
                continue
            row = run(task, policy, seed, arguments)
            with arguments.jsonl.open("a") as file:
                file.write(json.dumps(row) + "\n")
    rows = kept(arguments.jsonl)
    text = table(rows)
    if arguments.jsonl == LINES:
        plot(rows, DOCS / "images" / "imitation.png")
        put(DOCS / "results" / "imitation.md", "policies", text)
    Console(soft_wrap=True).print(text, markup=False, highlight=False)


def key_of(row: dict[str, Any]) -> tuple[str, str, int, int, int]:
    """What a line of the file is about."""
    found = row["result"]
    names = row["task"], row["policy"], row["training_seed"]
    return (*names, found["episodes"], found["first_seed"])


if __name__ == "__main__":
    main()
