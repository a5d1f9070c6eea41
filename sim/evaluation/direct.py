# SPDX-License-Identifier: MIT
"""Success of a checkpoint over fixed seeds, in one process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from difftori_models.checkpoint import load_card
from difftori_models.inference.graph_cache import ready_graphs
from difftori_models.inference.planner import BasePlanner, Planner
from difftori_ros.config.paths import find_checkpoint
from difftori_ros.robot.profile import RobotProfile, load_profile
from difftori_sim.arm.direct_loop import DirectEpisode, DirectLoop
from difftori_sim.arm.tasks import TEST_SEEDS, TRAIN_SEEDS, VALIDATION_SEEDS, Task, task_of
from difftori_sim.arm.world import World

from .results import Result, summarise


def seed_range(first_seed: int, episodes: int) -> str:
    """The name of the range that holds all the seeds.

    Raises:
        ValueError: They are not all in one range; the message names the ranges.
    """
    ranges = {"training": TRAIN_SEEDS, "validation": VALIDATION_SEEDS, "test": TEST_SEEDS}
    for name, seeds in ranges.items():
        if first_seed in seeds and first_seed + max(episodes, 1) - 1 in seeds:
            return name
    text = ", ".join(f"{name} {r.start} to {r.stop - 1}" for name, r in ranges.items())
    raise ValueError(
        f"seeds {first_seed} to {first_seed + episodes - 1} are not in one range; "
        f"there are: {text}"
    )


def evaluate_direct(
    checkpoint: str | Path,
    *,
    episodes: int,
    first_seed: int = TEST_SEEDS.start,
    refine: bool = True,
    robot: str = "panda",
    backend: str = "auto",
    make_world: Callable[[Task, RobotProfile], World] = World,
    on_episode: Callable[[DirectEpisode], None] | None = None,
) -> Result:
    """Run the checkpoint in one process and return what was measured.

    Args:
        checkpoint: Folder, or the name of one that ships.
        episodes: How many.
        first_seed: First seed; all of them must be in one of the three ranges.
        refine: False leaves out the optimiser.
        robot: Robot profile.
        backend: What runs the networks.
        make_world: Makes the world, when it is to be another than usual.
        on_episode: Called after every episode.
    """
    seeds = seed_range(first_seed, episodes)
    folder = find_checkpoint(str(checkpoint))
    task, profile = task_of(load_card(folder)), load_profile(robot)
    planner = Planner(folder, backend=backend, graphs=ready_graphs(folder, backend))
    planner.warm_up()
    card = planner.card
    world = make_world(task, profile)
    done: list[DirectEpisode] = []
    with contextlib.closing(world):
        loop = DirectLoop(
            world, profile, card.observation, planner if refine else BasePlanner(planner)
        )
        label = card.name if refine else f"{card.name} (base)"
        with tqdm(total=episodes, desc=label, unit="episode") as bar:
            for seed in range(first_seed, first_seed + episodes):
                episode = loop.run(seed, task.max_steps)
                done.append(episode)
                if on_episode:
                    on_episode(episode)
                bar.update()
                bar.set_postfix(success=f"{sum(e.success for e in done)}/{len(done)}")
    return summarise(
        task=card.task,
        checkpoint=card.name,
        policy=card.method if refine else "base",
        through="direct",
        first_seed=first_seed,
        seeds=seeds,
        outcomes=[e.success for e in done],
        steps=[len(e.steps) for e in done],
        plan_s=[s.motion.plan.elapsed_s for e in done for s in e.steps],
    )
