# SPDX-License-Identifier: MIT
"""What the robot side adds to a plan's own time, and whether the guard keeps its period.

    python benchmarks/loop.py --minutes 10 --json out/loop.json

Real policy and guard processes on the wall clock, fed by this process with joint states at 200 Hz,
a cloud of 16384 points at 10 Hz, and a 640x480 image at 30 Hz on the same network. The overhead of
a plan is the time from the newest stamp that it needed to the publishing of its command (the stamp
that the middleware gives it), less the time of encoding and solving that the planner tells:
receiving, decoding, waiting for the planner's turn, what of the cloud is not yet cropped and
sampled, scheduling, one more hop, and the guard. `policy_ms` and `guard_ms` are its two parts,
before and after the plan is published, medians and 99th percentiles. JSON keys: `overhead_ms_p50`,
`overhead_ms_p99`, `overhead_ms_p999`, `deadline_misses`, `guard_jitter_ms_p99` (largest that the
guard told of its own period), `plans`, `plan_ms_p50`, `plan_ms_p99`, `rate_hz`, `machine`; with
`--episodes N` also `success`: of N test seeds in lockstep and on the wall clock, where thinking
costs time. `--realtime 50` gives both nodes that priority under SCHED_FIFO, where it is permitted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from rich.console import Console
from sensor_msgs.msg import Image, PointCloud2, PointField
from tqdm import tqdm
from trajectory_msgs.msg import JointTrajectory

from difftori_models.checkpoint import load_card
from difftori_ros import codecs, codecs_cloud
from difftori_ros.base_node import STATUS_QOS
from difftori_ros.bringup import find_checkpoint
from difftori_ros.types import Cloud
from difftori_sim.ros_evaluate import evaluate_ros

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from tests.faults import arm as fake  # noqa: E402
from tests.faults.stand import Stand  # noqa: E402

mpl.use("agg")
import matplotlib.pyplot as plt  # noqa: E402

POINTS, NEAR = 16384, 2500
"""Points of a cloud, and how many of them lie where the policy looks."""
IMAGE_S = 1 / 30
JOINTS_S = 0.005
WARM_S = 5.0


class Loaded(fake.FakeArm):
    """The arm with a dense cloud, made beforehand, and a camera beside it."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        rng = np.random.default_rng(0)
        near = fake.CENTRE + rng.uniform(-0.2, 0.2, (NEAR, 3)) * [1, 1, 0.05]
        far = rng.uniform([1.5, -1.0, -0.5], [3.0, 1.0, 1.5], (POINTS - NEAR, 3))
        xyz = np.vstack([near, far]).astype(np.float32)
        rgb = np.full((POINTS, 3), 0.5, np.float32)
        self._cloud = PointCloud2()
        made = Cloud(1, fake.PROFILE.base_frame, xyz, rgb)
        codecs_cloud.encode_cloud(made, self._cloud, PointField)
        self._camera = self._node.create_publisher(Image, "camera/image_raw", 10)
        self._image = Image(height=480, width=640, step=1920, encoding="rgb8")
        self._image.data = bytes(640 * 480 * 3)
        self._pictured_s = 0.0

    def step(self) -> None:
        """Also the picture, when it is due."""
        super().step()
        now_s = time.monotonic()
        if now_s - self._pictured_s >= IMAGE_S:
            self._pictured_s = now_s
            codecs.ns_to_stamp(self.now_ns(), self._image.header.stamp)
            self._camera.publish(self._image)

    def _send_cloud(self, now_ns: int) -> None:
        codecs.ns_to_stamp(now_ns, self._cloud.header.stamp)
        self._send("points", self._cloud)


class Published:
    """When the trajectories on a topic were published, by the stamp that they were made from."""

    def __init__(self, node: Any, topic: str) -> None:
        self.at_ns: dict[int, int] = {}
        self._listen = node.create_subscription(JointTrajectory, topic, self._on, STATUS_QOS)

    def _on(self, message: JointTrajectory, info: Any) -> None:
        stamp_ns = codecs.stamp_to_ns(message.header.stamp)
        self.at_ns.setdefault(stamp_ns, info["source_timestamp"])


def measure(checkpoint: str, seconds: float, priority: int = 0) -> dict[str, Any]:
    """Overheads of all plans of a run."""
    fake.PERIOD_S, fake.POSE_EVERY, fake.CLOUD_EVERY = JOINTS_S, 10, 20
    with tempfile.TemporaryDirectory(prefix="difftori_loop_") as folder:
        wish = {"realtime_priority": priority}
        stand = Stand(Path(folder), checkpoint, policy=wish, guard=wish)
        stand.arm.unplug()
        stand.arm = Loaded(stand.node, cloud="points" in checkpoint)
        plans = Published(stand.node, "policy_node/plan")
        commands = Published(stand.node, fake.PROFILE.topic)
        plan_ms: dict[int, float] = {}
        jitter = 0.0
        try:
            stand.up()
            stand.begin()
            stand.run(WARM_S)
            for heard in (plans.at_ns, commands.at_ns):
                heard.clear()
            misses = int(stand.newest("policy_node").get("deadline_misses", "0"))
            for _ in tqdm(range(max(1, round(seconds / 5.0))), desc="loop", unit="5 s"):
                stand.forget()
                stand.run(5.0)
                for _, values in stand.heard["policy_node"]:
                    if "plan_ms" in values:
                        plan_ms[int(values["stamp_ns"])] = float(values["plan_ms"])
                jitter = max(jitter, float(stand.newest("guard_node")["jitter_ms_p99"]))
            misses = int(stand.newest("policy_node").get("deadline_misses", "0")) - misses
        finally:
            stand.close()
    known = sorted(plan_ms.keys() & plans.at_ns.keys() & commands.at_ns.keys())
    elapsed = np.array([plan_ms[stamp] for stamp in known])
    stamps, sent, commanded = (
        np.array([at[stamp] for stamp in known]) * 1e-6
        for at in ({s: s for s in known}, plans.at_ns, commands.at_ns)
    )
    parts = {
        "overhead": commanded - stamps - elapsed,
        "plan": elapsed,
        "policy": sent - stamps - elapsed,
        "guard": commanded - sent,
    }
    found: dict[str, Any] = {
        f"{name}_ms_p{str(percent).replace('.', '')}": round(
            float(np.percentile(values, percent)), 2
        )
        for name, values in parts.items()
        for percent in ((50, 99, 99.9) if name == "overhead" else (50, 99))
    }
    return found | {
        "deadline_misses": misses,
        "guard_jitter_ms_p99": jitter,
        "plans": len(known),
        "rate_hz": round(len(known) / seconds, 1),
        "overheads_ms": parts["overhead"].round(2).tolist(),
    }


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


def plot(overheads: list[float], path: Path) -> None:
    """How the overhead is distributed."""
    figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
    axes.hist(overheads, bins=80, log=True)
    for percent in (50, 99, 99.9):
        axes.axvline(float(np.percentile(overheads, percent)), color="k", linestyle=":")
    axes.set(xlabel="newest stamp to command, less encode and solve [ms]", ylabel="plans")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure, print a table, write JSON and a picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--checkpoint", default="pick_cube_points")
    parser.add_argument("--realtime", type=int, default=0, help="priority of both nodes")
    parser.add_argument("--episodes", type=int, default=0, help="also compare the two clocks")
    parser.add_argument("--json", type=Path, default=Path("out/loop.json"))
    arguments = parser.parse_args()
    found = measure(arguments.checkpoint, arguments.minutes * 60, arguments.realtime)
    overheads = found.pop("overheads_ms")
    card = load_card(find_checkpoint(arguments.checkpoint))
    found |= {
        "checkpoint": card.name,
        "minutes": arguments.minutes,
        "realtime_priority": arguments.realtime,
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
    }
    if arguments.episodes:
        found["success"] = successes(arguments.checkpoint, arguments.episodes)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    plot(overheads, arguments.json.with_suffix(".png"))
    console = Console()
    for key, value in found.items():
        console.print(f"| {key} | {value} |", markup=False)


if __name__ == "__main__":
    main()
