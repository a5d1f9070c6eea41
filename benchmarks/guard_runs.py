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
import hashlib
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("ROS_PYTHON_CHECK_FIELDS", "0")

from rich.console import Console
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from tests.support.virtual.cases import random_case
from tests.support.virtual.timeline import story
from tests.support.virtual.world import run

BLOCK = 50
"""Runs that are written down together."""
QUICK = 200


@dataclass
class Block:
    """What runs came to: counts, the greatest steps, and what was broken by which seed."""

    first_seed: int
    runs: int = 0
    sources: str = ""
    accepted: int = 0
    refused: int = 0
    commands: int = 0
    unclosed: int = 0
    worst_rad: float = 0.0
    worst_rad_s: float = 0.0
    seconds: float = 0.0
    promises: dict[str, int] = field(default_factory=dict)
    breached: dict[str, str] = field(default_factory=dict)


COUNTED = ("runs", "accepted", "refused", "commands", "unclosed", "seconds")


def run_block(first_seed: int, runs: int, sources: str) -> Block:
    """Runs of consecutive seeds."""
    began_s, block, promises = time.perf_counter(), Block(first_seed, runs, sources), Counter()
    for seed in range(first_seed, first_seed + runs):
        tally = run(random_case(seed)).judge.tally
        for name in ("accepted", "refused", "commands", "unclosed"):
            setattr(block, name, getattr(block, name) + getattr(tally, name))
        for name in ("worst_rad", "worst_rad_s"):
            setattr(block, name, max(getattr(block, name), getattr(tally, name)))
        promises.update(breach.promise for breach in tally.breaches)
        if tally.breaches:
            first = tally.breaches[0]
            block.breached[str(seed)] = f"{first.promise} at {first.at_ms:.0f} ms: {first.text}"
    block.promises, block.seconds = dict(promises), time.perf_counter() - began_s
    return block


def merged(blocks: list[Block]) -> Block:
    """All of them in one."""
    total = Block(min(block.first_seed for block in blocks))
    promises: Counter[str] = Counter()
    for block in sorted(blocks, key=lambda one: one.first_seed):
        for name in COUNTED:
            setattr(total, name, getattr(total, name) + getattr(block, name))
        for name in ("worst_rad", "worst_rad_s"):
            setattr(total, name, max(getattr(total, name), getattr(block, name)))
        promises.update(block.promises)
        total.breached.update(block.breached)
    total.promises = dict(promises)
    return total


def summary(total: Block) -> dict[str, Any]:
    """The JSON of what all runs came to."""
    plans = total.accepted + total.refused
    return {
        "runs": total.runs,
        "breaches": len(total.breached),
        "worst_rad": round(total.worst_rad, 6),
        "worst_rad_s": round(total.worst_rad_s, 6),
        "refused_share": round(total.refused / max(plans, 1), 4),
        "runs_per_s": round(total.runs / max(total.seconds, 1e-9), 3),
        "unclosed": total.unclosed,
        "promises": total.promises,
        "breached": total.breached,
        "first_seed": total.first_seed,
        "accepted": total.accepted,
        "refused": total.refused,
        "commands": total.commands,
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "commit": commit_of(ROOT),
    }


def finished(path: Path, sources: str) -> dict[int, Block]:
    """Blocks of those sources that are written down, by first seed; a torn line is none."""
    found: dict[int, Block] = {}
    names = {one.name for one in fields(Block)}
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            values = json.loads(line)
        except ValueError:
            continue
        if set(values) == names and values["sources"] == sources and values["runs"] == BLOCK:
            found[values["first_seed"]] = Block(**values)
    return found


def hash_of(root: Path) -> str:
    """Of everything that decides what becomes of a seed."""
    found = hashlib.sha256()
    for folder in ("difftori_ros", "tests/support", "config/robots"):
        for path in sorted((root / folder).rglob("*.*")):
            if path.suffix in (".py", ".yaml", ".urdf"):
                found.update(path.read_bytes())
    return found.hexdigest()[:16]


def commit_of(root: Path) -> str:
    """The commit of the checkout, with a mark when it holds changes."""
    given = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    return given.stdout.strip() or "unknown"


def run_blocks(firsts: list[int], runs: int, jobs: int, sources: str) -> Iterator[Block]:
    """Blocks as they are finished."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context) as pool:
        waiting = [pool.submit(run_block, first, runs, sources) for first in firsts]
        for done in as_completed(waiting):
            yield done.result()


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
        return int(tell(arguments.seed, console) > 0)
    runs, first = QUICK if arguments.quick else arguments.runs, arguments.first_seed
    sources, lines = hash_of(ROOT), arguments.json.with_suffix(".jsonl")
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    wanted = list(range(first, first + runs, BLOCK))
    known = finished(lines, sources)
    blocks = [known[one] for one in wanted if one in known]
    missing = [one for one in wanted if one not in known]
    with tqdm(total=len(wanted) * BLOCK, desc="runs", unit="run", smoothing=0.05) as bar:
        bar.update(len(blocks) * BLOCK)
        for block in run_blocks(missing, BLOCK, arguments.jobs, sources):
            blocks.append(block)
            with lines.open("a") as file:
                file.write(json.dumps(block.__dict__) + "\n")
            bar.update(BLOCK)
            bar.set_postfix(breaches=sum(len(one.breached) for one in blocks))
    found = summary(merged(blocks))
    arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    shown = {key: value for key, value in found.items() if key != "breached"}
    console.print_json(json.dumps(shown))
    for seed, what in list(found["breached"].items())[:20]:
        console.print(f"{seed}: {what}", markup=False, highlight=False, soft_wrap=True)
    return int(found["breaches"] > 0)


if __name__ == "__main__":
    sys.exit(main())
