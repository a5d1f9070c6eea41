# SPDX-License-Identifier: MIT
"""Plans per second of every shipped checkpoint and backend, and what a deadline really costs.

    python benchmarks/planner.py --json out/planner.json
    python benchmarks/planner.py --checkpoints pick_cube_points /path/to/checkpoint

Prints two Markdown tables and writes `planner.png` beside the JSON. JSON keys: `machine`; `plans`
(checkpoint, backend, p50_ms, p99_ms, base_p50_ms, ratio_to_eager); `deadline` (the same with
`overshoot_p50_ms`, `overshoot_p99_ms`, `iteration_p50_ms`, `late` out of `solves`, measured while
other processes load every core); `thread` (period of a 200 Hz thread in the same process, idle and
during plans). Backends are interleaved; the machine may be shared, so the ratios are what counts.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import numpy as np
from rich.console import Console
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the checkout
from benchmarks.support.made_up import made_up
from difftori_models.checkpoint import CheckpointError
from difftori_models.contract.specs import Observation
from difftori_models.inference.export import export
from difftori_models.inference.planner import Planner
from difftori_ros.config.paths import available_checkpoints, find_checkpoint

mpl.use("agg")
import matplotlib.pyplot as plt

PERIOD_S = 0.005


def seen_by(planner: Planner, rng: np.random.Generator) -> Observation:
    """A made-up observation of what its checkpoint asks for."""
    return made_up(planner.card.observation, rng)


def ms(seconds: list[float], percent: float) -> float:
    """A percentile [ms]."""
    return round(float(np.percentile(seconds, percent)) * 1e3, 3)


@contextmanager
def loaded(processes: int) -> Iterator[None]:
    """Other processes keep that many cores busy."""
    context = multiprocessing.get_context("spawn")
    busy = [context.Process(target=_spin, daemon=True) for _ in range(processes)]
    for process in busy:
        process.start()
    try:
        yield
    finally:
        for process in busy:
            process.terminate()


def _spin() -> None:
    total = 0
    while True:
        total = (total + 1) % 1000003


def plans(planners: dict[str, Planner], rounds: int, rng: np.random.Generator) -> list[dict]:
    """Times of plans, all backends taking turns."""
    taken: dict[str, list[float]] = {name: [] for name in planners}
    base: dict[str, list[float]] = {name: [] for name in planners}
    for _ in tqdm(range(rounds), desc="plans", disable=None):
        for name, planner in planners.items():
            seen = seen_by(planner, rng)
            taken[name].append(planner.plan(seen).elapsed_s)
            base[name].append(planner.plan(seen, refine=False).elapsed_s)
    eager = np.median(taken["eager"])
    return [
        {
            "checkpoint": planners[name].card.name,
            "backend": name,
            "p50_ms": ms(taken[name], 50),
            "p99_ms": ms(taken[name], 99),
            "base_p50_ms": ms(base[name], 50),
            "ratio_to_eager": round(float(eager / np.median(taken[name])), 2),
        }
        for name in planners
    ]


def deadlines(planners: dict[str, Planner], solves: int, rng: np.random.Generator) -> list[dict]:
    """How far plans overrun deadlines that fall into the midst of them, with every core loaded."""
    rows = []
    for name, planner in planners.items():
        whole = [planner.plan(seen_by(planner, rng)).elapsed_s for _ in range(50)]
        base = [planner.plan(seen_by(planner, rng), refine=False).elapsed_s for _ in range(50)]
        iteration = (np.median(whole) - np.median(base)) / planner.card.solver.iterations
        over = []
        with loaded(os.cpu_count() or 1):
            for _ in tqdm(range(solves), desc=f"deadlines, {name}", disable=None):
                deadline_s = float(rng.uniform(np.median(base), np.median(whole)))
                plan = planner.plan(seen_by(planner, rng), deadline_s)
                over.append(plan.elapsed_s - deadline_s)
        late = [max(0.0, seconds) for seconds in over]
        rows.append(
            {
                "checkpoint": planner.card.name,
                "backend": name,
                "solves": solves,
                "late": sum(seconds > 0 for seconds in over),
                "overshoot_p50_ms": ms(late, 50),
                "overshoot_p99_ms": ms(late, 99),
                "iteration_p50_ms": round(float(iteration) * 1e3, 3),
            }
        )
    return rows


def periods(planner: Planner | None, rng: np.random.Generator) -> dict[str, float]:
    """Periods of a 200 Hz thread while this thread plans, or rests."""
    ticks: list[float] = []
    stop = threading.Event()

    def tick() -> None:
        following = time.monotonic()
        while not stop.is_set():
            ticks.append(time.monotonic())
            following += PERIOD_S
            time.sleep(max(0.0, following - time.monotonic()))

    thread = threading.Thread(target=tick)
    thread.start()
    while len(ticks) < 400:
        if planner is None:
            time.sleep(0.05)
        else:
            planner.plan(seen_by(planner, rng))
    stop.set()
    thread.join()
    gaps = np.diff(ticks).tolist()
    return {"p50_ms": ms(gaps, 50), "p99_ms": ms(gaps, 99)}


def table(rows: list[dict]) -> str:
    """Rows as a Markdown table."""
    keys = list(rows[0])
    lines = [f"| {' | '.join(key.replace('_', ' ') for key in keys)} |", "|---" * len(keys) + "|"]
    lines += [f"| {' | '.join(str(row[key]) for key in keys)} |" for row in rows]
    return "\n".join(lines)


def draw(rows: list[dict], path: Path) -> None:
    """Bars of the median plan."""
    labels = [f"{row['checkpoint']}\n{row['backend']}" for row in rows]
    figure, axes = plt.subplots(figsize=(1.1 * len(rows) + 1, 3.5), layout="constrained")
    axes.bar(labels, [row["p50_ms"] for row in rows], label="whole plan")
    axes.bar(labels, [row["base_p50_ms"] for row in rows], label="base policy alone")
    axes.set_ylabel("median [ms]")
    axes.tick_params(axis="x", labelsize=7)
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def run(arguments: argparse.Namespace) -> None:
    """Measure, print and write."""
    rng = np.random.default_rng(0)
    found: dict[str, list[dict]] = {"plans": [], "deadline": [], "thread": []}
    with tempfile.TemporaryDirectory() as scratch:
        for name in arguments.checkpoints:
            folder = find_checkpoint(name)
            export(folder, Path(scratch) / name)
            planners = {
                "eager": Planner(folder, backend="eager"),
                "onnx": Planner(Path(scratch) / name, backend="onnx"),
            }
            for planner in planners.values():
                planner.warm_up()
            found["plans"] += plans(planners, arguments.rounds, rng)
            if name == arguments.checkpoints[0]:
                found["deadline"] += deadlines(planners, arguments.solves, rng)
                found["thread"] = [
                    {"during": during, **periods(planner, rng)}
                    for during, planner in (("rest", None), *planners.items())
                ]
    Console(soft_wrap=True).print(
        "\n\n".join(table(rows) for rows in found.values()), markup=False, highlight=False
    )
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    arguments.json.write_text(json.dumps({"machine": machine, **found}, indent=2))
    draw(found["plans"], arguments.json.with_suffix(".png"))


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--solves", type=int, default=2000, help="solves against a deadline")
    parser.add_argument("--checkpoints", nargs="+", default=available_checkpoints())
    parser.add_argument("--quick", action="store_true", help="few rounds and solves")
    parser.add_argument("--json", type=Path, default=Path("out/planner.json"))
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.solves = 10, 50
    try:
        run(arguments)
    except (FileNotFoundError, CheckpointError) as error:
        raise SystemExit(f"planner.py: {error}") from error


if __name__ == "__main__":
    main()
