# SPDX-License-Identifier: MIT
"""The layers hold: models <- difftori_ros <- sim; ROS at the edge; no torch in the guard."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {"difftori_models": "models", "difftori_ros": "difftori_ros", "difftori_sim": "sim"}
SIMULATORS = {
    "mani_skill",
    "sapien",
    "gymnasium",
    "mujoco",
    "metaworld",
    "robosuite",
    "dm_control",
}
ROS = {"rclpy", "launch", "launch_ros"}
LAUNCH_FILES = "difftori_ros/launching.py"
"""The one module that turns node specs into launch's actions."""


def files(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found, f"nothing to check in {folder}/"
    return found


def package_of(path: Path) -> list[str]:
    """Import name of the package that holds the file, in parts."""
    first, *rest = path.relative_to(ROOT).parent.parts
    names = {folder: name for name, folder in FOLDERS.items()}
    return [names.get(first, first), *rest]


def imports(source: str, package: list[str]) -> set[str]:
    """Top-level names of everything imported anywhere in the source: in functions, under
    TYPE_CHECKING, by relative paths, and by `importlib.import_module` with a literal name."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            assert base or not node.level, "a relative import leads out of its package"
            found.add([*base, *(node.module or "").split(".")][0])
        elif isinstance(node, ast.Call) and node.args:
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            name = node.args[0]
            if called in ("import_module", "__import__") and isinstance(name, ast.Constant):
                found.add(str(name.value).split(".")[0])
    return found


def breaches(folder: str, forbidden: set[str], allowed=lambda path: False) -> list[str]:
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files(folder)
        if not allowed(path)
        for name in sorted(imports(path.read_text(), package_of(path)) & forbidden)
    ]


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import torch.nn as nn", {"torch"}),
        ("from rclpy.node import Node", {"rclpy"}),
        ("def f():\n    import torch", {"torch"}),
        ("if TYPE_CHECKING:\n    from rclpy import Context", {"rclpy"}),
        ("from . import card\nfrom ..solver import x\nfrom .a.b import c", {"difftori_models"}),
        ("import importlib\nimportlib.import_module('sapien.render')", {"importlib", "sapien"}),
        ("try:\n    import launch\nexcept ImportError:\n    pass", {"launch"}),
    ],
)
def test_every_way_to_import_is_seen(source, names):
    assert imports(source, ["difftori_models", "policies"]) == names


def test_a_relative_import_cannot_leave_its_package_unseen():
    with pytest.raises(AssertionError, match="out of its package"):
        imports("from ...sim import world", ["difftori_models", "policies"])


def test_models_know_neither_ros_nor_simulators_nor_higher_layers():
    assert breaches("models", ROS | SIMULATORS | {"difftori_ros", "difftori_sim"}) == []


def test_robot_side_knows_no_simulator():
    assert breaches("difftori_ros", SIMULATORS | {"difftori_sim"}) == []


def test_only_nodes_the_bridge_and_launch_files_know_ros():
    def allowed(path: Path) -> bool:
        return path.name.endswith("_node.py") or path == ROOT / "sim" / "ros_bridge.py"

    def launching(path: Path) -> bool:
        return path == ROOT / LAUNCH_FILES

    assert breaches("difftori_ros", {"rclpy"}, allowed) == []
    assert breaches("sim", {"rclpy"}, allowed) == []
    assert breaches("difftori_ros", {"launch", "launch_ros"}, launching) == []
    assert breaches("sim", {"launch", "launch_ros"}) == []


def test_robot_side_never_names_torch():
    assert breaches("difftori_ros", {"torch"}) == []


def test_modules_are_reached_under_one_name_only():
    for folder in (*FOLDERS.values(), "launch"):
        assert breaches(folder, {"models", "sim", "tests"}) == []


def loaded_after(imported: list[str]) -> set[str]:
    """Top-level modules that a fresh process holds after importing these."""
    code = "import sys\n" + "".join(f"import {name}\n" for name in imported)
    code += "print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_guard_process_never_loads_torch():
    loaded = loaded_after(["difftori_ros.guard_node"])
    assert "rclpy" in loaded
    assert "torch" not in loaded


def test_pure_modules_load_neither_rclpy_nor_torch():
    """Also not through what they import in turn."""
    names = [
        f"difftori_ros.{path.stem}"
        for path in files("difftori_ros")
        if not path.stem.endswith("_node") and path.stem != "__init__"
    ]
    assert loaded_after(names) & {"rclpy", "torch", "launch", "mani_skill", "sapien"} == set()
