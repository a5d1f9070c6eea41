# SPDX-License-Identifier: MIT
"""Random runs of policy, guard and arm on a virtual clock: is any promise ever broken?

    python benchmarks/guard_runs.py --runs 30000 --first-seed 0 --jobs 2 --json out/guard_runs.json
    python benchmarks/guard_runs.py --seed 4711

A run is a function of its seed (`tests/support/virtual/cases.py`): the machine, the network, and
what is done to processes, clocks and people's orders. P1 to P4 are judged whenever the guard
publishes. With `--seed` one run is told event by event. `--quick` takes 200 runs. Finished blocks
of runs stand in a `.jsonl` file beside the JSON file; of the same sources they are not run again.

JSON keys: `runs`, `breaches` (runs with any), `worst_rad` and `worst_rad_s` (greatest steps of a
command, the latter in motion), `refused_share` (of all plans), `runs_per_s` (of one core),
`unclosed` (commands that were held up in the write itself, which are not judged),
`promises` (breaches of each), `breached` (seeds, and what was broken first), `first_seed`,
`accepted`, `refused`, `commands`, `machine`, `commit`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("ROS_PYTHON_CHECK_FIELDS", "0")

from rich.console import Console
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the checkout
from benchmarks.support.guard_blocks import BLOCK, collected, exit_status, merged, summary
from tests.support.virtual.cases import random_case
from tests.support.virtual.timeline import story
from tests.support.virtual.world import run

QUICK = 200


def tell(seed: int, console: Console) -> int:
    """One run, event by event; returns how many promises were broken."""
    case = random_case(seed)
    world = run(case)
    console.print(str(case), highlight=False, markup=False, soft_wrap=True)
    console.print(story(world), highlight=False, markup=False, soft_wrap=True)
    for breach in world.judge.tally.breaches:
        console.print(f"{breach.promise} at {breach.at_ms:.2f} ms: {breach.text}", markup=False)
    return len(world.judge.tally.breaches)


def main() -> int:
    """Run, and write what was found; the exit status is 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000, help=f"in blocks of {BLOCK}")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", type=Path, default=Path("out/guard_runs.json"))
    parser.add_argument("--seed", type=int, help="tell this run")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} runs")
    arguments = parser.parse_args()
    console = Console()
    if arguments.seed is not None:
        return exit_status(tell(arguments.seed, console))
    runs, first = QUICK if arguments.quick else arguments.runs, arguments.first_seed
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    lines, blocks = arguments.json.with_suffix(".jsonl"), []
    with tqdm(total=-(-runs // BLOCK) * BLOCK, desc="runs", unit="run", smoothing=0.05) as bar:
        for block in collected(lines, first, runs, arguments.jobs):
            blocks.append(block)
            bar.update(BLOCK)
            bar.set_postfix(breaches=sum(len(one.breached) for one in blocks))
    found = summary(merged(blocks))
    arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    shown = {key: value for key, value in found.items() if key != "breached"}
    console.print_json(json.dumps(shown))
    for seed, what in list(found["breached"].items())[:20]:
        console.print(f"{seed}: {what}", markup=False, highlight=False, soft_wrap=True)
    return exit_status(found["breaches"])


if __name__ == "__main__":
    sys.exit(main())
