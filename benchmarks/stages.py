# SPDX-License-Identifier: MIT
"""Time of every stage between a message and a command, on one thread.

    python benchmarks/stages.py --json out/stages.json

Prints a Markdown table. JSON keys: `machine`, and `stages`, a list of `stage`, `p50_ms`, `p99_ms`
and `runs`.
The machine may be shared: the figures say which stage costs what, not what another machine takes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console

from difftori_models.contract import Observation
from difftori_models.planner import BasePlanner, Planner
from difftori_ros.bringup import find_checkpoint
from difftori_ros.cloud import process_cloud
from difftori_ros.decode import Decoder
from difftori_ros.guard import Guard, GuardConfig
from difftori_ros.kinematics import Kinematics
from difftori_ros.robot import load_profile
from difftori_ros.timing import Reference, gripper_ramp, join, schedule
from difftori_ros.types import Cloud, JointState

STAMP = 1_000_000_000


def timed(run: Callable[[], object], runs: int) -> list[float]:
    """Times of `run` after a warm-up [ms]."""
    for _ in range(5):
        run()
    taken = []
    for _ in range(runs):
        begin = time.perf_counter()
        run()
        taken.append((time.perf_counter() - begin) * 1e3)
    return taken


def stages(runs: int) -> dict[str, list[float]]:
    """Times of every stage of `pick_cube_points` on a made-up scene [ms]."""
    profile = load_profile("panda")
    kinematics = Kinematics(profile)
    planner = Planner(find_checkpoint("pick_cube_points"))
    card = planner.card
    assert card.observation.points is not None
    rng = np.random.default_rng(0)
    xyz = rng.uniform((0.2, -0.4, 0.0), (1.0, 0.4, 0.6), (16384, 3)).astype(np.float32)
    cloud = Cloud(STAMP, profile.base_frame, xyz, np.full_like(xyz, 0.5))
    points = process_cloud(cloud, np.eye(4), card.observation.points)
    position = np.append(profile.home, 0.04)
    tip = kinematics.tip_pose(profile.home)
    poses = {"tip": tip, "goal": tip + np.array([0.05, 0.0, 0.05, 0, 0, 0, 0])}
    observation = Observation(
        STAMP, profile.joint_names, position, np.zeros(8), poses, points=points
    )
    decoder = Decoder(card.action, profile, kinematics)
    plan = planner.plan(observation)
    waypoints = decoder.decode(plan, observation)
    start = Reference(profile.home, np.zeros(7), np.zeros(7))
    dt_s = card.action.dt_s
    gripper = profile.gripper
    assert gripper is not None
    assert waypoints.gripper is not None
    targets = waypoints.gripper

    def schedule_all():
        arm = schedule(profile, STAMP, waypoints.arm, dt_s, start, STAMP)
        assert arm is not None
        return join(arm, gripper_ramp(gripper, STAMP, 0.04, targets, dt_s, STAMP))

    trajectory = schedule_all()
    guard = Guard(profile, GuardConfig())
    guard.start()

    def guarded():
        guard.reset(STAMP)
        guard.joints(JointState(STAMP, profile.joint_names, position, np.zeros(8)), 0.0)
        assert guard.check(trajectory, STAMP).accepted

    base = BasePlanner(planner)
    spec = card.observation.points
    runs_of: dict[str, Callable[[], object]] = {
        "cloud: 16384 points to 512": lambda: process_cloud(cloud, np.eye(4), spec),
        "plan: base policy": lambda: base.plan(observation),
        "plan: refined": lambda: planner.plan(observation),
        "decode: inverse kinematics": lambda: decoder.decode(plan, observation),
        "timing: arm and gripper": schedule_all,
        "guard": guarded,
    }
    return {name: timed(run, runs) for name, run in runs_of.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = [
        {
            "stage": name,
            "p50_ms": round(float(np.percentile(taken, 50)), 3),
            "p99_ms": round(float(np.percentile(taken, 99)), 3),
            "runs": len(taken),
        }
        for name, taken in stages(arguments.runs).items()
    ]
    lines = ["| stage | p50 [ms] | p99 [ms] |", "|---|---|---|"]
    lines += [f"| {r['stage']} | {r['p50_ms']:.2f} | {r['p99_ms']:.2f} |" for r in rows]
    Console(soft_wrap=True).print("\n".join(lines), markup=False, highlight=False)
    if arguments.json:
        machine = f"{platform.machine()}, {os.cpu_count()} cores"
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps({"machine": machine, "stages": rows}, indent=2))


if __name__ == "__main__":
    main()
