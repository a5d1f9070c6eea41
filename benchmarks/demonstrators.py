# SPDX-License-Identifier: MIT
"""How often the demonstrators of the suites succeed, over the same training seeds.

    python benchmarks/demonstrators.py --out out/demonstrators.jsonl
    python benchmarks/demonstrators.py --out out/demonstrators.jsonl --only metaworld.push

One JSON line per task and noise; what is there already is not run again. The table is printed from
the whole file.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from difftori_ros.robot import load_profile
from difftori_sim.experts import EXPERTS
from difftori_sim.loop import DirectLoop
from difftori_sim.record import NoisyExpert, expert_card
from difftori_sim.results import wilson
from difftori_sim.suite_commands import NOISE
from difftori_sim.suites import open_suite
from difftori_sim.suites.env import SuiteError
from difftori_sim.suites.maniskill_plans import SOLUTIONS
from difftori_sim.suites.metaworld import PAPER_TASKS
from difftori_sim.tasks import TRAIN_SEEDS, find_task
from difftori_sim.vulkan import use_shipped_driver
from difftori_sim.world import World

OURS = 0.15
"""Noise that `difftori record` has by default."""


def runs() -> list[tuple[str, str, float]]:
    """Suite, task and noise on executed actions."""
    own = [("arm", name, OURS) for name in EXPERTS]
    plans = [("maniskill", name, 0.0) for name in (*SOLUTIONS, "PushT-v1")]
    scripted = [("metaworld", name, NOISE["metaworld"]) for name in PAPER_TASKS]
    return [*scripted, ("robomimic", "Lift", NOISE["robomimic"]), *plans, *own]


def of_arm(name: str, noise: float, seeds: range) -> list[tuple[bool, int]]:
    """Success and length of every episode of a task of ours, through driver and guard."""
    task, profile = find_task(name), load_profile("panda")
    card = expert_card(task, "state", "panda")
    with contextlib.closing(World(task, profile)) as world:
        planner = NoisyExpert(task, card, noise)
        loop = DirectLoop(world, profile, card.observation, planner, execute=1)
        episodes = (
            loop.run(seed, task.max_steps) for seed in tqdm(seeds, desc=name, disable=None)
        )
        return [(episode.success, len(episode.steps)) for episode in episodes]


def of_suite(
    suite: str, name: str, noise: float, seeds: range, longest: int | None
) -> list[tuple[bool, int]]:
    """Success and length of every episode of a suite's own expert."""
    env = open_suite(suite, name, "state")
    env.max_steps = longest or env.max_steps
    try:
        episodes = (env.demonstrate(seed, noise) for seed in tqdm(seeds, desc=name, disable=None))
        return [(bool(episode.success), len(episode.actions)) for episode in episodes]
    finally:
        env.close()


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/demonstrators.jsonl"))
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--only", nargs="*", default=[], help="such as metaworld or arm.poke_cube")
    parser.add_argument("--noise", type=float, help="instead of each suite's own")
    parser.add_argument("--max-steps", type=int, help="instead of each suite's own; not the arm's")
    arguments = parser.parse_args()
    use_shipped_driver()
    console = Console()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.touch()
    seeds = range(TRAIN_SEEDS.start, TRAIN_SEEDS.start + arguments.episodes)

    def rows() -> list[dict]:
        return [json.loads(line) for line in arguments.out.read_text().splitlines()]

    longest = arguments.max_steps
    for suite, name, usual in runs():
        noise = usual if arguments.noise is None else arguments.noise
        key = {"task": f"{suite}.{name}", "noise": noise, "episodes": arguments.episodes}
        key["max_steps"] = None if suite == "arm" else longest
        if arguments.only and not any(key["task"].startswith(only) for only in arguments.only):
            continue
        if any(row | key == row for row in rows()):
            continue
        try:
            done = (
                of_arm(name, noise, seeds)
                if suite == "arm"
                else of_suite(suite, name, noise, seeds, longest)
            )
        except SuiteError as error:
            console.print(f"{key['task']}: left out: {error}", soft_wrap=True)
            continue
        row = {
            **key,
            "successes": sum(success for success, _ in done),
            "steps_mean": float(np.mean([steps for _, steps in done])),
            "seeds": [seeds.start, seeds.stop - 1],
        }
        with arguments.out.open("a") as file:
            file.write(json.dumps(row) + "\n")
    table = Table("task", "noise", "succeeded", "95 % interval", "mean actions")
    for row in rows():
        low, high = wilson(row["successes"], row["episodes"])
        table.add_row(
            row["task"],
            f"{row['noise']:g}",
            f"{row['successes']}/{row['episodes']}",
            f"{low:.0%} to {high:.0%}",
            f"{row['steps_mean']:.0f}",
        )
    console.print(table)


if __name__ == "__main__":
    main()
