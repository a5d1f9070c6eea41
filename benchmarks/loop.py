# SPDX-License-Identifier: MIT
"""What the robot side adds to a plan's own time, and whether the guard keeps its period.

    python benchmarks/loop.py --minutes 10 --json out/loop.json

Real policy and guard processes on the wall clock, fed by this process with joint states at 200 Hz,
a cloud of 16384 points at 10 Hz, and a 640x480 image at 30 Hz on the same network. The overhead of
a plan is the time from the newest stamp that it needed to its command's arrival here, less the
time of encoding and solving that the planner tells: receiving, decoding, cropping and sampling the
cloud, waiting for the planner's turn, scheduling, two more hops, and the guard. It includes the
age of the newest joint state, at most 5 ms. JSON keys: `overhead_ms_p50`, `overhead_ms_p99`,
`overhead_ms_p999`, `deadline_misses`, `guard_jitter_ms_p99` (largest that the guard told of its
own period), `plans`, `plan_ms_p50`, `plan_ms_p99`, `rate_hz`, `machine`; with `--episodes N` also
`success`: of N test seeds in lockstep and on the wall clock, where thinking costs time.
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

from difftori_models.checkpoint import load_card
from difftori_ros import codecs, codecs_vision
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
        codecs_vision.encode_cloud(made, self._cloud, PointField)
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


def measure(checkpoint: str, seconds: float) -> dict[str, Any]:
    """Overheads of all plans of a run."""
    fake.PERIOD_S, fake.POSE_EVERY, fake.CLOUD_EVERY = JOINTS_S, 10, 20
    with tempfile.TemporaryDirectory(prefix="difftori_loop_") as folder:
        stand = Stand(Path(folder), checkpoint)
        stand.arm.unplug()
        stand.arm = Loaded(stand.node, cloud="points" in checkpoint)
        overheads: list[float] = []
        plan_ms: list[float] = []
        try:
            stand.up()
            stand.begin()
            stand.run(WARM_S)
            stand.forget()
            misses = int(stand.newest("policy_node").get("deadline_misses", "0"))
            for _ in tqdm(range(max(1, round(seconds / 5.0))), desc="loop", unit="5 s"):
                stand.run(5.0)
                told = {
                    int(values["stamp_ns"]): float(values["plan_ms"])
                    for _, values in stand.heard["policy_node"]
                    if "plan_ms" in values
                }
                for command, heard_ns in zip(stand.trajectories(), stand._heard_ns, strict=True):
                    if len(command.joint_names) == 7 and command.stamp_ns in told:
                        whole_ms = (heard_ns - command.stamp_ns) * 1e-6
                        overheads.append(whole_ms - told[command.stamp_ns])
                        plan_ms.append(told[command.stamp_ns])
                jitter = float(stand.newest("guard_node")["jitter_ms_p99"])
                misses_now = int(stand.newest("policy_node").get("deadline_misses", "0"))
                stand.forget()
        finally:
            stand.close()

    def at(values: list[float], percent: float) -> float:
        return round(float(np.percentile(values, percent)), 2)

    return {
        "overhead_ms_p50": at(overheads, 50),
        "overhead_ms_p99": at(overheads, 99),
        "overhead_ms_p999": at(overheads, 99.9),
        "deadline_misses": misses_now - misses,
        "guard_jitter_ms_p99": jitter,
        "plans": len(overheads),
        "plan_ms_p50": at(plan_ms, 50),
        "plan_ms_p99": at(plan_ms, 99),
        "rate_hz": round(len(overheads) / seconds, 1),
        "overheads_ms": [round(value, 2) for value in overheads],
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
    parser.add_argument("--episodes", type=int, default=0, help="also compare the two clocks")
    parser.add_argument("--json", type=Path, default=Path("out/loop.json"))
    arguments = parser.parse_args()
    found = measure(arguments.checkpoint, arguments.minutes * 60)
    overheads = found.pop("overheads_ms")
    card = load_card(find_checkpoint(arguments.checkpoint))
    found |= {
        "checkpoint": card.name,
        "minutes": arguments.minutes,
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
