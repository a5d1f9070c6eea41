# SPDX-License-Identifier: MIT
"""Success of the policies that see through a camera when the camera is not as in training.

    python benchmarks/studies/robustness.py --checkpoints pick_cube_points pick_cube_rgb

Each checkpoint, base policy and refined, on the same test seeds under each perturbation of
`difftori_sim.arm.camera_perturbation`, in one process in lockstep (through ROS gives the same
bits). Every result is written as soon as it is there, one JSON line each; what the file has
already is not run again. The table and the picture are made from the file.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout
from benchmarks.support.quick import add_quick, folder_of
from difftori_sim.arm.camera_perturbation import PERTURBATIONS, PerturbedWorld
from difftori_sim.arm.tasks import TEST_SEEDS
from difftori_sim.evaluation.direct import evaluate_direct

mpl.use("agg")
import matplotlib.pyplot as plt

Key = tuple[str, str, str, int, int]


def key_of(row: dict[str, Any]) -> Key:
    """What a row is about."""
    names = (row[name] for name in ("checkpoint", "perturbation", "policy"))
    return (*names, row["episodes"], row["first_seed"])  # type: ignore[return-value]


def read(path: Path) -> dict[Key, dict[str, Any]]:
    """The rows that are there already."""
    if not path.exists():
        return {}
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return {key_of(row): row for row in rows}


def table(rows: list[dict[str, Any]], checkpoints: list[str]) -> list[str]:
    """Lines of a Markdown table: perturbations by checkpoints, base and refined."""
    columns = [(name, refined) for name in checkpoints for refined in (False, True)]
    heads = [f"{name}{'' if refined else ', base'}" for name, refined in columns]
    lines = ["| | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
    for name, perturbation in PERTURBATIONS.items():
        cells = []
        for checkpoint, refined in columns:
            found = [
                row
                for row in rows
                if (row["checkpoint"], row["perturbation"]) == (checkpoint, name)
                and (row["policy"] != "base") == refined
            ]
            if found:
                low, high = found[-1]["interval_95"]
                count = f"{found[-1]['successes']}/{found[-1]['episodes']}"
                cells.append(f"{count} ({low:.2f} to {high:.2f})")
            else:
                cells.append("")
        lines.append(f"| {perturbation.sentence} | " + " | ".join(cells) + " |")
    return lines


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Success with its interval, by perturbation."""
    names = sorted({(row["checkpoint"], row["policy"]) for row in rows})
    figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
    places = np.arange(len(PERTURBATIONS))
    for k, (checkpoint, policy) in enumerate(names):
        mine = {
            row["perturbation"]: row
            for row in rows
            if (row["checkpoint"], row["policy"]) == (checkpoint, policy)
        }
        told = [name for name in PERTURBATIONS if name in mine]
        rate = np.array([mine[n]["successes"] / mine[n]["episodes"] for n in told])
        bounds = np.array([mine[n]["interval_95"] for n in told]).T
        at = [places[list(PERTURBATIONS).index(n)] + 0.8 * (k + 0.5) / len(names) for n in told]
        errors = np.abs(bounds - rate)
        axes.bar(at, rate, 0.8 / len(names), yerr=errors, label=f"{checkpoint}, {policy}")
    axes.set_xticks(places + 0.4, list(PERTURBATIONS))
    axes.set(ylabel="success", ylim=(0, 1.05))
    figure.legend(loc="outside lower center", ncols=3, fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--checkpoints", nargs="+", default=["pick_cube_points"])
    parser.add_argument("--perturbations", nargs="+", default=list(PERTURBATIONS))
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--first-seed", type=int, default=TEST_SEEDS.start)
    parser.add_argument("--jsonl", type=Path, default=Path("docs/results/robustness.jsonl"))
    parser.add_argument("--picture", type=Path, default=Path("docs/images/robustness.png"))
    parser.add_argument("--render", action="store_true", help="run nothing")
    add_quick(parser, "one episode under one perturbation")
    arguments = parser.parse_args()
    if arguments.quick:
        folder = folder_of("robustness")
        arguments.perturbations, arguments.episodes = list(PERTURBATIONS)[:1], 1
        arguments.jsonl, arguments.picture = folder / "robustness.jsonl", folder / "robustness.png"
    arguments.jsonl.parent.mkdir(parents=True, exist_ok=True)
    for checkpoint in [] if arguments.render else arguments.checkpoints:
        for name in arguments.perturbations:
            make = partial(PerturbedWorld, perturbation=PERTURBATIONS[name])
            for refine in (False, True):
                done = [
                    key[2]
                    for key in read(arguments.jsonl)
                    if key[:2] == (checkpoint, name)
                    and key[3:] == (arguments.episodes, arguments.first_seed)
                ]
                if any((policy != "base") == refine for policy in done):
                    continue
                result = evaluate_direct(
                    checkpoint,
                    episodes=arguments.episodes,
                    first_seed=arguments.first_seed,
                    refine=refine,
                    make_world=make,
                )
                row = asdict(result) | {"checkpoint": checkpoint, "perturbation": name}
                with arguments.jsonl.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    rows = list(read(arguments.jsonl).values())
    if not rows:
        raise SystemExit(
            f"{arguments.jsonl} has no lines yet: run this study without --render first"
        )
    console = Console(soft_wrap=True)
    for line in table(rows, arguments.checkpoints):
        console.print(line, markup=False, highlight=False)
    plot(rows, arguments.picture)


if __name__ == "__main__":
    main()
