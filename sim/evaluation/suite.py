# SPDX-License-Identifier: MIT
"""Success or return of a checkpoint over fixed seeds, in an environment of a suite."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
from tqdm import tqdm

from difftori_models.contract.specs import FloatArray, Observation
from difftori_models.inference.planner import BasePlanner, Planner
from difftori_sim.arm.direct_loop import PLANNER_SEED
from difftori_sim.suites.env import SuiteEnv, SuiteEpisode, SuiteError, roll_out

from .direct import seed_range
from .results import Result, summarise


@dataclass(frozen=True)
class Returns:
    """An evaluation where there is no success; the fields are the keys of the JSON file.

    Attributes:
        task: `<suite>.<task>`.
        checkpoint: Checkpoint name.
        policy: The checkpoint's method, or `base` without refinement.
        episodes: Episodes run.
        first_seed: First seed; they go up by one.
        seeds: Name of the seed range.
        return_by_seed: Sum of the rewards of every episode, in order.
        return_mean: Their mean.
        return_std: Their standard deviation, with n - 1; None of one episode.
        steps_mean: Mean number of actions per episode.
    """

    task: str
    checkpoint: str
    policy: str
    episodes: int
    first_seed: int
    seeds: str
    return_by_seed: list[float]
    return_mean: float
    return_std: float | None
    steps_mean: float

    @property
    def sentence(self) -> str:
        """The result in one line."""
        spread = "" if self.return_std is None else f" ± {self.return_std:.1f}"
        return (
            f"mean return {self.return_mean:.1f}{spread} over {self.episodes} episodes "
            f"({self.checkpoint}, {self.policy}, {self.task}, {self.seeds} seeds "
            f"from {self.first_seed})"
        )


class ChunkPolicy:
    """A planner whose chunks are executed in part, then made anew."""

    def __init__(self, planner: Planner | BasePlanner) -> None:
        """Act as `planner` plans."""
        self._planner, self._spec = planner, planner.card.action
        self._left: list[FloatArray] = []
        self.plan_s: list[float] = []

    def reset(self) -> None:
        """A new episode begins."""
        self._planner.reset(PLANNER_SEED)
        self._left = []

    def __call__(self, observation: Observation) -> FloatArray:
        """The next network action.

        Raises:
            SuiteError: The network gave no usable plan.
        """
        if not self._left:
            plan = self._planner.plan(observation)
            if not plan.status.usable:
                raise SuiteError(f"{self._planner.card.name}: {plan.status.value}")
            self.plan_s.append(plan.elapsed_s)
            chunk = plan.actions / np.array(self._spec.scale)
            self._left = list(chunk[: self._spec.execute])
        return self._left.pop(0)


def check_fits(planner: Planner, env: SuiteEnv) -> None:
    """Pass when the checkpoint is of this environment.

    Raises:
        SuiteError: It is of another task, sees something else or does something else.
    """
    card, info = planner.card, env.info
    # how far a policy plans is its own affair
    action = replace(card.action, horizon=info.action.horizon, execute=info.action.execute)
    pairs = {"task": (card.task, info.task), "robot": (card.robot, info.robot)}
    for part, (a, b) in {
        "observation": (card.observation, info.observation),
        "action": (action, info.action),
    }.items():
        names = [field.name for field in fields(b)]
        pairs |= {f"{part}.{name}": (getattr(a, name), getattr(b, name)) for name in names}
    wrong = {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
    if wrong:
        text = "; ".join(f"{key}: trained for {a}, here {b}" for key, (a, b) in wrong.items())
        raise SuiteError(f"checkpoint '{card.name}' does not fit '{info.task}': {text}")


def evaluate(
    planner: Planner,
    env: SuiteEnv,
    *,
    episodes: int,
    first_seed: int,
    refine: bool = True,
    on_episode: Callable[[SuiteEpisode], None] | None = None,
) -> Result | Returns:
    """Run the checkpoint over fixed seeds and return what was measured.

    Args:
        planner: The checkpoint; one of this environment.
        env: The environment.
        episodes: How many.
        first_seed: First seed; all of them must be in one of the three ranges.
        refine: False leaves out the optimiser.
        on_episode: Called after every episode.
    """
    seeds = seed_range(first_seed, episodes)
    check_fits(planner, env)
    planner.warm_up()
    card = planner.card
    policy = ChunkPolicy(planner if refine else BasePlanner(planner))
    done: list[SuiteEpisode] = []
    with tqdm(total=episodes, desc=card.name, unit="episode", disable=None) as bar:
        for seed in range(first_seed, first_seed + episodes):
            policy.reset()
            done.append(roll_out(env, seed, policy))
            if on_episode:
                on_episode(done[-1])
            bar.update()
            bar.set_postfix(success=sum(bool(e.success) for e in done))
    method = card.method if refine else "base"
    rewards = [episode.reward for episode in done]
    steps = [len(episode.actions) for episode in done]
    if done[0].success is None:
        return Returns(
            task=env.info.task,
            checkpoint=card.name,
            policy=method,
            episodes=episodes,
            first_seed=first_seed,
            seeds=seeds,
            return_by_seed=rewards,
            return_mean=float(np.mean(rewards)),
            return_std=float(np.std(rewards, ddof=1)) if len(rewards) > 1 else None,
            steps_mean=float(np.mean(steps)) if steps else math.nan,
        )
    return summarise(
        task=env.info.task,
        checkpoint=card.name,
        policy=method,
        through="direct",
        first_seed=first_seed,
        seeds=seeds,
        outcomes=[bool(episode.success) for episode in done],
        steps=steps,
        plan_s=policy.plan_s,
    )
