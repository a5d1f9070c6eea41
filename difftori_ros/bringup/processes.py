# SPDX-License-Identifier: MIT
"""Nodes as processes of their own: their command lines, how they start, and how they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from difftori_ros.config.environment import PARENT_VARIABLE

from .node_specs import NodeSpec

STOP_S = 5.0
"""Time a process gets to end by itself after SIGINT [s]."""


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
