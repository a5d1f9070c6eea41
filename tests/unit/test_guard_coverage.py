# SPDX-License-Identifier: MIT
"""Every branch of the guard is taken by some test of the guard."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GUARD = sorted(
    path.stem for path in (ROOT / "difftori_ros" / "guard").glob("*.py") if path.stem != "__init__"
)


def test_the_tests_of_the_guard_take_every_branch_of_it(tmp_path):
    here = Path(__file__).parent
    tests = [p for p in sorted(here.glob("test_guard*.py")) if p != Path(__file__)]
    environment = os.environ | {"COVERAGE_FILE": str(tmp_path / "coverage")}
    coverage = [sys.executable, "-m", "coverage"]
    include = ",".join(str(ROOT / "difftori_ros" / "guard" / f"{name}.py") for name in GUARD)
    runner = [*coverage, "run", "--branch", f"--include={include}", "-m", "pytest", "-q"]
    runner += ["-p", "no:cacheprovider", *map(str, tests)]
    runner += [str(here / "test_workspace.py"), str(here / "test_latch_file.py")]
    done = subprocess.run(
        runner, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
    report = [*coverage, "report", "--show-missing", "--fail-under=100"]
    told = subprocess.run(
        report, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stdout
    assert all(f"{name}.py" in told.stdout for name in GUARD)
