# SPDX-License-Identifier: MIT
"""Success of checkpoints with and without their optimiser, on the same seeds.

    python benchmarks/studies/shipped_checkpoints.py --episodes 50 --json out/shipped.json
    python benchmarks/studies/shipped_checkpoints.py --checkpoints pick_cube_points
    runs/residual/checkpoint

Prints a Markdown table: successes, Wilson interval, wins and losses against the checkpoint's own
base policy on the same seeds, and plan times. JSON keys: `rows`, a list of the objects of
docs/reference/evaluation.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout
from benchmarks.support.quick import add_quick, folder_of
from difftori_models.checkpoint import load_card, update_results
from difftori_models.contract.network_settings import BASES
from difftori_ros.config.paths import find_checkpoint
from difftori_sim.arm.tasks import TEST_SEEDS
from difftori_sim.arm.vulkan import use_shipped_driver
from difftori_sim.evaluation.direct import evaluate_direct
from difftori_sim.evaluation.results import Result


def table(rows: list[Result]) -> str:
    """The results as Markdown; wins and losses are paired with the same checkpoint's base."""
    lines = [
        "| checkpoint | policy | success | 95 % interval | wins / losses | plan p50 / p99 [ms] |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        first = next(other for other in rows if other.checkpoint == row.checkpoint)
        pairs = list(zip(row.success_by_seed, first.success_by_seed, strict=True))
        wins, losses = pairs.count((True, False)), pairs.count((False, True))
        low, high = row.interval_95
        lines.append(
            f"| {row.checkpoint} | {row.policy} | {row.successes}/{row.episodes} "
            f"| {low:.0%} to {high:.0%} | {'-' if row is first else f'{wins} / {losses}'} "
            f"| {row.plan_ms_p50:.1f} / {row.plan_ms_p99:.1f} |"
        )
    return "\n".join(lines)


def write_cards(rows: list[Result]) -> None:
    """Put the results into the cards of the checkpoints they were measured with."""
    keys = ("policy", "through", "episodes", "successes", "first_seed", "seeds", "interval_95")
    for name in {row.checkpoint for row in rows}:
        results = [
            {key: getattr(row, key) for key in keys} for row in rows if row.checkpoint == name
        ]
        update_results(find_checkpoint(name), results)


def main() -> None:
    """Run every checkpoint, its base policy first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--checkpoints",
        nargs="+",
        default=["pick_cube_points", "pick_cube_state", "push_cube_state"],
    )
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--first-seed", type=int, default=TEST_SEEDS.start)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--write-cards", action="store_true", help="record them in the cards")
    add_quick(parser, "two episodes of one checkpoint")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.checkpoints, arguments.episodes = ["push_cube_state"], 2
        arguments.json = folder_of("shipped_checkpoints") / "shipped_checkpoints.json"
        arguments.write_cards = False
    use_shipped_driver()
    rows: list[Result] = []
    for name in arguments.checkpoints:
        refined = load_card(find_checkpoint(name)).method not in BASES
        for refine in (False, True) if refined else (False,):
            rows.append(
                evaluate_direct(
                    name,
                    episodes=arguments.episodes,
                    first_seed=arguments.first_seed,
                    refine=refine,
                )
            )
    Console(soft_wrap=True).print(table(rows), markup=False, highlight=False)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps({"rows": [asdict(row) for row in rows]}, indent=2))
    if arguments.write_cards:
        write_cards(rows)


if __name__ == "__main__":
    main()
