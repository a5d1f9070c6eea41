# SPDX-License-Identifier: MIT
"""Time per solve and value per evaluation of every method and backend, with Theseus as the peer.

    python benchmarks/solver.py --quick --json out/solver.json

All rows of a table are timed in turn in one process with the same number of threads; the machine
may be shared, so the ratios are what counts. Prints Markdown tables, and writes a PNG beside the
JSON. JSON keys:

- `rl_b1_over_theseus`, `il_b128_over_theseus`, `rl_b64_train_over_theseus`,
  `rl_b256_train_over_theseus`: time of Theseus as the reference code calls it / time of the best
  portable backend at the same iterates, both medians;
- `rl_b1_over_floor`: that backend's time / time of the matrix products alone;
- `value_share_20`: gain of `AdamBox` with 20 evaluations / gain of the reference's best of 50
  iterations, medians over test states, of the trained problem where it is smallest;
- `winners`: the backend behind each of these; `tables`, `quality`: all figures; `machine`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the checkout
from benchmarks.support import peers, plots
from benchmarks.support.problems import TASKS, Trained, trained
from benchmarks.support.quality import curves
from benchmarks.support.roofline import Floor, Work, chunk_work, trajectory_work
from difftori_models.solver import AdamBox, Method, NormalisedGradient, ProjectedGradient
from difftori_models.world_model.compiled_gradient import compiled_gradient
from difftori_models.world_model.trajectory_gradient import TrajectoryGradient

THEIRS = "Theseus as called"
FLOOR = "floor: products alone"
ITERATIONS = 10
SETTLE_S = 0.05
"""Time a row runs before a run of it is timed: OpenMP's threads spin for 0.02 s [s]."""


class Table:
    """Rows that are timed in turn.

    Attributes:
        title: What is solved.
    """

    def __init__(self, title: str, work: Work) -> None:
        self.title = title
        self.work = work
        self._rows: dict[str, tuple[peers.Run, int]] = {}
        self._same: set[str] = {THEIRS}
        self.add(FLOOR, Floor(work))

    def add(self, name: str, run: peers.Run, most: int = 10**9, same: bool = False) -> None:
        """One more row; `most` runs of it at most; `same` iterates as Theseus."""
        self._rows[name] = (run, most)
        if same:
            self._same.add(name)

    def measure(self, rounds: int, seconds: float) -> dict[str, Any]:
        """Times and differences of all rows, after one run of each to warm up.

        Every run is timed right after others of its own: what the row before has left in the
        caches, and its threads, which spin on for a while, are not part of it. Rounds end early,
        though not before the third, once they took so long.
        """
        answers: dict[str, Tensor] = {}
        taken: dict[str, list[float]] = {name: [] for name in self._rows}
        end = time.perf_counter() + seconds
        with tqdm(total=rounds + 1, desc=self.title) as progress:
            for k in range(rounds + 1):
                if k > 3 and time.perf_counter() > end:
                    break
                for name, (run, most) in self._rows.items():
                    if len(taken[name]) >= most:
                        continue
                    settled = time.perf_counter() + SETTLE_S
                    while taken[name] and time.perf_counter() < settled:
                        run()
                    begin = time.perf_counter()
                    answers[name] = run()
                    if k > 0 or most == 1:
                        taken[name].append((time.perf_counter() - begin) * 1e3)
                progress.update()
        rows = []
        for name, times in taken.items():
            row: dict[str, Any] = {"name": name, "runs": len(times)}
            row |= {f"p{q}_ms": round(float(np.percentile(times, q)), 3) for q in (50, 99)}
            if name in self._same:
                off = (answers[name] - answers[THEIRS]).abs().max()
                row["difference"] = float(f"{float(off):.2g}")
            rows.append(row)
        floor = rows[0]
        speed = {
            "floor_gflop_per_s": round(self.work.gflop / floor["p50_ms"] * 1e3, 1),
            "floor_gb_per_s": round(self.work.gigabytes / floor["p50_ms"] * 1e3, 1),
        }
        return {"title": self.title, "rows": rows, **speed}


def acting(solved: Trained, batch: int, threads: int, others: bool) -> Table:
    """Solves of a trained trajectory problem, nothing differentiated."""
    problem, start = solved.problem(solved.states(batch, "test"), "min")
    work = trajectory_work(problem.params, start.shape[1], batch, ITERATIONS, 0)
    table = Table(f"RL, {solved.task.name}, batch {batch}, {ITERATIONS} iterations", work)
    reference = peers.Reference(ITERATIONS)
    table.add(THEIRS, peers.theseus_as_called(problem, start, reference), 30)
    mode = "dense" if batch == 1 else "vmap"
    best = peers.theseus_at_best(problem, start, reference, mode)
    table.add(f"Theseus at best ({mode})", best, 30, same=True)
    methods: dict[str, Method] = {"lm_rank1": reference.ours(), "adam_box": AdamBox(ITERATIONS)}
    if others:
        methods["projected_gradient"] = ProjectedGradient(ITERATIONS)
        methods["normalised_gradient"] = NormalisedGradient(ITERATIONS)
    for name, method in methods.items():
        same = name == "lm_rank1"
        table.add(f"{name}, eager", peers.eager(problem, start, method), same=same)
        if batch == 1:
            table.add(f"{name}, onnx", peers.onnx(problem, start, method, threads), same=same)
    return table


def training(solved: Trained, batch: int) -> Table:
    """Solves of the same problem and the way back, to the world model and the latent state."""
    problem, start = solved.problem(solved.states(batch, "train"), "min")
    problem = replace(problem, context=problem.context.clone().requires_grad_())
    problem.params.requires_grad_(True).policy.requires_grad_(False)
    work = trajectory_work(problem.params, start.shape[1], batch, ITERATIONS, peers.BACKWARD)
    table = Table(f"RL training, {solved.task.name}, batch {batch}, {ITERATIONS} iterations", work)
    reference = peers.Reference(ITERATIONS)
    table.add(THEIRS, peers.theseus_training(problem, start, reference))
    plain = replace(problem, gradient=None)
    method = reference.ours()
    table.add("lm_rank1, eager, autograd", peers.training(plain, start, method), same=True)
    table.add("lm_rank1, eager", peers.training(problem, start, method), same=True)
    with torch.no_grad():
        rule = TrajectoryGradient(problem.objective)
        fast = compiled_gradient(rule, problem.params, problem.context, start)
    fast = replace(problem, gradient=fast)
    table.add("lm_rank1, compiled gradient", peers.training(fast, start, method), same=True)
    return table


def imitation(batch: int, iterations: int, threads: int, theirs: int) -> Table:
    """The reference's imitation shape with its settings, all samples one problem."""
    score = peers.ChunkScore(batch)
    work = chunk_work(score.net, score.horizon * score.size, batch, iterations)
    table = Table(f"IL, chunk 4x4, batch {batch} coupled, {iterations} iterations", work)
    reference = peers.Reference(iterations, 3e-5, 0.01, coupled=True)
    whole, split = score.whole(), score.split()
    table.add(THEIRS, peers.theseus_as_called(whole, score.start, reference), theirs)
    if theirs > 1:
        best = peers.theseus_at_best(whole, score.start, reference, "vmap")
        table.add("Theseus at best (vmap)", best, theirs, same=True)
    method = reference.ours()
    table.add("lm_rank1, eager", peers.eager(split, score.start, method), same=True)
    table.add("lm_rank1, onnx", peers.onnx(split, score.start, method, threads), same=True)
    return table


def best(table: dict[str, Any]) -> tuple[str, float, float]:
    """The fastest of our rows with Theseus' iterates, how much faster, and above the floor."""
    rows = {row["name"]: row for row in table["rows"]}
    ours = [row for row in table["rows"] if row["name"].startswith("lm_rank1")]
    winner = min(ours, key=lambda row: row["p50_ms"])
    faster = rows[THEIRS]["p50_ms"] / winner["p50_ms"]
    return winner["name"], round(faster, 2), round(winner["p50_ms"] / rows[FLOOR]["p50_ms"], 2)


def markdown(report: dict[str, Any]) -> str:
    """All tables."""
    lines = []
    for table in report["tables"]:
        lines += [f"### {table['title']}", ""]
        lines += ["| row | p50 [ms] | p99 [ms] | runs | largest difference to Theseus |"]
        lines += ["|---|---|---|---|---|"]
        for row in table["rows"]:
            off = f"{row['difference']:.1e}" if "difference" in row else ""
            times = f"{row['p50_ms']:.2f} | {row['p99_ms']:.2f}"
            lines.append(f"| {row['name']} | {times} | {row['runs']} | {off} |")
        lines.append("")
    for curve in report["quality"]:
        lines += [f"### {curve['problem']}: gain as a share of the best found, median", ""]
        lines += ["| method | evaluations: share |", "|---|---|"]
        for name, points in curve["share_of_best"].items():
            kept = {k: v for k, v in points.items() if k in (5, 10, 20, 50) or len(points) < 8}
            lines.append(
                f"| {name} | " + ", ".join(f"{k}: {v:.3f}" for k, v in kept.items()) + " |"
            )
        lines.append("")
    lines += ["| key | value |", "|---|---|"]
    lines += [f"| {k} | {v} |" for k, v in report.items() if isinstance(v, float)]
    return "\n".join(lines)


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="the tables behind the key figures")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    peers.require_theseus()
    warnings.simplefilter("ignore")  # Theseus uses what is deprecated
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    quick, threads = arguments.quick, arguments.threads
    solved = [trained(task) for task in TASKS]
    hands, arm = solved[0], solved[1]
    found = [curves(one, 64 if quick else 256) for one in solved]

    limit = 5.0 if quick else 120.0
    steps: dict[str, Callable[[], Table]] = {
        "rl_b1": lambda: acting(hands, 1, threads, not quick),
        "il_b128": lambda: imitation(128, 100, threads, 1 if quick else 3),
        "rl_b64_train": lambda: training(hands, 64),
        "rl_b256_train": lambda: training(hands, 256),
    }
    if not quick:
        steps["rl_b1_arm"] = lambda: acting(arm, 1, threads, True)
        steps["il_b1"] = lambda: imitation(1, 100, threads, 5)
        for batch in (64, 256):
            for name, one in (("", hands), ("_arm", arm)):
                steps[f"rl_b{batch}{name}"] = partial(acting, one, batch, threads, False)
            steps[f"rl_b{batch}_train_arm"] = partial(training, arm, batch)
    tables = {}
    for key, step in tqdm(steps.items(), desc="tables"):
        tables[key] = step().measure(100, limit)

    report: dict[str, Any] = {}
    winners = {}
    for key, table in tables.items():
        winners[key], report[f"{key}_over_theseus"], report[f"{key}_over_floor"] = best(table)
    report["value_share_20"] = round(min(curve["value_share_20"] for curve in found), 4)
    report["winners"] = winners
    report["threads"] = threads
    report["machine"] = (
        f"{platform.machine()}, {os.cpu_count()} cores, PyTorch {torch.__version__}"
    )
    report["tables"] = list(tables.values())
    report["quality"] = found
    Console(soft_wrap=True).print(markdown(report), markup=False, highlight=False)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(report, indent=2))
        plots.draw(report["tables"], found, arguments.json.with_suffix(".png"))


if __name__ == "__main__":
    main()
