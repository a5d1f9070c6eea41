# SPDX-License-Identifier: MIT
"""Return against environment steps and wall time, DiffTORI and TD-MPC, in a declared grid.

    python benchmarks/reinforcement.py --out out/reinforcement
    python benchmarks/reinforcement.py --out out/reinforcement --only pendulum-swingup --seeds 0

Every run of the grid is an ordinary run of `difftori train` in a folder of its own; one that was
stopped goes on where it was, one that is done is not repeated. `runs.jsonl` has one line per run
that is done. The table and the picture are drawn from what is there: `--render` alone draws them
into docs/results/reinforcement.md and docs/images/reinforcement.png.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from difftori_models.training.rl.config import RLConfig
from difftori_sim.train_rl import train_rl

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "results" / "reinforcement.md"
PICTURE = ROOT / "docs" / "images" / "reinforcement.png"
BEGIN, END = "<!-- curves: begin -->", "<!-- curves: end -->"
METHODS = ("difftori_rl", "tdmpc")
SEEDS = (0, 1)


@dataclass(frozen=True)
class Budget:
    """How long a task is trained: a small scale, far from the paper's million steps.

    Attributes:
        steps: Actions.
        repeat: Steps of the simulator per action, as `sim/suites/dmc.py` has them.
    """

    steps: int
    repeat: int


TASKS = {
    "pendulum-swingup": Budget(4000, 2),
    "cartpole-swingup": Budget(4000, 4),
    "reacher-easy": Budget(4000, 4),
}


def config_of(task: str, method: str, seed: int, out: Path) -> RLConfig:
    """The settings of one run; the methods differ in nothing but what makes them."""
    return RLConfig(
        suite="dmc",
        task=task,
        out=out / f"{task}-{method}-{seed}",
        method=method,
        seed=seed,
        steps=TASKS[task].steps,
        seed_steps=500,
        hidden=128,
        encoder=128,
        batch=128,
        horizon=3,
        horizon_steps=1,
        iterations=4,
        std_steps=3000,
        std_last=0.1,
        pg_every=4,
        pg_batch=8,
        capacity=20_000,
        eval_every=500,
        eval_episodes=2,
        save_every=500,
    )


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """Evaluations of a run, in order."""
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.is_file() else []
    rows = [json.loads(line) for line in lines if line.endswith("}")]
    return [row for row in rows if row["kind"] == "eval"]


def grid(tasks: list[str], methods: list[str], seeds: list[int], out: Path) -> list[RLConfig]:
    """Every run, one seed after the other, so that what is there is always comparable."""
    order = product(seeds, tasks, methods)
    return [config_of(task, method, seed, out) for seed, task, method in order]


def run(configs: list[RLConfig], out: Path) -> None:
    """The runs are done, and each has its line in `runs.jsonl`."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / "runs.jsonl"
    lines = file.read_text().splitlines() if file.is_file() else []
    done = {json.loads(line)["run"] for line in lines}
    for config in configs:
        if config.out.name in done:
            continue
        train_rl(config)
        last = rows_of(config.out)[-1]
        told = {"run": config.out.name, "task": config.task, "method": config.method}
        told |= {"seed": config.seed, "step": last["step"], "env_step": last["env_step"]}
        told |= {"return": last["return"], "seconds": last["seconds"]}
        with file.open("a") as opened:
            opened.write(json.dumps(told) + "\n")


def table(configs: list[RLConfig]) -> str:
    """What every run has reached, as Markdown; runs that were stopped say how far they came."""
    lines = [
        "| task | method | seed | environment steps | last return | best return | minutes |",
        "|---|---|---|---|---|---|---|",
    ]
    for config in sorted(configs, key=lambda c: (c.task, c.method, c.seed)):
        rows = rows_of(config.out)
        if not rows:
            continue
        best, last = max(row["return"] for row in rows), rows[-1]
        whole = "" if last["step"] >= config.steps else " (stopped)"
        lines.append(
            f"| {config.task} | {config.method} | {config.seed} | {last['env_step']}{whole} | "
            f"{last['return']:.0f} | {best:.0f} | {last['seconds'] / 60:.1f} |"
        )
    return "\n".join(lines)


def draw(configs: list[RLConfig], path: Path) -> None:
    """Return over environment steps, and over time, one column per task."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tasks = sorted({config.task for config in configs})
    figure = Figure(figsize=(4.2 * len(tasks), 6.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.atleast_2d(figure.subplots(2, len(tasks), squeeze=False))
    colors = dict(zip(METHODS, ("tab:blue", "tab:orange"), strict=True))
    for column, task in enumerate(tasks):
        for config in (c for c in configs if c.task == task):
            rows = rows_of(config.out)
            returns = [row["return"] for row in rows]
            label = config.method if config.seed == SEEDS[0] else None
            for row, key, scale in ((0, "env_step", 1e-3), (1, "seconds", 1 / 60)):
                x = [one[key] * scale for one in rows]
                axes[row][column].plot(x, returns, color=colors[config.method], label=label)
        axes[0][column].set(title=task, xlabel="environment steps [1000]", ylabel="return")
        axes[1][column].set(xlabel="time of one shared core [min]", ylabel="return")
        for row in (0, 1):
            axes[row][column].grid(alpha=0.3)
        axes[0][column].legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def render(configs: list[RLConfig], page: Path, picture: Path) -> None:
    """The table stands between its marks in the page, the picture beside it."""
    text = page.read_text()
    head, rest = text.split(BEGIN)
    page.write_text(f"{head}{BEGIN}\n\n{table(configs)}\n\n{END}{rest.split(END)[1]}")
    draw(configs, picture)


def main() -> None:
    """Run what is left of the grid, and draw it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "reinforcement")
    parser.add_argument("--only", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--render", action="store_true", help="draw what is there into the docs")
    arguments = parser.parse_args()
    configs = grid(arguments.only, arguments.methods, arguments.seeds, arguments.out)
    if arguments.render:
        render(configs, PAGE, PICTURE)
    else:
        run(configs, arguments.out)
    Console(soft_wrap=True).print(table(configs), markup=False, highlight=False)


if __name__ == "__main__":
    main()
