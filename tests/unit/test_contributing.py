# SPDX-License-Identifier: MIT
"""The recipes of CONTRIBUTING.md work as printed, in a copy of the checkout."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.reach_task import make_demos

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
COPIED = ("difftori_ros", "models", "sim", "config", "tests/support")


def blocks(recipe: str) -> list[tuple[str, str, str]]:
    """Language, file name (or nothing) and text of each code block of a recipe."""
    [section] = re.findall(rf"^## {recipe}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    return re.findall(r'^```(\w+)(?: title="(.+?)")?\n(.*?)^```$', section, re.M | re.S)


@pytest.fixture
def copy(tmp_path) -> Path:
    """What a recipe may change, as importable from there as it is from here."""
    for folder in COPIED:
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("*.pyc"))
    for name in ("tests/__init__.py", "package.xml", "setup.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "tests" / "unit").mkdir()
    for name, folder in {"difftori_models": "models", "difftori_sim": "sim"}.items():
        (tmp_path / name).symlink_to(tmp_path / folder)
    return tmp_path


def follow(recipe: str, folder: Path) -> str:
    """Do what the blocks of a recipe say, one after the other; what the last command printed."""
    printed = ""
    for language, title, text in blocks(recipe):
        if language == "diff":
            change(folder / title, text)
        elif title:
            (folder / title).write_text(text)
        elif language == "python":
            printed = run([sys.executable, "-c", text], folder)
        else:
            for line in text.splitlines():
                printed = run(words(line), folder)
    return printed


def change(path: Path, diff: str) -> None:
    """Replace the lines of `diff` that begin with ` ` or `-` by those with ` ` or `+`."""
    old = "".join(line[1:] for line in diff.splitlines(True) if line[0] in " -")
    new = "".join(line[1:] for line in diff.splitlines(True) if line[0] in " +")
    assert path.read_text().count(old) == 1, f"{path.name} has not once:\n{old}"
    path.write_text(path.read_text().replace(old, new))


def words(line: str) -> list[str]:
    """A command line, with the programs of this environment."""
    first, *rest = shlex.split(line)
    programs = {
        "difftori": [sys.executable, "-m", "difftori_sim.cli.main"],
        "python": [sys.executable],
    }
    return [*programs.get(first, [first]), *rest]


def run(command: list[str], folder: Path) -> str:
    environment = os.environ | {"PYTHONPATH": str(folder), "XDG_CACHE_HOME": str(folder / "cache")}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def test_policy_of_the_recipe_trains_to_a_checkpoint_that_plans(copy):
    (copy / "data").mkdir()
    make_demos(copy / "data" / "mine.npz", episodes=6)
    follow("Add a policy", copy)
    plan = """
import numpy as np
from difftori_models.contract import Observation
from difftori_models.inference import Planner
planner = Planner("runs/constant/checkpoint", backend="eager")
spec = planner.card.observation
poses = {name: np.array([0.5, 0, 0.2, 1, 0, 0, 0]) for name in ("tip", *spec.poses)}
joints = np.zeros(len(spec.joint_names))
print(planner.card.method, planner.plan(Observation(0, spec.joint_names, joints, joints, poses)))
"""
    printed = run([sys.executable, "-c", plan], copy)
    assert printed.startswith("constant Plan(")
    assert "PlanStatus.BASE" in printed


def test_recipe_for_a_suite_is_on_the_page_that_is_linked():
    assert "(docs/how-to/use-a-suite.md#add-a-suite)" in PAGE
    page = (ROOT / "docs" / "how-to" / "use-a-suite.md").read_text()
    assert "\n## Add a suite\n" in page  # tests/sim/test_add_a_suite.py follows it


def test_robot_of_the_recipe_is_found_by_its_name_and_has_kinematics(copy):
    printed = follow("Add a robot", copy)
    assert re.fullmatch(r"tip at home, x y z \[m\]: \[.*\]\n", printed)


def test_codec_of_the_recipe_passes_the_tests_of_the_recipe(copy):
    assert "2 passed" in follow("Add a codec", copy)
