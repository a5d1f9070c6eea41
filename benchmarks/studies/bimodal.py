# SPDX-License-Identifier: MIT
"""Small ablations where demonstrations go two ways: what makes up its mind, and what ranks.

    python benchmarks/studies/bimodal.py                 # runs what is missing, writes the table
    python benchmarks/studies/bimodal.py --render        # only the table, of what is there

The course of `benchmarks.support.bimodal_course`: 60 demonstrations, half above the disc and half
below. Every variant is trained, and tested on the same seeds (the planner's episode is that of the
course, so what is drawn is drawn anew); one JSON line each. `ranks` is the share of held-out steps
on which the trained score of the expert's chunk is above that of the base policy's.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout
from benchmarks.support.bimodal_course import record_course, run_course
from benchmarks.support.pages import DOCS, kept, put, read
from benchmarks.support.quick import add_quick, folder_of, lessened
from difftori_models.inference.planner import Planner
from difftori_models.training.imitation.config import TrainConfig, presets
from difftori_models.training.imitation.trainer import Trainer
from difftori_models.training.validation import preset
from difftori_sim.arm.tasks import TEST_SEEDS
from difftori_sim.evaluation.results import wilson

LINES = DOCS / "results" / "bimodal.jsonl"
EPISODES = 60
"""Demonstrations."""
QUICK = 6
"""Demonstrations and test episodes of a quick run."""
COMMON: Mapping[str, Any] = {"batch": 64, "save_every": 500, "ema": 0.99, "val_fraction": 0.2}
HEAD: Mapping[str, Any] = {"method": "difftori", "base_steps": 1500, "head_steps": 600}
ON_DIFFUSION = HEAD | {"base": "diffusion", "base_steps": 1000}
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "bc": {"method": "bc", "base_steps": 1500},
    "bc_rnn": {"method": "bc_rnn", "base_steps": 1000},
    "ibc": {"method": "ibc", "base_steps": 600},
    "diffusion": {"method": "diffusion", "base_steps": 1000},
    "difftori": HEAD,
    "difftori, Gauss-Newton": HEAD | {"solver": "gauss_newton", "iterations": 4},
    "difftori, CVAE, latent 0": HEAD | {"cvae": True},
    "difftori, CVAE, 1 latent": HEAD | {"cvae": True, "draw_latent": True},
    "difftori, dynamics": HEAD | {"score": "dynamics", "iterations": 5, "head_steps": 200},
    "difftori from zero": HEAD | {"start": "zero"},
    "difftori on diffusion": ON_DIFFUSION,
    "same, contrastive 0.1": ON_DIFFUSION | {"contrastive": 0.1},
    "same, contrastive 1": ON_DIFFUSION | {"contrastive": 1.0},
    "paper": {"preset": "paper", "base_steps": 1000, "head_steps": 100},
}
"""Settings of `difftori train imitation` by the name in the table."""


def run(name: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """One line of the file."""
    demos = arguments.data / "bimodal_course.npz"
    if not demos.is_file():
        record_course(demos, QUICK if arguments.quick else EPISODES)
    settings = lessened(VARIANTS[name]) if arguments.quick else dict(VARIANTS[name])
    if "preset" in settings:
        settings = preset(settings.pop("preset"), presets("difftori")) | settings
    plain = "".join(c if c.isalnum() else "-" for c in name)
    config = TrainConfig(
        demos, arguments.runs / f"{plain}-{seed}", plain, seed=seed, **{**COMMON, **settings}
    )
    trainer = Trainer.open(config)
    planner = Planner(trainer.run())
    planner.warm_up()
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.episodes)
    found = [run_course(planner, k) for k in tqdm(seeds, desc=name, disable=None)]
    last = trainer.state.log.rows[-1]
    return {
        "variant": name,
        "training_seed": seed,
        "settings": {**COMMON, **settings},
        "episodes": arguments.episodes,
        "first_seed": arguments.first_seed,
        "outcomes": [there for there, _ in found],
        "above": [above for _, above in found],
        "val_l1": last.get("val_l1_after", last.get("val_l1")),
        "ranks": last.get("expert_above_base"),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The runs as Markdown."""
    lines = [
        "| variant | training seed | success | 95 % interval | went above | "
        "held-out L1 [std] | ranks |",
        "|---|---|---|---|---|---|---|",
    ]
    names = list(VARIANTS)
    known = [row for row in rows if row["variant"] in names]
    for row in sorted(known, key=lambda r: (names.index(r["variant"]), r["training_seed"])):
        wins, count = sum(row["outcomes"]), len(row["outcomes"])
        low, high = wilson(wins, count)
        ranks = "-" if row["ranks"] is None else f"{row['ranks']:.2f}"
        lines.append(
            f"| {row['variant']} | {row['training_seed']} | {wins}/{count} "
            f"| {low:.2f} to {high:.2f} | {sum(row['above'])} | {row['val_l1']:.3f} | {ranks} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="of training")
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--first-seed", type=int, default=TEST_SEEDS.start)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--runs", type=Path, default=Path("runs/bimodal"))
    parser.add_argument("--jsonl", type=Path, default=LINES)
    parser.add_argument("--render", action="store_true", help="run nothing")
    add_quick(parser, "two variants that have learned nothing")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.variants, arguments.seeds, arguments.episodes = ["bc", "difftori"], [0], QUICK
        arguments.data = arguments.runs = folder_of("bimodal")
        arguments.jsonl = arguments.data / "bimodal.jsonl"
    arguments.jsonl.parent.mkdir(parents=True, exist_ok=True)
    grid = [(name, seed) for seed in arguments.seeds for name in arguments.variants]
    for name, seed in tqdm([] if arguments.render else grid, desc="variants", disable=None):
        wanted = (name, seed, arguments.episodes, arguments.first_seed)
        keys = ("variant", "training_seed", "episodes", "first_seed")
        if wanted in [tuple(row[key] for key in keys) for row in read(arguments.jsonl)]:
            continue
        row = run(name, seed, arguments)
        with arguments.jsonl.open("a") as file:
            file.write(json.dumps(row) + "\n")
    text = table(kept(arguments.jsonl))
    if arguments.jsonl == LINES:
        put(DOCS / "results" / "imitation.md", "bimodal", text)
    Console(soft_wrap=True).print(text, markup=False, highlight=False)


if __name__ == "__main__":
    main()
