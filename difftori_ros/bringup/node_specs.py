# SPDX-License-Identifier: MIT
"""Which nodes run, and with which settings: the one list behind launch files and processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from difftori_models.checkpoint import load_card
from difftori_ros.config.parameter_files import ParameterFileError, values_of
from difftori_ros.config.parameters import POLICY, TRANSPORT
from difftori_ros.config.paths import config_dir, find_checkpoint


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
            f"difftori_ros.nodes.{name}",
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
    return {parameter.name: values[parameter.name] for parameter in TRANSPORT}


def _enclave(enclaves: str, name: str) -> str:
    return f"{enclaves.rstrip('/')}/{name}" if enclaves else ""


def sim_policy_settings(clock: str) -> tuple[Path, dict[str, Any]]:
    """Config file and parameters of the policy in front of the simulator.

    In `lockstep` the world waits, so that a plan takes all its iterations and is made once for
    every
    observation; in `wall` the policy runs with the robot's own settings.
    """
    lockstep = (
        {"trigger": "observation", "deadline_s": 0.0, "command_latency_s": 0.0}
        if clock == "lockstep"
        else {}
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
        "difftori_sim.ros.bridge_node",
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
