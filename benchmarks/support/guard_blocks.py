# SPDX-License-Identifier: MIT
"""Random runs of the guard in blocks: run side by side, written down as they are finished, summed.

A block of the same sources is not run again.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import platform
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from tests.support.virtual.cases import random_case
from tests.support.virtual.world import run

ROOT = Path(__file__).resolve().parents[2]
BLOCK = 50
"""Runs that are written down together."""


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


def collected(lines: Path, first_seed: int, runs: int, jobs: int) -> Iterator[Block]:
    """Blocks of the runs: those in the file first, the others as they are finished.

    Args:
        lines: One line for each finished block; the others are added.
        first_seed: Of the first run.
        runs: How many, in whole blocks.
        jobs: Processes.
    """
    sources = hash_of(ROOT)
    wanted = list(range(first_seed, first_seed + runs, BLOCK))
    known = finished(lines, sources)
    yield from (known[one] for one in wanted if one in known)
    missing = [one for one in wanted if one not in known]
    for block in run_blocks(missing, BLOCK, jobs, sources):
        with lines.open("a") as file:
            file.write(json.dumps(block.__dict__) + "\n")
        yield block


def exit_status(breaches: int) -> int:
    """1 when a promise was broken."""
    return int(breaches > 0)
