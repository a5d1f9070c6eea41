# SPDX-License-Identifier: MIT
"""Every benchmark runs, with `--quick`, from the checkout; no document is touched by it."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

SCRIPTS = sorted(
    path for folder in ("", "studies") for path in (ROOT / "benchmarks" / folder).glob("[!_]*.py")
)
VULKAN = ("expert_success", "imitation", "robustness", "shipped_checkpoints")
"""Studies whose worlds SAPIEN makes."""


def started(path: Path, *given: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(path), *given],
        cwd=cwd,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
    )


def documents() -> str:
    found = hashlib.sha256()
    for path in sorted((ROOT / "docs").rglob("*")):
        if path.is_file():
            found.update(path.read_bytes())
    return found.hexdigest()


def test_there_are_benchmarks_and_studies():
    names = {path.stem for path in SCRIPTS}
    assert {"solver", "loop", "rl", "planner", "stages", "robustness", "bimodal"} <= names


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_every_benchmark_says_what_quick_is(path):
    assert '"--quick"' in path.read_text() or "add_quick(" in path.read_text()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[pytest.mark.vulkan] * (path.stem in VULKAN), id=path.stem)
        for path in SCRIPTS
    ],
)
def test_every_benchmark_runs_quickly_and_touches_no_document(path, tmp_path):
    before = documents()
    done = started(path, "--quick", cwd=tmp_path)
    assert done.returncode == 0, f"{done.stdout[-1000:]}\n{done.stderr[-3000:]}"
    assert done.stdout.strip(), "it tells what it has found"
    assert documents() == before


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bimodal", "reinforcement"])
def test_a_study_without_its_lines_says_what_to_run_first(name, tmp_path):
    path = ROOT / "benchmarks" / "studies" / f"{name}.py"
    done = started(path, "--render", "--jsonl", "none.jsonl", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "none.jsonl has no lines yet: run this study without --render first"
    )


@pytest.mark.slow
def test_the_planners_benchmark_names_the_checkpoints_that_there_are(tmp_path):
    done = started(ROOT / "benchmarks" / "planner.py", "--checkpoints", "nowhere", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "pick_cube_state" in done.stderr
