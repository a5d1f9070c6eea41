# SPDX-License-Identifier: MIT
"""Time of every stage between a message and a command, on one thread.

    python benchmarks/stages.py --json out/stages.json

Prints a Markdown table. JSON keys: `machine`, and `stages`, a list of `stage`, `least_ms`,
`p50_ms`, `p99_ms`, `cold_p50_ms` and `runs`. Cold means that the caches of the processor hold
something else before every run, as they do in a loop that plans ten times a second.
The machine may be shared: the figures say which stage costs what, not what another machine takes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console

from difftori_models.contract.specs import Observation, tip_at
from difftori_models.inference.planner import BasePlanner, Planner
from difftori_ros.config.paths import find_checkpoint
from difftori_ros.guard.config import GuardConfig
from difftori_ros.guard.plan_checks import PlanCheck
from difftori_ros.guard.retiming import Retimed, retime_to_limits
from difftori_ros.guard.workspace import Workspace
from difftori_ros.motion.action_decoder import Decoder
from difftori_ros.motion.trajectory import (
    Reference,
    gripper_ramp,
    join,
    reference_at,
    schedule,
    split,
)
from difftori_ros.observation.point_cloud import process_cloud
from difftori_ros.robot.kinematics import Kinematics
from difftori_ros.robot.profile import load_profile
from difftori_ros.types import Cloud, Trajectory

CHECKPOINT = "pick_cube_points"
STAMP = 1_000_000_000
PERIOD_NS = 100_000_000
LATENCY_NS = 10_000_000
OTHER_WORK = 6_000_000
"""Numbers that are written to empty the caches: 48 MB."""

Run = Callable[[], object]


def timed(run: Run, runs: int, between: Run = lambda: None) -> list[float]:
    """Times of `run` after a warm-up [ms]; `between` is called before each."""
    for _ in range(5):
        run()
    taken = []
    for _ in range(runs):
        between()
        begin = time.perf_counter()
        run()
        taken.append((time.perf_counter() - begin) * 1e3)
    return taken


def stages() -> dict[str, Run]:
    """Every stage of the second plan of an episode, on a made-up scene."""
    profile = load_profile("panda")
    kinematics = Kinematics(profile)
    planner = Planner(find_checkpoint(CHECKPOINT))
    base, spec, points = BasePlanner(planner), planner.card.action, planner.card.observation.points
    assert points is not None
    rng = np.random.default_rng(0)
    xyz = rng.uniform((0.2, -0.4, 0.0), (1.0, 0.4, 0.6), (16384, 3)).astype(np.float32)
    cloud = Cloud(STAMP, profile.base_frame, xyz, np.full_like(xyz, 0.5))
    tip = kinematics.tip_pose(profile.home)
    observation = Observation(
        STAMP,
        profile.joint_names,
        np.append(profile.home, 0.04),
        np.zeros(8),
        {"tip": tip, tip_at("points"): tip, "goal": tip + np.array([0.05, 0, 0.05, 0, 0, 0, 0])},
        points=process_cloud(cloud, np.eye(4), points),
    )
    plan = base.plan(observation)
    by_tip = Decoder(spec, profile, kinematics)
    names = (*profile.arm_joints, "gripper")
    by_joints = Decoder(replace(spec, kind="joint_delta", names=names), profile, kinematics)
    steps = np.hstack([rng.normal(0.0, 0.01, (spec.horizon, 7)), plan.actions[:, -1:]])
    joint_plan = replace(plan, actions=steps)
    gripper, waypoints = profile.gripper, by_tip.decode(plan, observation)
    targets = waypoints.gripper
    assert gripper is not None
    assert targets is not None

    def timing(start: Reference, stamp_ns: int, start_ns: int) -> Trajectory:
        arm = schedule(profile, stamp_ns, waypoints.arm, spec.dt_s, start, start_ns)
        assert arm is not None
        return join(arm, gripper_ramp(gripper, stamp_ns, 0.04, targets, spec.dt_s, start_ns))

    rest = Reference(profile.home, np.zeros(7), np.zeros(7))
    first = timing(rest, STAMP, STAMP)
    stamp_ns = STAMP + PERIOD_NS
    now_ns = stamp_ns + LATENCY_NS

    def second() -> Trajectory:
        return timing(reference_at(split(first, profile.arm_joints), now_ns), stamp_ns, now_ns)

    made = second()
    faster = replace(first, times=first.times * 0.5, velocities=first.velocities * 2)
    check, workspace = PlanCheck(profile, GuardConfig()), Workspace(profile, GuardConfig())

    def limits(trajectory: Trajectory) -> None:
        check.limits(trajectory)
        workspace.check(trajectory)

    def judged(plan: Trajectory, at_ns: int) -> Retimed:
        return retime_to_limits(check.check(plan, at_ns), at_ns, limits)

    assert not retime_to_limits(made, now_ns, limits).detail
    assert retime_to_limits(faster, STAMP, limits).detail
    return {
        "cloud: 16384 points to 512": lambda: process_cloud(cloud, np.eye(4), points),
        "plan: base policy": lambda: base.plan(observation),
        "plan: refined": lambda: planner.plan(observation),
        "decode: steps of the tip": lambda: by_tip.decode(plan, observation),
        "decode: steps of the joints": lambda: by_joints.decode(joint_plan, observation),
        "timing: from rest": lambda: timing(rest, STAMP, STAMP),
        "timing: in motion": second,
        "guard: a plan that passes": lambda: judged(made, now_ns),
        "guard: a plan that is slowed": lambda: judged(faster, STAMP),
        "sample": lambda: made.sample(now_ns),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--quick", action="store_true", help="10 runs of each")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    runs = 10 if arguments.quick else arguments.runs
    other = np.zeros(OTHER_WORK)
    rows = []
    for stage, run in stages().items():
        warm = timed(run, runs)
        cold = timed(run, max(runs // 3, 5), lambda: np.add(other, 1.0, out=other))
        figures = {
            "least_ms": min(warm),
            "p50_ms": np.percentile(warm, 50),
            "p99_ms": np.percentile(warm, 99),
            "cold_p50_ms": np.percentile(cold, 50),
        }
        figures = {key: round(float(value), 4) for key, value in figures.items()}
        rows.append({"stage": stage, **figures, "runs": runs})
    lines = ["| stage [ms] | least | p50 | p99 | cold p50 |", "|---|---|---|---|---|"]
    keys = ("least_ms", "p50_ms", "p99_ms", "cold_p50_ms")
    lines += [f"| {r['stage']} | {' | '.join(f'{r[key]:.3f}' for key in keys)} |" for r in rows]
    Console(soft_wrap=True).print("\n".join(lines), markup=False, highlight=False)
    if arguments.json:
        machine = f"{platform.machine()}, {os.cpu_count()} cores"
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps({"machine": machine, "stages": rows}, indent=2))


if __name__ == "__main__":
    main()
