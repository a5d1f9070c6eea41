# SPDX-License-Identifier: MIT
"""The benchmark of random runs counts what was broken, and goes on where it was broken off."""

import json
import subprocess
import sys

import pytest

from benchmarks.support import guard_blocks
from benchmarks.support.guard_blocks import collected, exit_status, merged, run_block, summary
from tests.conftest import ROOT
from tests.support.virtual.cases import random_case
from tests.support.virtual.judge import Breach
from tests.support.virtual.world import run


@pytest.fixture
def drawn(monkeypatch):
    """Every tenth seed breaks P1; nothing is really run, and all of it in this process."""

    class Ran:
        def __init__(self, seed):
            broken = [Breach("P1", 5.0, "jumps")] if seed % 10 == 0 else []
            rad = 0.05 if broken else 0.01
            tally = {"breaches": broken, "accepted": 3, "refused": 1, "commands": 8}
            tally |= {"unclosed": 0, "worst_rad": rad, "worst_rad_s": 0.1}
            self.tally, self.judge = type("Tally", (), tally), self

    def run_blocks(firsts, runs, jobs, sources):
        seen.extend(firsts)
        return (run_block(first, runs, sources) for first in firsts)

    seen = []
    monkeypatch.setattr(guard_blocks, "random_case", lambda seed: seed)
    monkeypatch.setattr(guard_blocks, "run", Ran)
    monkeypatch.setattr(guard_blocks, "run_blocks", run_blocks)
    return seen


def of(lines, first_seed, runs):
    return summary(merged(list(collected(lines, first_seed, runs, 1))))


def test_breaches_are_counted_named_and_decide_the_exit_status(drawn, tmp_path):
    found = of(tmp_path / "runs.jsonl", 1000, 100)
    assert exit_status(found["breaches"]) == 1
    assert exit_status(0) == 0
    assert (found["runs"], found["breaches"], found["first_seed"]) == (100, 10, 1000)
    assert (found["worst_rad"], found["worst_rad_s"], found["refused_share"]) == (0.05, 0.1, 0.25)
    assert found["promises"] == {"P1": 10}
    assert found["breached"]["1010"] == "P1 at 5 ms: jumps"
    assert found["runs_per_s"] > 0


def test_finished_blocks_are_not_run_again_and_a_torn_line_is_none(drawn, tmp_path):
    lines = tmp_path / "runs.jsonl"
    whole = of(lines, 0, 100)
    first, second = lines.read_text().splitlines()
    lines.write_text(f"{first}\n{second[:40]}\n")
    drawn.clear()
    again = of(lines, 0, 100)
    assert drawn == [json.loads(second)["first_seed"]]
    assert again | {"runs_per_s": 0} == whole | {"runs_per_s": 0}


def test_blocks_of_other_sources_are_run_again(drawn, monkeypatch, tmp_path):
    lines = tmp_path / "runs.jsonl"
    of(lines, 0, 50)
    drawn.clear()
    monkeypatch.setattr(guard_blocks, "hash_of", lambda root: "other")
    of(lines, 0, 50)
    assert drawn == [0]


def test_one_seed_is_told_event_by_event():
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "guard_runs.py"), "--seed", "3"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "seed=3" in done.stdout, done.stderr[-2000:]
    assert "policy sends a plan" in done.stdout
    assert "guard commands the arm" in done.stdout
    assert done.returncode == int("BREACH" in done.stdout)


def test_a_block_is_what_its_seeds_come_to():
    block = run_block(5, 2, "any")
    one, other = (run(random_case(seed)).judge.tally for seed in (5, 6))
    assert block.runs == 2
    assert block.accepted == one.accepted + other.accepted
    assert block.worst_rad == max(one.worst_rad, other.worst_rad)
