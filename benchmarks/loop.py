# SPDX-License-Identifier: MIT
"""What the robot side adds to a plan's own time, and whether the guard keeps its period.

    python benchmarks/loop.py --minutes 10 --json out/loop.json
    python benchmarks/loop.py --quick --joint-hz 1000 --load 2

Real policy and guard processes on the wall clock. A third process feeds them with joint states, a
cloud of 16384 points at 10 Hz and a 640x480 image at 30 Hz (`feeder.py`); this one only listens,
and reads what it has heard when all is over. The overhead of a plan is the time from the newest
stamp that it needed to the publishing of its command (the stamp that the middleware gives it),
less the time of encoding and solving that the planner tells: receiving, decoding, waiting for the
planner's turn, what of the cloud is not yet cropped and sampled, scheduling, one more hop, and the
guard. `policy_ms` and `guard_ms` are its two parts, before and after the plan is published,
medians and 99th percentiles. JSON keys: `overhead_ms_p50`, `overhead_ms_p99`, `overhead_ms_p999`,
`deadline_misses`, `guard_jitter_ms_p99` (largest that the guard told of its own period),
`guard_window_ms_p99` (the same of its last look at the clock to the end of publishing), `plans`,
`plan_ms_p50`, `plan_ms_p99`, `rate_hz` (of accepted plans), `guard_cpu`, `policy_cpu`,
`feeder_cpu` (computing time of each process as a share of one core; encoding and solving
included), `joint_hz` and `joint_hz_sent` (as wanted, and what the feeder got to), `load` (busy
loops beside it), `machine`; with `--episodes N` also `success`: of N test seeds in lockstep and on
the wall clock, where thinking costs time. `--realtime 50` gives both nodes that priority under
SCHED_FIFO, where it is permitted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.serialization import deserialize_message
from rich.console import Console
from tqdm import tqdm
from trajectory_msgs.msg import JointTrajectory

from difftori_models.checkpoint import load_card
from difftori_ros import codecs
from difftori_ros.bringup.processes import interrupt_on_termination
from difftori_ros.config.paths import find_checkpoint
from difftori_ros.nodes.node_base import STATUS_QOS
from difftori_sim.evaluation.through_ros import evaluate_ros

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks.support.busy import busy, cpu_s
from tests.ros.conftest import values_of
from tests.support.fake_robot import PROFILE
from tests.support.harness import Harness

mpl.use("agg")
import matplotlib.pyplot as plt

WARM_S = 5.0
QUICK_S = 20.0
LOOK_S = 0.05
"""Time between two looks at what has been heard: far from the depth of any queue [s]."""


class Elsewhere:
    """The arm as this process knows it: another one moves it."""

    speed = float("inf")
    """It counts as moving: what shows that plans are taken is what the guard says."""

    def step(self) -> None:
        """It moves by itself."""

    def clear_faults(self) -> None:
        """Nothing is wrong on its wires."""

    def now_ns(self) -> int:
        """The wall clock [ns]."""
        return time.time_ns()

    def at_ns(self, wall_ns: int) -> int:
        """The same."""
        return wall_ns


class FedStand(Harness):
    """Guard and policy as they are, in front of a feeder."""

    def __init__(self, folder: Path, checkpoint: str, **named: Any) -> None:
        super().__init__(folder, checkpoint, **named)
        self.measured_is_known = False
        module = "difftori_ros.nodes.policy_node"
        self.specs["policy_node"] = replace(self.specs["policy_node"], module=module)

    def _make_arm(self, cloud: bool, simulated: bool) -> Any:
        return Elsewhere()

    def _state_at(self, time_ns: int) -> None:
        return None


class ReceivedStatus:
    """The messages of a topic as they came, undecoded: bytes, and when they were published."""

    def __init__(self, node: Any, kind: type, topic: str) -> None:
        self._listen = node.create_subscription(
            kind, topic, lambda message: None, STATUS_QOS, raw=True
        )
        self.came: list[tuple[int, bytes]] = []

    def look(self) -> None:
        """Take what has come since the last look."""
        with self._listen.handle:
            while found := self._listen.handle.take_message(self._listen.msg_type, True):
                self.came.append((found[1]["source_timestamp"], found[0]))

    def decoded(self) -> list[tuple[int, Any]]:
        """When the messages were published [ns], and the messages."""
        kind = self._listen.msg_type
        return [(at_ns, deserialize_message(message, kind)) for at_ns, message in self.came]

    def by_stamp(self) -> dict[int, int]:
        """When the trajectories were first published, by the stamp that they were made from."""
        found: dict[int, int] = {}
        for at_ns, message in self.decoded():
            found.setdefault(codecs.stamp_to_ns(message.header.stamp), at_ns)
        return found


@contextmanager
def feeding(environment: dict[str, str], joint_hz: float, cloud: bool) -> Iterator[Any]:
    """The feeder runs inside, and has ended after it; its output can be read then."""
    command = [sys.executable, str(ROOT / "benchmarks" / "support" / "feeder.py"), "--pictures"]
    command += ["--joint-hz", str(joint_hz), *(["--cloud"] if cloud else [])]
    feeder = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        yield feeder
    finally:
        feeder.terminate()
        try:
            feeder.wait(5.0)
        except subprocess.TimeoutExpired:
            feeder.kill()
            feeder.wait()


def measure(
    checkpoint: str, seconds: float, priority: int = 0, joint_hz: float = 200.0, load: int = 0
) -> dict[str, Any]:
    """Overheads of all plans of a run, and what the processes use."""
    with (
        tempfile.TemporaryDirectory(prefix="difftori_loop_") as folder,
        busy(load),
    ):
        wish = {"realtime_priority": priority}
        harness = FedStand(Path(folder), checkpoint, policy=wish, guard=wish)
        plans, commands, policy, guard = (
            ReceivedStatus(harness.node, kind, topic)
            for kind, topic in (
                (JointTrajectory, "policy_node/plan"),
                (JointTrajectory, PROFILE.topic),
                (DiagnosticStatus, "policy_node/status"),
                (DiagnosticStatus, "guard_node/status"),
            )
        )
        try:
            with feeding(harness.environment, joint_hz, "points" in checkpoint) as feeder:
                harness.begin()
                harness.run(WARM_S)
                misses = int(harness.policy("deadline_misses") or 0)
                pids = {
                    "guard_cpu": harness.processes["guard_node"].pid,
                    "policy_cpu": harness.processes["policy_node"].pid,
                    "feeder_cpu": feeder.pid,
                }
                _listen([plans, commands, policy, guard], 0.0, None)
                for received in (plans, commands, policy, guard):
                    received.came.clear()
                used, began_s = {key: cpu_s(pid) for key, pid in pids.items()}, time.monotonic()
                with tqdm(total=round(seconds), desc="loop", unit="s") as bar:
                    _listen([plans, commands, policy, guard], seconds, bar)
                took_s = time.monotonic() - began_s
                shares = {
                    key: round((cpu_s(pid) - used[key]) / took_s, 3) for key, pid in pids.items()
                }
            joint_hz_sent = float(feeder.stdout.read())
        finally:
            harness.close()
        said = [values_of(message) for _, message in policy.decoded()]
        told = [values_of(message) for _, message in guard.decoded()]
        plan_ms = {int(v["stamp_ns"]): float(v["plan_ms"]) for v in said if "plan_ms" in v}
        found = overheads(plan_ms, plans.by_stamp(), commands.by_stamp())
    return found | {
        "deadline_misses": int(said[-1].get("deadline_misses", "0")) - misses,
        "guard_jitter_ms_p99": max(float(values["jitter_ms_p99"]) for values in told),
        "guard_window_ms_p99": max(float(values["window_ms_p99"]) for values in told),
        "rate_hz": round(found["plans"] / took_s, 1),
        **shares,
        "joint_hz": joint_hz,
        "joint_hz_sent": joint_hz_sent,
        "load": load,
    }


def _listen(topics: list[ReceivedStatus], seconds: float, bar: Any) -> None:
    """Hear for that long, and once in any case."""
    end_s = time.monotonic() + seconds
    while True:
        for received in topics:
            received.look()
        left_s = end_s - time.monotonic()
        if bar is not None:
            bar.update(round(seconds - max(left_s, 0.0)) - bar.n)
        if left_s <= 0.0:
            return
        time.sleep(min(LOOK_S, left_s))


def overheads(
    plan_ms: dict[int, float], planned: dict[int, int], commanded: dict[int, int]
) -> dict[str, Any]:
    """Percentiles of what a plan takes, from the times at which it and its command went out.

    Args:
        plan_ms: Time of encoding and solving by the plan's stamp [ms].
        planned: When the plan was published, by stamp [ns].
        commanded: When its command was [ns].
    """
    done_ns = planned.keys() & commanded.keys()
    known = sorted(plan_ms.keys() & done_ns)
    elapsed = np.array([plan_ms[stamp] for stamp in known])
    stamps, sent, done = (
        np.array([at[stamp] for stamp in known]) * 1e-6
        for at in ({s: s for s in known}, planned, commanded)
    )
    parts = {
        "overhead": done - stamps - elapsed,
        "plan": elapsed,
        "policy": sent - stamps - elapsed,
        "guard": done - sent,
    }
    found: dict[str, Any] = {
        f"{name}_ms_p{str(percent).replace('.', '')}": round(
            float(np.percentile(values, percent)), 2
        )
        for name, values in parts.items()
        for percent in ((50, 99, 99.9) if name == "overhead" else (50, 99))
    }
    return found | {"plans": len(done_ns), "overheads_ms": parts["overhead"].round(2).tolist()}


def successes(checkpoint: str, episodes: int) -> dict[str, Any]:
    """Of the same test seeds, in lockstep and on the wall clock."""
    found = {}
    for clock in ("lockstep", "wall"):
        result = evaluate_ros(checkpoint, episodes=episodes, clock=clock)
        low, high = result.interval_95
        found[clock] = {
            "successes": result.successes,
            "episodes": episodes,
            "wilson_95": [round(low, 3), round(high, 3)],
            "seeds": f"{result.first_seed} to {result.first_seed + episodes - 1}",
        }
    return found


def plot(overheads_ms: list[float], path: Path) -> None:
    """How the overhead is distributed."""
    figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
    axes.hist(overheads_ms, bins=80, log=True)
    for percent in (50, 99, 99.9):
        axes.axvline(float(np.percentile(overheads_ms, percent)), color="k", linestyle=":")
    axes.set(xlabel="newest stamp to command, less encode and solve [ms]", ylabel="plans")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure, print a table, write JSON and a picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--checkpoint", default="pick_cube_points")
    parser.add_argument("--realtime", type=int, default=0, help="priority of both nodes")
    parser.add_argument("--joint-hz", type=float, default=200.0, help="rate of the joint states")
    parser.add_argument("--load", type=int, default=0, help="busy loops beside it")
    parser.add_argument("--quick", action="store_true", help="all in less than a minute")
    parser.add_argument("--episodes", type=int, default=0, help="also compare the two clocks")
    parser.add_argument("--json", type=Path, default=Path("out/loop.json"))
    arguments = parser.parse_args()
    interrupt_on_termination()
    seconds = QUICK_S if arguments.quick else arguments.minutes * 60
    found = measure(
        arguments.checkpoint, seconds, arguments.realtime, arguments.joint_hz, arguments.load
    )
    overheads_ms = found.pop("overheads_ms")
    card = load_card(find_checkpoint(arguments.checkpoint))
    found |= {
        "checkpoint": card.name,
        "minutes": round(seconds / 60, 2),
        "realtime_priority": arguments.realtime,
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
    }
    if arguments.episodes:
        found["success"] = successes(arguments.checkpoint, arguments.episodes)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    plot(overheads_ms, arguments.json.with_suffix(".png"))
    console = Console()
    for key, value in found.items():
        console.print(f"| {key} | {value} |", markup=False)


if __name__ == "__main__":
    main()
