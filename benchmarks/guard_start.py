# SPDX-License-Identifier: MIT
"""How long the guard takes from the start of its process to its first status TRACKING.

    python benchmarks/guard_start.py --starts 10 --json out/guard_start.json
    python benchmarks/guard_start.py --other PYTHONPATH MODULE

With `--other` another version takes turns with this one: the folder that holds its package, and
the module that is its node. `--quick` starts each version once. What is measured ends when this
process receives the status, so discovery is part of it.

JSON keys: `this` and `other`, each with `starts_s`, `median_s`, `cpu_s` (median time on a core
from start to end, which other processes disturb less), `modules` (how many Python has loaded once
the node is imported); `starts`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.executors import SingleThreadedExecutor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the checkout
from difftori_ros.nodes.node_base import STATUS_QOS
from difftori_ros.status.guard_report import GuardReport
from difftori_ros.types import GuardState

STARTS = 10
LIMIT_S = 60.0
"""Time that a start may take [s]."""
NODE = "difftori_ros.nodes.guard_node"


@dataclass
class Version:
    """One version of the guard: where its package lies, its node, and what was measured."""

    python_path: str
    module: str
    starts_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    def environment(self, home: str) -> dict[str, str]:
        """The process's environment; what one guard holds is nothing to the next."""
        return os.environ | {"PYTHONPATH": self.python_path, "ROS_HOME": home}

    def modules(self) -> int:
        """How many modules a process holds that has imported the node."""
        code = f"import sys, {self.module}; sys.stdout.write(str(len(sys.modules)))"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=self.environment(""),
            cwd="/",
            capture_output=True,
            text=True,
            check=True,
        )
        return int(done.stdout)

    def summary(self) -> dict[str, Any]:
        """What was measured of it."""
        return {
            "median_s": statistics.median(self.starts_s),
            "starts_s": self.starts_s,
            "cpu_s": statistics.median(self.cpu_s),
            "modules": self.modules(),
        }


class Listener:
    """Hears the guard's status."""

    def __init__(self) -> None:
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._node = rclpy.create_node("guard_start", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._tracks = False
        self._node.create_subscription(
            DiagnosticStatus, "guard_node/status", self._on_status, STATUS_QOS
        )

    def _on_status(self, message: DiagnosticStatus) -> None:
        self._tracks = GuardReport.from_status(message).state is GuardState.TRACKING

    def start(self, version: Version) -> float:
        """Start a guard, end it, and return how long it took until it said TRACKING [s].

        Raises:
            RuntimeError: It has ended by itself, or never said so.
        """
        while self._node.count_publishers("guard_node/status"):  # of the one before
            self._executor.spin_once(timeout_sec=0.05)
        self._tracks = False
        with tempfile.TemporaryDirectory() as home:
            begun_s, cpu_s = time.monotonic(), _children_s()
            process = subprocess.Popen(
                [sys.executable, "-m", version.module],
                env=version.environment(home),
                cwd=home,  # a package in the present folder is not the one that is wanted
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                while not self._tracks:
                    self._executor.spin_once(timeout_sec=0.05)
                    took_s = time.monotonic() - begun_s
                    if process.poll() is not None or took_s > LIMIT_S:
                        raise RuntimeError(
                            f"{version.module} of {version.python_path}: wanted TRACKING within "
                            f"{LIMIT_S:g} s; exit status {process.poll()} after {took_s:.1f} s"
                        )
                return time.monotonic() - begun_s
            finally:
                process.terminate()
                process.wait(LIMIT_S)
                version.cpu_s.append(_children_s() - cpu_s)

    def close(self) -> None:
        """Nothing is heard any more."""
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()


def _children_s() -> float:
    """Time on a core of all processes that were waited for [s]."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> int:
    """Start the guard again and again, and write how long it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--starts", type=int, default=STARTS, help="of each version")
    parser.add_argument("--quick", action="store_true", help="start each version once")
    parser.add_argument(
        "--other",
        nargs=2,
        metavar=("PYTHONPATH", "MODULE"),
        help="another version, started in turns with this one",
    )
    parser.add_argument("--json", type=Path, default=Path("out/guard_start.json"))
    arguments = parser.parse_args()
    here = os.environ.get("PYTHONPATH", str(Path(__file__).resolve().parents[1]))
    versions = {"this": Version(here, NODE)}
    if arguments.other:
        versions["other"] = Version(*arguments.other)
    listener = Listener()
    try:
        for _ in range(1 if arguments.quick else arguments.starts):
            for version in versions.values():
                version.starts_s.append(listener.start(version))
    finally:
        listener.close()
    found = {name: version.summary() for name, version in versions.items()}
    starts = len(versions["this"].starts_s)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(found | {"starts": starts}, indent=2) + "\n")
    for name, one in found.items():
        sys.stdout.write(
            f"{name}: median {one['median_s']:.2f} s of {starts}, {one['cpu_s']:.2f} s on a core, "
            f"{one['modules']} modules\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
