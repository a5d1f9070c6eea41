# SPDX-License-Identifier: MIT
"""Which nodes run, and how: one list behind the launch files and the process starter."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from difftori_models.checkpoint import load_card
from difftori_models.engines.engine import BACKENDS
from difftori_ros.parameter_files import ParameterFileError, values_of
from difftori_ros.parameters import POLICY, WAYS
from difftori_ros.paths import checkpoint_dir, config_dir
from difftori_ros.robot import check_card, load_profile
from difftori_ros.scripted import is_scripted, open_script

PARENT_VARIABLE = "DIFFTORI_PARENT_PID"
"""Tells a node which process started it: it ends when that one has, however that came about."""
STOP_S = 5.0
"""Time a process gets to end by itself after SIGINT [s]."""


@dataclass(frozen=True)
class NodeSpec:
    """One node: how launch finds it (`executable`), how Python does (`module`), its settings."""

    name: str
    executable: str
    module: str
    parameter_files: tuple[Path, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    remaps: Mapping[str, str] = field(default_factory=dict)
    enclave: str = ""
    """Its SROS2 enclave; empty for the one that the environment gives."""


def available_checkpoints() -> list[str]:
    """Names of the checkpoints that ship with the package."""
    return sorted(path.parent.name for path in checkpoint_dir().glob("*/card.json"))


def find_checkpoint(name: str) -> Path:
    """The folder of a checkpoint given by path or by the name of one that ships.

    Raises:
        FileNotFoundError: There is neither; the message names those that ship.
    """
    shipped = checkpoint_dir() / name
    for candidate in (Path(name).expanduser(), shipped) if name else ():
        if candidate.exists() and (candidate.is_file() or candidate.is_dir()):
            return candidate
    raise FileNotFoundError(
        f"no checkpoint '{name}': no such folder, and the shipped ones are "
        + ", ".join(available_checkpoints())
    )


def policy_specs(
    checkpoint: str,
    robot: str,
    *,
    config_file: str | Path = "",
    parameters: Mapping[str, Any] | None = None,
    guard_parameters: Mapping[str, Any] | None = None,
    remaps: Mapping[str, str] | None = None,
    blackbox: bool = False,
    enclaves: str = "",
) -> list[NodeSpec]:
    """The robot side: the guard, the policy and, if wanted, the black box, in this order.

    Args:
        checkpoint: Folder, or the name of one that ships.
        robot: Robot profile.
        config_file: Parameters of all the nodes, laid over the shipped defaults.
        parameters: Parameters of the policy node, laid over both.
        guard_parameters: Parameters of the guard node, laid over both.
        remaps: Topic remaps of all the nodes.
        blackbox: Record the last seconds, and write them when a fault occurs.
        enclaves: Path of the SROS2 enclaves; each node has its own below it. Empty for none.
    """
    ways = _ways(config_file, parameters or {})
    own = {"policy_node": parameters, "guard_node": guard_parameters, "blackbox_node": ways}
    both = {"checkpoint": checkpoint, "robot": robot}
    first = {"guard_node": {"robot": robot}, "policy_node": both, "blackbox_node": both}
    return [
        NodeSpec(
            name,
            name,
            f"difftori_ros.{name}",
            (
                config_dir() / f"{name.removesuffix('_node')}.yaml",
                *([Path(config_file)] if config_file else []),
            ),
            first[name] | dict(own[name] or {}),
            dict(remaps or {}),
            _enclave(enclaves, name),
        )
        for name in first
        if blackbox or name != "blackbox_node"
    ]


def _ways(config_file: str | Path, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """How the policy node will be told that images and points come: the black box listens so."""
    files = [config_dir() / "policy.yaml", *([config_file] if config_file else [])]
    try:
        values = values_of("policy_node", POLICY, files) | dict(parameters)
    except (ParameterFileError, OSError):
        return {}  # the policy node refuses that file with its reason
    return {parameter.name: values[parameter.name] for parameter in WAYS}


def _enclave(enclaves: str, name: str) -> str:
    return f"{enclaves.rstrip('/')}/{name}" if enclaves else ""


def sim_policy_settings(clock: str) -> tuple[Path, dict[str, Any]]:
    """Config file and parameters of the policy in front of the simulator.

    In `lockstep` the world waits, so that a plan takes all its iterations and is made once for
    every
    observation; in `wall` the policy runs with the robot's own settings.
    """
    lockstep = (
        {"trigger": "observation", "deadline_s": 0.0, "lead_s": 0.0} if clock == "lockstep" else {}
    )
    return config_dir() / "sim.yaml", {"use_sim_time": True} | lockstep


def bridge_spec(
    checkpoint: str,
    robot: str,
    clock: str,
    parameters: Mapping[str, Any] | None = None,
    enclaves: str = "",
) -> NodeSpec:
    """The simulated robot that a checkpoint was trained on.

    Raises:
        CheckpointError: The checkpoint's card cannot be read.
        FileNotFoundError: There is no such checkpoint.
    """
    card = load_card(find_checkpoint(checkpoint))
    values = {
        "task": card.task,
        "robot": robot,
        "clock": clock,
        "period_s": card.action.plan_period_s,
        "cloud": card.observation.points is not None or bool(card.observation.images),
    }
    return NodeSpec(
        "sim_bridge",
        "sim_bridge",
        "difftori_sim.ros_bridge",
        (config_dir() / "sim.yaml",),
        values | dict(parameters or {}),
        enclave=_enclave(enclaves, "sim_bridge"),
    )


def sim_specs(
    checkpoint: str,
    robot: str,
    clock: str,
    *,
    parameters: Mapping[str, Any] | None = None,
    policy_parameters: Mapping[str, Any] | None = None,
    remaps: Mapping[str, str] | None = None,
) -> list[NodeSpec]:
    """The simulated robot and, in front of it, the very same robot side."""
    config_file, settings = sim_policy_settings(clock)
    return [
        bridge_spec(checkpoint, robot, clock, parameters),
        *policy_specs(
            checkpoint,
            robot,
            config_file=config_file,
            parameters=settings | dict(policy_parameters or {}),
            guard_parameters={"use_sim_time": True},
            remaps=remaps,
        ),
    ]


def command_line(spec: NodeSpec) -> list[str]:
    """The command that runs a node as launch_ros would, with this Python."""
    command = [sys.executable, "-m", spec.module, "--ros-args", "-r", f"__node:={spec.name}"]
    for path in spec.parameter_files:
        command += ["--params-file", str(path)]
    for name, value in spec.parameters.items():
        # JSON is YAML; a float must keep its point, or ROS takes it for an integer
        command += ["-p", f"{name}:={json.dumps(value)}"]
    for source, target in spec.remaps.items():
        command += ["-r", f"{source}:={target}"]
    if spec.enclave:
        command += ["--enclave", spec.enclave]
    return command


def start(
    spec: NodeSpec, environment: Mapping[str, str] | None = None, **options: Any
) -> subprocess.Popen[Any]:
    """Start a node as a process of its own."""
    env = dict(os.environ) | dict(environment or {}) | {PARENT_VARIABLE: str(os.getpid())}
    return subprocess.Popen(command_line(spec), env=env, stdin=subprocess.DEVNULL, **options)


def interrupt_on_termination() -> None:
    """SIGTERM and SIGHUP end this process as Ctrl-C does, so that it takes its nodes along."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)


def how_it_ended(status: int) -> str:
    """`was killed by SIGKILL` or `ended with status 1`."""
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with status {status}"


def what_goes_on(name: str, status: int) -> str:
    """What becomes of the others when the policy was killed, or the black box has ended."""
    rest = (
        "nothing is recorded any more"
        if name == "blackbox_node"
        else "the guard brakes the arm and keeps its fault"
    )
    return f"{name} {how_it_ended(status)}: {rest}"


def stop(processes: Sequence[subprocess.Popen[Any]]) -> list[int]:
    """End processes with SIGINT, then SIGKILL; return their exit statuses."""
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + STOP_S
    for process in processes:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return [process.returncode for process in processes]


def main(argv: Sequence[str] | None = None) -> int:
    """Run guard, policy and black box until one of the first two ends, SIGINT or SIGTERM comes."""
    parser = argparse.ArgumentParser(
        prog="difftori-ros-bringup",
        description="Run what policy.launch.py runs, without ros2 launch.",
    )
    parser.add_argument("--checkpoint", default="pick_cube_points", help="folder or shipped name")
    parser.add_argument(
        "--robot", default="panda", help="robot profile: shipped name or YAML file"
    )
    parser.add_argument("--config-file", default="", help="parameters laid over the shipped ones")
    parser.add_argument(
        "--dry-run", action="store_true", default=None, help="plan, but send nothing"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), help="where the networks run")
    parser.add_argument("--backend", choices=BACKENDS, help="what runs them")
    parser.add_argument(
        "--blackbox",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="record the last seconds and write them when a fault occurs",
    )
    parser.add_argument("--enclaves", default="", help="path of the nodes' SROS2 enclaves")
    arguments = parser.parse_args(argv)
    # what is not given is left to the parameter files
    given = {name: getattr(arguments, name) for name in ("dry_run", "device", "backend")}
    specs = policy_specs(
        arguments.checkpoint,
        arguments.robot,
        config_file=arguments.config_file,
        parameters={name: value for name, value in given.items() if value is not None},
        blackbox=arguments.blackbox,
        enclaves=arguments.enclaves,
    )
    try:
        profile = load_profile(arguments.robot)
        if is_scripted(arguments.checkpoint):
            open_script(arguments.checkpoint, profile)
        else:
            check_card(load_card(find_checkpoint(arguments.checkpoint)), profile)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"difftori-ros-bringup: {error}\n")
        return 1
    interrupt_on_termination()
    guard, policy, *others = processes = [start(spec) for spec in specs]
    told: set[str] = set()
    try:
        while guard.poll() is None and (policy.poll() or 0) <= 0 and policy.returncode != 0:
            for spec, process in zip(specs[1:], (policy, *others), strict=True):
                if process.poll() is not None and spec.name not in told:
                    told.add(spec.name)
                    going_on = what_goes_on(spec.name, process.returncode)
                    sys.stderr.write(f"{going_on}; interrupt to end everything\n")
            time.sleep(0.1)
    except KeyboardInterrupt:
        pass
    return max(abs(code) for code in stop(processes))


if __name__ == "__main__":
    sys.exit(main())
