# SPDX-License-Identifier: MIT
"""The benchmark of random runs counts what was broken, and goes on where it was broken off."""

import importlib.util
import json
import sys

import pytest

from tests.conftest import ROOT
from tests.support.virtual.judge import Breach


@pytest.fixture(scope="module")
def bench():
    path = ROOT / "benchmarks" / "guard_runs.py"
    spec = importlib.util.spec_from_file_location("guard_runs", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["guard_runs"] = module  # dataclasses look there for the names in annotations
    spec.loader.exec_module(module)
    yield module
    del sys.modules["guard_runs"]


@pytest.fixture
def drawn(bench, monkeypatch):
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
        return (bench.run_block(first, runs, sources) for first in firsts)

    seen = []
    monkeypatch.setattr(bench, "random_case", lambda seed: seed)
    monkeypatch.setattr(bench, "run", Ran)
    monkeypatch.setattr(bench, "run_blocks", run_blocks)
    return seen


def call(bench, monkeypatch, path, *given):
    monkeypatch.setattr(sys, "argv", ["guard_runs.py", "--json", str(path), *given])
    return bench.main()


def test_breaches_are_counted_named_and_decide_the_exit_status(
    bench, drawn, monkeypatch, tmp_path
):
    path = tmp_path / "runs.json"
    assert call(bench, monkeypatch, path, "--runs", "100", "--first-seed", "1000") == 1
    found = json.loads(path.read_text())
    assert (found["runs"], found["breaches"], found["first_seed"]) == (100, 10, 1000)
    assert (found["worst_rad"], found["worst_rad_s"], found["refused_share"]) == (0.05, 0.1, 0.25)
    assert found["promises"] == {"P1": 10}
    assert found["breached"]["1010"] == "P1 at 5 ms: jumps"
    assert found["runs_per_s"] > 0


def test_finished_blocks_are_not_run_again_and_a_torn_line_is_none(
    bench, drawn, monkeypatch, tmp_path
):
    path, lines = tmp_path / "runs.json", tmp_path / "runs.jsonl"
    call(bench, monkeypatch, path, "--runs", "100")
    whole = json.loads(path.read_text())
    first, second = lines.read_text().splitlines()
    lines.write_text(f"{first}\n{second[:40]}\n")
    drawn.clear()
    call(bench, monkeypatch, path, "--runs", "100")
    assert drawn == [json.loads(second)["first_seed"]]
    again = json.loads(path.read_text())
    assert again | {"runs_per_s": 0} == whole | {"runs_per_s": 0}


def test_blocks_of_other_sources_are_run_again(bench, drawn, monkeypatch, tmp_path):
    path = tmp_path / "runs.json"
    call(bench, monkeypatch, path, "--runs", "50")
    drawn.clear()
    monkeypatch.setattr(bench, "hash_of", lambda root: "other")
    call(bench, monkeypatch, path, "--runs", "50")
    assert drawn == [0]


def test_one_seed_is_told_event_by_event(bench, monkeypatch, tmp_path, capsys):
    status = call(bench, monkeypatch, tmp_path / "runs.json", "--seed", "3")
    told = capsys.readouterr().out
    assert "seed=3" in told
    assert "policy sends a plan" in told
    assert "guard commands the arm" in told
    assert status == int("BREACH" in told)


def test_a_block_is_what_its_seeds_come_to(bench):
    block = bench.run_block(5, 2, "any")
    one, other = (bench.run(bench.random_case(seed)).judge.tally for seed in (5, 6))
    assert block.runs == 2
    assert block.accepted == one.accepted + other.accepted
    assert block.worst_rad == max(one.worst_rad, other.worst_rad)
