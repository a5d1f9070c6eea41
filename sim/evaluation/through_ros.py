# SPDX-License-Identifier: MIT
"""Success of a checkpoint over fixed seeds, through the three ROS processes in lockstep."""

from __future__ import annotations

from collections.abc import Callable

from tqdm import tqdm

from difftori_models.checkpoint import load_card
from difftori_models.contract.specs import Card
from difftori_models.inference.graph_cache import ready_graphs
from difftori_ros.config.paths import find_checkpoint
from difftori_sim.arm.tasks import TEST_SEEDS, task_of
from difftori_sim.ros.process_operator import Operator, RosEpisode

from .direct import seed_range
from .results import Result, summarise


def evaluate_ros(
    checkpoint: str,
    *,
    episodes: int,
    first_seed: int = TEST_SEEDS.start,
    refine: bool = True,
    robot: str = "panda",
    clock: str = "lockstep",
    backend: str = "auto",
    on_episode: Callable[[RosEpisode], None] | None = None,
) -> Result:
    """Run the checkpoint through bridge, guard and policy node; see `evaluate_direct`."""
    seed_range(first_seed, episodes)  # refuses seeds that are not of one range
    card = load_card(find_checkpoint(checkpoint))
    task = task_of(card)
    ready_graphs(find_checkpoint(checkpoint), backend)
    limit = {"max_time_s": task.max_steps * task.action.dt_s}
    done: list[RosEpisode] = []
    with (
        Operator(
            checkpoint,
            robot,
            clock,
            bridge_parameters=limit,
            policy_parameters={"refine": refine, "backend": backend},
        ) as operator,
        tqdm(total=episodes, desc=f"{card.name} through ros", unit="episode") as bar,
    ):
        for seed in range(first_seed, first_seed + episodes):
            episode = operator.run(seed)
            done.append(episode)
            if on_episode:
                on_episode(episode)
            if episode.stops:
                bar.write(f"seed {seed}: the guard stepped in: {', '.join(sorted(episode.stops))}")
            bar.update()
            bar.set_postfix(success=f"{sum(e.success for e in done)}/{len(done)}")
    policy = card.method if refine else "base"
    return result_of(done, card, policy, first_seed)


def result_of(done: list[RosEpisode], card: Card, policy: str, first_seed: int) -> Result:
    """The result of episodes that were run through ROS."""
    return summarise(
        task=card.task,
        checkpoint=card.name,
        policy=policy,
        through="ros",
        first_seed=first_seed,
        seeds=seed_range(first_seed, len(done)),
        outcomes=[e.success for e in done],
        steps=[len(e.statuses) for e in done],
        plan_s=[float(s["plan_ms"]) * 1e-3 for e in done for s in e.statuses],
    )
