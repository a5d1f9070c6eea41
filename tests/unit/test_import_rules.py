# SPDX-License-Identifier: MIT
"""The layers hold: models <- difftori_ros <- sim; ROS at the edge; no torch in the guard."""

import ast
import graphlib
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
LAUNCH_FILES = "difftori_ros/bringup/launch_actions.py"
"""The one module that turns node specs into launch's actions."""
ROS_FOLDERS = ("difftori_ros/nodes", "sim/ros")
LIVE_INSPECTION = "difftori_ros/tools/inspect_node.py"
GUARDS = {"guard", "motion", "codecs", "config", "robot", "status", "nodes"}
"""Packages of the guard's process, beside the modules at the top of `difftori_ros`."""
GUARD_NODES = {
    "controller_outputs",
    "guard_node",
    "guard_publisher",
    "node_base",
    "polled_subscription",
    "realtime",
    "spin",
    "status_publisher",
}
GUARD_LIBRARIES = {"numpy", "ruckig", "yaml"}
"""Third-party modules of the guard's process, beside ROS."""
GUARD_ROS = {"ament_index_python", "rclpy", "rosidl_parser", "rpyutils"}


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


def test_only_nodes_and_launch_files_know_ros():
    """`nodes/` and `sim/ros/` import rclpy, and so does the live inspection of inputs."""

    def allowed(path: Path) -> bool:
        name = str(path.relative_to(ROOT))
        return name.startswith(tuple(f"{folder}/" for folder in ROS_FOLDERS)) or (
            name == LIVE_INSPECTION
        )

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
    """Modules that a fresh process holds after importing these."""
    code = "import sys\n" + "".join(f"import {name}\n" for name in imported)
    code += "print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def of_libraries(modules: set[str]) -> set[str]:
    """The folders below site-packages that they come from, without what is loaded at any start."""
    return {name.split(".")[0] for name in modules - loaded_after([])} - sys.stdlib_module_names


def test_guard_process_loads_only_what_guards():
    loaded = loaded_after(["difftori_ros.nodes.guard_node"])
    ours = {name for name in loaded if name.startswith("difftori_")}
    packages = {name.split(".")[1] for name in ours if name.count(".") == 2}
    assert {name.split(".")[0] for name in ours} == {"difftori_ros"}
    assert packages <= GUARDS, f"not of the guard: {sorted(packages - GUARDS)}"
    nodes = {name.split(".")[2] for name in ours if name.startswith("difftori_ros.nodes.")}
    assert nodes <= GUARD_NODES, f"not of the guard: {sorted(nodes - GUARD_NODES)}"
    libraries = of_libraries(loaded) - {"difftori_ros"} - GUARD_LIBRARIES - GUARD_ROS
    messages = ("_msgs", "_srvs", "_interfaces")
    others = {name for name in libraries if not name.endswith(messages)}
    others = {name for name in others if not name.startswith(("_cython", "cython"))}
    assert others == set(), f"not of the guard: {sorted(others)}"


def test_pure_modules_load_neither_rclpy_nor_torch():
    """Also not through what they import in turn."""
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in files("difftori_ros")
        if path.parent.name != "nodes" and path != ROOT / LIVE_INSPECTION
    ]
    loaded = {name.split(".")[0] for name in loaded_after(names)}
    assert loaded & {"rclpy", "torch", "launch", "mani_skill", "sapien"} == set()


def arrows(module: str, path: Path) -> set[str]:
    """Names of modules that the file imports, wherever in it; not what the type checker needs."""
    package = package_of(path)
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            whole = ".".join([*base, *([node.module] if node.module else [])])
            found |= {whole, *(f"{whole}.{alias.name}" for alias in node.names)}
    return found - {module}


def test_no_modules_import_each_other_in_a_circle():
    paths = {
        ".".join([*package_of(path), *([] if path.stem == "__init__" else [path.stem])]): path
        for folder in FOLDERS.values()
        for path in files(folder)
    }
    graph = {name: arrows(name, path) & paths.keys() for name, path in paths.items()}
    # Whoever imports the module of a package runs the package as well, which may name its modules.
    graph = {
        name: {to for to in targets if not name.startswith(f"{to}.")}
        for name, targets in graph.items()
    }
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("folder", FOLDERS.values())
def test_no_room_is_overcrowded(folder):
    """At most 16 modules in a folder, so that each is found at a glance; none over 400 lines."""
    rooms: dict[Path, int] = {}
    for path in files(folder):
        rooms[path.parent] = rooms.get(path.parent, 0) + (path.stem != "__init__")
        assert len(path.read_text().splitlines()) <= 400, path
    assert {str(room): count for room, count in rooms.items() if count > 16} == {}
