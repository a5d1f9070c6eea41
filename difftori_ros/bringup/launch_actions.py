# SPDX-License-Identifier: MIT
"""Node specs become launch actions; the only module that imports launch, and only when called."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml

from difftori_ros.config.parameters import POLICY

from .node_specs import NodeSpec
from .processes import what_goes_on

TOPICS = ("joint_states", "points", "goal", "object")
"""Topics that the launch file can point elsewhere, each by its argument `<name>_topic`."""


def typed(values: Mapping[str, str], *names: str) -> dict[str, Any]:
    """Launch arguments by name, read as YAML: `true` is a boolean, `0.05` a number.

    Those left empty are left out: the parameter files decide. A whole number for a parameter that
    is a float becomes a float, as ROS would refuse it.
    """
    floats = {parameter.name for parameter in POLICY if isinstance(parameter.default, float)}
    given = {name: yaml.safe_load(values[name]) for name in names if values[name]}
    return {
        name: float(value) if name in floats and type(value) is int else value
        for name, value in given.items()
    }


def words(values: Mapping[str, Any]) -> dict[str, str]:
    """The inverse of `typed`: values as launch arguments."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in values.items()
    }


def remaps(values: Mapping[str, str]) -> dict[str, str]:
    """The remaps that the `<name>_topic` arguments ask for."""
    wanted = {name: values.get(f"{name}_topic", name) for name in TOPICS}
    return {name: topic for name, topic in wanted.items() if topic != name}


def actions(specs: Sequence[NodeSpec], namespace: str, log_level: str) -> list[Any]:
    """One launch_ros node per spec. Nodes of this package configure and activate themselves."""
    from launch_ros.actions import Node

    return [
        Node(
            package="difftori_ros",
            executable=spec.executable,
            name=spec.name,
            namespace=namespace,
            output="screen",
            parameters=[*map(str, spec.parameter_files), dict(spec.parameters)],
            remappings=list(spec.remaps.items()),
            ros_arguments=[
                *("--log-level", log_level),
                *(("--enclave", spec.enclave) if spec.enclave else ()),
            ],
            on_exit=_end_of(spec.name),
        )
        for spec in specs
    ]


def _end_of(name: str) -> Callable[[Any, Any], Any]:
    """What launch does when a node has ended: everything ends, with two exceptions.

    When the policy was killed the guard stays, so that it can brake, say so, and keep its fault
    until it is reset. And nobody moves otherwise because the black box has ended.
    """

    def on_exit(event: Any, context: Any) -> Any:
        from launch.actions import LogInfo, Shutdown

        killed = name == "policy_node" and event.returncode < 0
        if (killed or name == "blackbox_node") and not context.is_shutdown:
            return LogInfo(msg=what_goes_on(name, event.returncode))
        return Shutdown(reason=f"{name} ended")

    return on_exit
