# SPDX-License-Identifier: MIT
"""Processes are killed and stopped at random times in mid-motion: does the arm always rest?

    python benchmarks/kills.py --episodes 100 --json out/kills.json
    python benchmarks/kills.py --episodes 100 --load 2 --json out/kills_load_2.json

Policy, guard and simulated robot get SIGKILL or SIGSTOP in turn, 0 to 3 s into a motion. Nothing
helps from then on: the arm must be at rest within the promised bound, and every command that was
ever heard must keep P1 to P4, judged by when it was published. What was stopped continues, what
was killed is started afresh, and nothing may jump then: no joint may get further between two
samples than its speed allows. A guard that is started afresh while plans flow, and so begins in a
fault, may move nothing until it is reset, and must go on after that. Policy and guard are killed
and stopped in front of a kinematic fake arm, which follows exactly. The bridge is the simulated
robot itself: its world stands still with it, so guard and policy must name that in time; when it
continues the arm must come to rest on the world's own clock, and stay there. A blink is a SIGSTOP
that ends before all is at rest: what was built in between must not count.

Every episode is written as a line of a file beside the JSON (`.jsonl`) at once; a run that was
broken off goes on from there when it is started again with the same settings.

JSON keys: `violations`, `episodes`, `kinds` (of each: `episodes`, `rest_s_p50`, `rest_s_max`,
`named_s_p50`, `named_s_max`, `step_rad_max`, `violations`), `what_was_violated`, `runs`, `seed`,
`load` (busy loops beside it), `machine`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from difftori_ros import bringup

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks.support.busy import busy
from benchmarks.support.episodes import Record, summary, write
from tests.support.bridged_harness import BridgedHarness
from tests.support.harness import Harness
from tests.support.kills import BLINKS, GUARD, KINDS, Kills
from tests.support.promises import REST_WITHIN_S


def run(
    harness: Harness, turns: dict[int, tuple[str, str]], seed: int, record: Record, bar: Any
) -> None:
    """The episodes of these turns, all on this harness; each has dice of its own."""
    for turn, (name, kind) in turns.items():
        record.add(turn, Kills(harness, f"{seed} {turn}").episode(name, kind))
        bar.update()
        bar.set_postfix(violations=sum(bool(one.violation) for one in record.episodes()))


def main() -> None:
    """Run the episodes and write what was seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--blinks", type=int, default=30)
    parser.add_argument("--checkpoint", default="pick_cube_state")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--load", type=int, default=0, help="busy loops beside it")
    parser.add_argument("--quick", action="store_true", help="one episode: the guard is killed")
    parser.add_argument("--json", type=Path, default=Path("out/kills.json"))
    arguments = parser.parse_args()
    bringup.interrupt_on_termination()
    kinds = [KINDS[k % len(KINDS)] for k in range(arguments.episodes)]
    kinds += [BLINKS[k % len(BLINKS)] for k in range(arguments.blinks)]
    turns = dict(enumerate([("guard_node", "kill")] if arguments.quick else kinds))
    settings = {
        key: getattr(arguments, key)
        for key in ("episodes", "blinks", "checkpoint", "seed", "load", "quick")
    }
    record = Record(arguments.json.with_suffix(".jsonl"), settings, len(turns))
    with (
        tempfile.TemporaryDirectory(prefix="difftori_kills_") as folder,
        tqdm(total=len(turns), initial=len(record.seen), desc="kills", unit="episode") as bar,
        busy(arguments.load),
    ):
        for make, bridged in ((Harness, False), (BridgedHarness, True)):
            own = {
                turn: done
                for turn, done in turns.items()
                if (done[0] == "sim_bridge") == bridged and turn not in record.seen
            }
            if not own:
                continue
            place = Path(folder) / make.__name__
            place.mkdir()
            harness = make(place, arguments.checkpoint, guard=GUARD)
            try:
                run(harness, own, arguments.seed, record, bar)
            finally:
                harness.close()
    seen = record.episodes()
    others = {"seed": arguments.seed, "load": arguments.load}
    write(seen, REST_WITHIN_S, others, arguments.json)
    rows = summary(seen)
    table = Table("signal", *next(iter(rows.values()), ()))
    for label, row in rows.items():
        table.add_row(label, *("-" if value is None else str(value) for value in row.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
