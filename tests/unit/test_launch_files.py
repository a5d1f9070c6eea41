# SPDX-License-Identifier: MIT
"""The launch files start exactly what the process starter starts, and explain every argument."""

import ast
import os
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import setuptools

from difftori_ros import bringup
from difftori_ros.bringup import launch_actions
from difftori_ros.config.parameters import POLICY
from difftori_ros.config.paths import share_dir
from difftori_ros.guard.config import GUARD

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "launch").glob("*.launch.py"))
POLICY_FILE, SIM_FILE = (ROOT / "launch" / f"{name}.launch.py" for name in ("policy", "sim"))
CHECKPOINT = "pick_cube_state"


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def arguments(path: Path) -> dict[str, tuple[str, str]]:
    """Name -> default and description of what the file declares."""
    for node in tree(path).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ARGUMENTS":
            return {name: (default, text) for name, default, text in ast.literal_eval(node.value)}
    raise AssertionError(f"{path.name} has no ARGUMENTS")


def run_start(path: Path, given: dict[str, str]):
    """What the file's own `start` hands to launch, without launch: `Include`s become pairs."""
    body = [node for node in tree(path).body if isinstance(node, ast.FunctionDef)]
    start = next(node for node in body if node.name == "start")
    names = {
        "policy_specs": bringup.policy_specs,
        "bridge_spec": bringup.bridge_spec,
        "sim_policy_settings": bringup.sim_policy_settings,
        "typed": launch_actions.typed,
        "words": launch_actions.words,
        "remaps": launch_actions.remaps,
        "share_dir": share_dir,
        "actions": lambda specs, namespace, log_level: list(specs),
        "PythonLaunchDescriptionSource": Path,
        "IncludeLaunchDescription": lambda source, launch_arguments: (
            source,
            dict(launch_arguments),
        ),
    }
    exec(compile(ast.Module([start], []), str(path), "exec"), names)
    values = {name: default for name, (default, _) in arguments(path).items()} | given
    nodes = []
    for action in names["start"](SimpleNamespace(launch_configurations=values)):
        if isinstance(action, bringup.NodeSpec):
            nodes.append(action)
        else:  # an included file sees the configurations of the one that includes it
            nodes += run_start(action[0], values | action[1])
    return nodes


def test_there_are_the_two_documented_entries():
    assert FILES == [POLICY_FILE, SIM_FILE]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_file_compiles_and_imports_nothing_that_is_not_there(path):
    compile(path.read_text(), str(path), "exec")
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("difftori"):
            module = __import__(str(node.module), fromlist=["-"])
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_argument_has_a_description_and_is_used(path):
    source = ast.unparse(tree(path))
    for name, (default, text) in arguments(path).items():
        assert isinstance(default, str), f"{name}: launch takes text as default"
        assert text.endswith("."), f"{name}: '{text}' is no sentence"
        assert len(text) > 10
        used = source.count(f"'{name}'") >= 2
        inherited = path == SIM_FILE and name in arguments(POLICY_FILE)
        assert used or inherited or name.removesuffix("_topic") in launch_actions.TOPICS, name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_argument_that_the_file_reads_is_declared(path):
    declared = arguments(path)
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "value":
            assert ast.literal_eval(node.slice) in declared
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "typed":
            for name in node.args[1:]:
                assert ast.literal_eval(name) in declared


def test_examples_in_the_docstrings_use_declared_arguments_alone():
    for path in FILES:
        for line in (ast.get_docstring(tree(path)) or "").splitlines():
            if line.startswith("ros2 launch"):
                used = [word.split(":=")[0] for word in line.split() if ":=" in word]
                assert set(used) <= set(arguments(path)), line


def test_every_parameter_that_an_argument_sets_exists():
    known = {parameter.name for parameter in POLICY} | {"use_sim_time"}
    given = {"device": "cpu", "trigger": "timer", "deadline_s": "0.1", "dry_run": "true"}
    given |= {"autostart": "false", "use_sim_time": "true"}
    guard, policy, _ = run_start(POLICY_FILE, given)
    assert set(policy.parameters) <= known
    assert set(guard.parameters) <= {parameter.name for parameter in GUARD} | {"use_sim_time"}
    assert policy.parameters["deadline_s"] == 0.1
    assert policy.parameters["dry_run"] is True
    assert policy.parameters["autostart"] is False
    assert guard.parameters["use_sim_time"] is True


def test_policy_launch_starts_what_the_process_starter_starts():
    assert run_start(POLICY_FILE, {"checkpoint": CHECKPOINT}) == bringup.policy_specs(
        CHECKPOINT, "panda", blackbox=True
    )


@pytest.mark.parametrize(("given", "recorded"), [("true", True), ("false", False), ("", True)])
def test_black_box_runs_unless_it_is_switched_off(given, recorded):
    names = [node.name for node in run_start(POLICY_FILE, {"blackbox": given})]
    assert ("blackbox_node" in names) is recorded


def test_every_node_gets_its_own_enclave():
    for path in FILES:
        for node in run_start(path, {"enclaves": "/difftori", "checkpoint": CHECKPOINT}):
            assert node.enclave == f"/difftori/{node.name}"


@pytest.mark.parametrize("clock", ["lockstep", "wall"])
def test_sim_launch_starts_what_the_process_starter_starts(clock):
    found = run_start(SIM_FILE, {"checkpoint": CHECKPOINT, "clock": clock})
    assert found == bringup.sim_specs(CHECKPOINT, "panda", clock)


def test_parameters_in_a_users_file_are_not_overruled_by_defaults_of_arguments():
    for node in run_start(POLICY_FILE, {"config_file": "/my.yaml"}):
        assert node.parameter_files[-1] == Path("/my.yaml")
        assert set(node.parameters) <= {"checkpoint", "robot"}


def test_topic_arguments_become_remaps_of_both_nodes():
    for node in run_start(POLICY_FILE, {"points_topic": "/camera/depth/points"}):
        assert node.remaps == {"points": "/camera/depth/points"}


def test_typed_and_words_are_inverse():
    values = {"use_sim_time": True, "deadline_s": 0.0, "trigger": "observation", "threads": 2}
    assert launch_actions.typed(launch_actions.words(values), *values) == values
    assert launch_actions.words(values)["use_sim_time"] == "true"


def test_whole_number_for_a_float_is_a_float_as_ros_would_refuse_it():
    assert repr(launch_actions.typed({"deadline_s": "0", "dry_run": "false"}, "deadline_s")) == (
        "{'deadline_s': 0.0}"
    )


def specs() -> list[bringup.NodeSpec]:
    *_, blackbox = bringup.policy_specs(CHECKPOINT, "panda", blackbox=True)
    return [*bringup.sim_specs(CHECKPOINT, "panda", "lockstep"), blackbox]


@pytest.mark.parametrize("spec", specs(), ids=lambda spec: spec.name)
def test_every_executable_is_a_script_that_runs_the_nodes_module(spec):
    script = ROOT / "scripts" / "ros" / spec.executable
    assert os.access(script, os.X_OK)
    command = script.read_text().splitlines()[-1]
    assert command == f'exec "$python" -m {spec.module} "$@"'


def test_every_executable_and_launch_file_is_installed(monkeypatch):
    made = {}
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(setuptools, "setup", lambda **options: made.update(options))
    exec(compile((ROOT / "setup.py").read_text(), "setup.py", "exec"), {"__name__": "setup"})
    files = dict(made["data_files"])
    for spec in specs():
        assert f"scripts/ros/{spec.executable}" in files["lib/difftori_ros"]
        entry = f"{spec.executable} = {spec.module}:main"
        assert entry in made["entry_points"]["console_scripts"]
    installed = files["share/difftori_ros/launch"]
    assert installed == [f"launch/{path.name}" for path in FILES]


def test_launch_itself_makes_the_nodes_of_the_process_starter():
    pytest.importorskip("launch_ros")
    from launch.actions import IncludeLaunchDescription
    from launch.launch_description_sources import PythonLaunchDescriptionSource
    from launch_ros.actions import Node

    from launch import LaunchContext

    context = LaunchContext(argv=[])
    given = {"checkpoint": CHECKPOINT, "clock": "lockstep"}
    source = PythonLaunchDescriptionSource(str(SIM_FILE))
    pending = [IncludeLaunchDescription(source, launch_arguments=given.items())]
    found = []
    while pending:
        entity = pending.pop(0)
        if isinstance(entity, Node):
            found.append(entity)
        elif made := entity.visit(context):
            pending = [*made, *pending]
    assert [node.node_package for node in found] == ["difftori_ros"] * 3
    simulated = bringup.sim_specs(CHECKPOINT, "panda", "lockstep")
    assert [node.node_executable for node in found] == [spec.executable for spec in simulated]
