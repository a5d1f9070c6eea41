# SPDX-License-Identifier: MIT
"""How often the experts of the suites succeed, over the same training seeds.

    python benchmarks/studies/expert_success.py                          # every task that has one
    python benchmarks/studies/expert_success.py --only metaworld.push arm --noise 0

One JSON line per task and noise; what is there already is not run again. The tables are made from
the whole file, into docs/reference/suites.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout
from benchmarks.support.pages import DOCS, kept, put, read
from benchmarks.support.quick import add_quick, folder_of
from difftori_ros.robot.profile import load_profile
from difftori_sim.arm.direct_loop import DirectLoop
from difftori_sim.arm.experts import EXPERTS
from difftori_sim.arm.tasks import TRAIN_SEEDS, find_task
from difftori_sim.arm.vulkan import use_shipped_driver
from difftori_sim.arm.world import World
from difftori_sim.cli.demos_commands import NOISE
from difftori_sim.demonstrations.record import NoisyExpert, expert_card
from difftori_sim.evaluation.results import wilson
from difftori_sim.suites import open_suite
from difftori_sim.suites.env import SuiteError
from difftori_sim.suites.maniskill_plans import SOLUTIONS
from difftori_sim.suites.metaworld import PAPER_TASKS

LINES = DOCS / "results" / "expert_success.jsonl"
TITLES = {
    "arm": "Tasks of our arm (`--only arm`):",
    "maniskill": "ManiSkill's motion planner, and the pushes of Push-T (`--only maniskill`):",
    "metaworld": "MetaWorld's scripted policies (`--only metaworld`):",
    "robomimic": "Robomimic's Lift (`--only robomimic`):",
}
HEADER = "| task | noise | at most [actions] | succeeded | 95 % interval | mean actions |"
OURS = 0.15
"""Noise that `difftori demos record` has by default."""


def runs() -> list[tuple[str, str, float]]:
    """Suite, task and noise on executed actions."""
    own = [("arm", name, OURS) for name in EXPERTS]
    plans = [("maniskill", name, 0.0) for name in (*SOLUTIONS, "PushT-v1")]
    scripted = [("metaworld", name, NOISE["metaworld"]) for name in PAPER_TASKS]
    return [*scripted, ("robomimic", "Lift", NOISE["robomimic"]), *plans, *own]


def of_arm(name: str, noise: float, seeds: range) -> list[tuple[bool, int]]:
    """Success and length of every episode of a task of ours, through pipeline and guard."""
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
    env.info = replace(env.info, max_steps=longest or env.info.max_steps)
    try:
        episodes = (env.demonstrate(seed, noise) for seed in tqdm(seeds, desc=name, disable=None))
        return [(bool(episode.success), len(episode.actions)) for episode in episodes]
    finally:
        env.close()


def table(rows: list[dict[str, Any]]) -> str:
    """One Markdown table per suite."""
    lines = []
    for suite in TITLES:
        mine = [row for row in rows if row["task"].startswith(f"{suite}.")]
        if not mine:
            continue
        lines += [TITLES[suite], "", HEADER, "|---|---|---|---|---|---|"]
        for row in mine:
            low, high = wilson(row["successes"], row["episodes"])
            name = row["task"].partition(".")[2].removesuffix("-v1")
            lines.append(
                f"| {name} | {row['noise']:g} | {row['max_steps'] or 'its own'} "
                f"| {row['successes']}/{row['episodes']} "
                f"| {low:.0%} to {high:.0%} | {row['steps_mean']:.0f} |"
            )
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, then make the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jsonl", type=Path, default=LINES)
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--only", nargs="*", default=[], help="such as metaworld or arm.poke_cube")
    parser.add_argument("--noise", type=float, help="instead of each suite's own")
    parser.add_argument("--max-steps", type=int, help="instead of each suite's own; not the arm's")
    parser.add_argument("--render", action="store_true", help="run nothing")
    add_quick(parser, "two episodes of one task")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.only, arguments.episodes = ["arm.push_cube"], 2
        arguments.jsonl = folder_of("expert_success") / "expert_success.jsonl"
    use_shipped_driver()
    console = Console(soft_wrap=True)
    arguments.jsonl.parent.mkdir(parents=True, exist_ok=True)
    seeds = range(TRAIN_SEEDS.start, TRAIN_SEEDS.start + arguments.episodes)

    longest = arguments.max_steps
    for suite, name, usual in [] if arguments.render else runs():
        noise = usual if arguments.noise is None else arguments.noise
        key = {"task": f"{suite}.{name}", "noise": noise, "episodes": arguments.episodes}
        key["max_steps"] = None if suite == "arm" else longest
        if arguments.only and not any(key["task"].startswith(only) for only in arguments.only):
            continue
        if any(row | key == row for row in read(arguments.jsonl)):
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
        with arguments.jsonl.open("a") as file:
            file.write(json.dumps(row) + "\n")
    text = table(kept(arguments.jsonl))
    if arguments.jsonl == LINES:
        put(DOCS / "reference" / "suites.md", "expert_success", text)
    console.print(text, markup=False, highlight=False)


if __name__ == "__main__":
    main()
