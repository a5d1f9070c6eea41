# SPDX-License-Identifier: MIT
"""The process starter runs the nodes that launch would run, and always ends them."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import rclpy
import yaml
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from difftori_models.checkpoint import CheckpointError, load_card
from difftori_ros import bringup
from difftori_ros.bringup.node_specs import NodeSpec
from difftori_ros.bringup.processes import command_line
from difftori_ros.config.parameters import BLACKBOX, POLICY
from difftori_ros.config.paths import (
    available_checkpoints,
    checkpoint_dir,
    config_dir,
    find_checkpoint,
)
from difftori_ros.guard.config import GUARD
from difftori_ros.nodes.blackbox_node import inputs
from difftori_ros.robot.profile import load_profile

CHECKPOINT = "pick_cube_state"
VALUES = {
    "whole": 0.0,
    "tiny": 1e-7,
    "huge": 1e20,
    "count": 3,
    "on": True,
    "off": False,
    "text": "pick_cube_state",
    "number_like": "12",
    "yes_like": "true",
    "empty": "",
    "quoted": 'it\'s "here": #1, ~/x',
    "floats": [0.0, 1.5, -2.0],
    "words": ["a", "b c"],
}


def as_ros_reads(spec: NodeSpec) -> dict:
    """Parameters of a real node that is started with the arguments of the command line."""
    command = command_line(spec)
    context = rclpy.Context()
    rclpy.init(args=command[command.index("--ros-args") :], context=context)
    try:
        node = rclpy.create_node(
            "anything",
            context=context,
            start_parameter_services=False,
            automatically_declare_parameters_from_overrides=True,
        )
        assert node.get_name() == spec.name
        found = {name: value.value for name, value in node.get_parameters_by_prefix("").items()}
        node.destroy_node()
    finally:
        context.try_shutdown()
    return {
        name: value.tolist() if hasattr(value, "tolist") else value
        for name, value in found.items()
    }


def test_every_kind_of_parameter_reaches_the_node_as_what_it_is():
    found = as_ros_reads(NodeSpec("node", "node", "module", (), VALUES))
    for name, value in VALUES.items():
        assert found[name] == value, name
        assert type(found[name]) is type(value), name


def test_enclave_reaches_the_node_as_an_argument_of_ros():
    guard, *_ = bringup.policy_specs(CHECKPOINT, "panda", enclaves="/difftori/")
    assert command_line(guard)[-2:] == ["--enclave", "/difftori/guard_node"]


def test_parameter_files_are_read_in_order_and_parameters_stand_above_them(tmp_path):
    paths = []
    for number, values in enumerate(({"a": 1, "b": 1, "c": 1}, {"b": 2, "c": 2})):
        paths.append(tmp_path / f"{number}.yaml")
        paths[-1].write_text(yaml.safe_dump({"/**": {"node": {"ros__parameters": values}}}))
    found = as_ros_reads(NodeSpec("node", "node", "module", tuple(paths), {"c": 3}))
    assert {name: found[name] for name in "abc"} == {"a": 1, "b": 2, "c": 3}


def test_command_runs_the_module_with_this_python_under_the_nodes_name():
    spec = NodeSpec("policy_node", "policy_node", "some.module", (), {}, {"points": "/camera/x"})
    assert command_line(spec) == [
        *(sys.executable, "-m", "some.module", "--ros-args", "-r", "__node:=policy_node"),
        *("-r", "points:=/camera/x"),
    ]


def test_shipped_parameter_files_hold_the_documented_defaults():
    guard, policy, blackbox = bringup.policy_specs(CHECKPOINT, "panda", blackbox=True)
    for spec, parameters in ((guard, GUARD), (policy, POLICY), (blackbox, BLACKBOX)):
        defaults = {parameter.name: parameter.default for parameter in parameters}
        found = as_ros_reads(NodeSpec(spec.name, "", "", spec.parameter_files))
        of_ros = {"use_sim_time", "start_type_description_service"}
        assert {n: v for n, v in found.items() if n not in of_ros} == defaults


def depth_card():
    """A checkpoint that wants points without colour."""
    card = load_card(find_checkpoint("pick_cube_points"))
    assert card.observation.points is not None
    points = replace(card.observation.points, color=False)
    return replace(card, observation=replace(card.observation, points=points))


def test_the_black_box_listens_to_images_and_points_as_the_policy_does(tmp_path):
    file = tmp_path / "cell.yaml"
    ways = {"policy_node": {"ros__parameters": {"image_transport": "compressed"}}}
    file.write_text(yaml.safe_dump(ways))
    *_, blackbox = bringup.policy_specs(
        CHECKPOINT, "panda", config_file=file, parameters={"points_from": "depth"}, blackbox=True
    )
    heard = {name: blackbox.parameters[name] for name in ("image_transport", "points_from")}
    assert heard == {"image_transport": "compressed", "points_from": "depth"}
    card, profile = load_card(find_checkpoint("pick_cube_rgb")), load_profile("panda")
    kind, topic, _ = inputs(card, profile, heard)["camera"]
    assert (kind, topic) == (CompressedImage, "camera/image_raw/compressed")
    kind, topic, _ = inputs(depth_card(), profile, heard)["points"]
    assert (kind, topic) == (Image, "points/image_rect_raw")
    assert inputs(depth_card(), profile, heard)["points/camera_info"][0] is CameraInfo


def test_shipped_checkpoint_is_found_by_name_and_any_other_by_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_checkpoint(CHECKPOINT) == checkpoint_dir() / CHECKPOINT
    (tmp_path / "mine").mkdir()
    assert find_checkpoint("mine").resolve() == tmp_path / "mine"
    assert find_checkpoint(str(tmp_path / "mine")) == tmp_path / "mine"


def test_home_folder_may_be_written_as_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine").mkdir()
    assert find_checkpoint("~/mine") == tmp_path / "mine"


@pytest.mark.parametrize("name", ["pick_cube_stat", ""])
def test_unknown_checkpoint_is_refused_with_those_that_ship(name):
    with pytest.raises(FileNotFoundError, match=f"no checkpoint '{name}'") as caught:
        find_checkpoint(name)
    assert {CHECKPOINT, "push_cube_state"} <= set(available_checkpoints())
    for shipped in available_checkpoints():
        assert shipped in str(caught.value)


@pytest.mark.parametrize("clock", ["lockstep", "wall"])
def test_simulated_arm_gets_the_robot_side_of_the_real_one(clock):
    bridge, *simulated = bringup.sim_specs(CHECKPOINT, "panda", clock)
    real = bringup.policy_specs(CHECKPOINT, "panda")
    assert bridge.name == "sim_bridge"
    for ours, theirs in zip(simulated, real, strict=True):
        assert (ours.name, ours.executable, ours.module) == (
            theirs.name,
            theirs.executable,
            theirs.module,
        )
        assert ours.parameter_files == (*theirs.parameter_files, config_dir() / "sim.yaml")
        assert ours.remaps == theirs.remaps
        extra = {n: v for n, v in ours.parameters.items() if n not in theirs.parameters}
        assert theirs.parameters.items() <= ours.parameters.items()
        lockstep = {"trigger": "observation", "deadline_s": 0.0, "command_latency_s": 0.0}
        only_policy = lockstep if clock == "lockstep" and ours.name == "policy_node" else {}
        assert extra == {"use_sim_time": True} | only_policy


def test_simulated_world_is_the_one_the_checkpoint_was_trained_in():
    bridge = bringup.bridge_spec("push_cube_state", "panda", "wall")
    assert bridge.parameters == {
        "task": "push_cube",
        "robot": "panda",
        "clock": "wall",
        "period_s": 0.1,
        "cloud": False,
    }


def test_folder_that_is_no_checkpoint_is_refused_before_anything_starts(tmp_path):
    with pytest.raises(CheckpointError):
        bringup.bridge_spec(str(tmp_path), "panda", "lockstep")


# processes -----------------------------------------------------------------------------------


def python(code: str) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.stdout.close()
    return process


DEAF = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "
POLITE = "import signal, sys; signal.signal(signal.SIGINT, lambda *_: sys.exit(3)); "
WAIT = "print('ready', flush=True)\nwhile True: signal.pause()"


def test_process_that_ignores_sigint_is_ended_all_the_same(monkeypatch):
    monkeypatch.setattr("difftori_ros.bringup.processes.STOP_S", 0.3)
    processes = [python(DEAF + WAIT), python(POLITE + WAIT)]
    assert bringup.stop(processes) == [-signal.SIGKILL, 3]


def test_process_that_has_ended_keeps_its_exit_status():
    process = python("print('ready', flush=True); raise SystemExit(7)")
    process.wait(10)
    assert bringup.stop([process]) == [7]


def test_failure_of_a_node_ends_the_other_and_the_starter(ros_env):
    done = subprocess.run(
        [sys.executable, "-m", "difftori_ros.bringup.main", "--checkpoint", "nope", "--dry-run"],
        env=ros_env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "no checkpoint 'nope'" in done.stderr
    assert "Traceback" not in done.stderr


def test_starter_ends_its_nodes_when_it_is_told_to_end(ros_env, tmp_path):
    command = [sys.executable, "-m", "difftori_ros.bringup.main", "--checkpoint", CHECKPOINT]
    with subprocess.Popen(
        [*command, "--dry-run"], env=ros_env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as starter:
        assert starter.stderr is not None
        heard = []
        for line in starter.stderr:
            heard.append(line.decode())
            if "dry run" in heard[-1]:
                break
        assert "yes: plans are not sent" in heard[-1]
        starter.send_signal(signal.SIGTERM)
        # the nodes hold the pipe open: it ends when both are gone
        heard += [line.decode() for line in starter.stderr]
        assert starter.wait(30) == 0
    assert "Traceback" not in "".join(heard)
    assert Path(f"/proc/{starter.pid}").exists() is False


def test_black_box_that_dies_is_named_and_ends_nothing(ros_env):
    command = [sys.executable, "-m", "difftori_ros.bringup.main", "--checkpoint", CHECKPOINT]
    with subprocess.Popen(
        [*command, "--dry-run"], env=ros_env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as starter:
        assert starter.stderr is not None
        children = Path(f"/proc/{starter.pid}/task/{starter.pid}/children")
        ready, killed = {"dry run", "keeping the last"}, False
        for raw in starter.stderr:
            line = raw.decode()
            ready = {word for word in ready if word not in line}
            if not ready and not killed:
                killed = True
                pids = [int(pid) for pid in children.read_text().split()]
                lines = {pid: Path(f"/proc/{pid}/cmdline").read_text() for pid in pids}
                [blackbox] = [pid for pid in pids if "blackbox_node" in lines[pid]]
                os.kill(blackbox, signal.SIGKILL)
            if "blackbox_node was killed by SIGKILL" in line:
                break
        assert "nothing is recorded any more" in line
        assert len(children.read_text().split()) == 2
        starter.send_signal(signal.SIGTERM)
        starter.stderr.read()
        assert starter.wait(30) == signal.SIGKILL  # the worst of the ends it has seen
