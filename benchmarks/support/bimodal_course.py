# SPDX-License-Identifier: MIT
"""A course with two ways past a disc: one observation, two right answers.

A tip that moves as it is told, in a plane, from left to right past a disc. The expert goes above
or below, by the toss of a coin, and the mean of both runs into the disc. No physics: what it asks
of a policy is to make up its mind. Its demonstrations are an ordinary file (see
`difftori_models.data`), so every policy trains on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from difftori_models.contract.specs import (
    ActionSpec,
    FloatArray,
    Observation,
    ObservationSpec,
    Plan,
)
from difftori_models.data import DemoEpisode, Demos, Meta, write_demos
from difftori_sim.arm.tasks import TRAIN_SEEDS

NAME = "bimodal_course"
DISC = 0.08
"""Radius of the disc round the origin [m]."""
ASIDE = 0.14
"""How far beside its centre the expert passes [m]."""
REACHED = 0.03
"""Distance from the goal that counts as there [m]."""
MAX_STEPS = 50
"""Actions after which an episode has failed."""
NOISE = 0.2
"""Spread of the noise on the expert's executed actions; the labels are clean."""

SPEC = ObservationSpec("base", ("x", "y"), ("goal",), ("position", "goal-tip"))
ACTION = ActionSpec(
    kind="ee_delta_pos",
    names=("x", "y"),
    scale=(0.03, 0.03),
    low=(-1.0, -1.0),
    high=(1.0, 1.0),
    dt_s=0.05,
    horizon=4,
    execute=2,
)


class Planning(Protocol):
    """What drives the tip; a `Planner` does."""

    def reset(self, seed: int) -> None:
        """A new episode."""
        ...

    def plan(self, observation: Observation) -> Plan:
        """A plan in metres."""
        ...


def beginning(seed: int) -> tuple[FloatArray, FloatArray]:
    """Where an episode's tip begins and its goal lies, x and y [m]."""
    draw = np.random.default_rng(seed).uniform(-0.03, 0.03, 2)
    return np.array([-0.3, draw[0]]), np.array([0.3, draw[1]])


def expert_action(tip: FloatArray, goal: FloatArray, side: float) -> FloatArray:
    """Network action towards the next corner of the way on `side` (1 above, -1 below)."""
    corners = ([-0.1, side * ASIDE], [0.1, side * ASIDE], goal)
    target = next(corner for corner in corners if corner is goal or tip[0] < corner[0] - 0.01)
    move = (np.asarray(target) - tip) / ACTION.scale
    return move * min(1.0, 0.8 / max(float(np.abs(move).max()), 1e-9))


def observed(tip: FloatArray, goal: FloatArray, stamp_ns: int) -> Observation:
    """The observation with the tip there."""
    poses = {
        name: np.array([*place, 0.0, 0.0, 0.0, 0.0, 1.0])
        for name, place in (("tip", tip), ("goal", goal))
    }
    return Observation(stamp_ns, SPEC.joint_names, tip.copy(), np.zeros(2), poses)


def walk(
    seed: int, act: Callable[[FloatArray, FloatArray], FloatArray], steps: int = MAX_STEPS
) -> Iterator[tuple[FloatArray, bool]]:
    """The tip after every action [m], and whether it is there; ends there or in the disc."""
    tip, goal = beginning(seed)
    for _ in range(steps):
        tip = tip + np.clip(act(tip, goal), -1.0, 1.0) * ACTION.scale
        there = bool(np.linalg.norm(goal - tip) < REACHED)
        yield tip, there
        if there or np.linalg.norm(tip) < DISC:
            return


def record_course(path: Path, episodes: int, first_seed: int = TRAIN_SEEDS.start) -> Demos:
    """Demonstrations lie in `path`: half of them above, half below, by the seed's coin."""
    recorded: list[DemoEpisode] = []
    for seed in range(first_seed, first_seed + episodes):
        draw = np.random.default_rng((seed, 1))
        side = float(draw.choice([-1.0, 1.0]))
        observations: list[Observation] = []
        actions: list[FloatArray] = []

        def noisy(
            tip: FloatArray,
            goal: FloatArray,
            side: float = side,
            draw: np.random.Generator = draw,
            observations: list[Observation] = observations,
            actions: list[FloatArray] = actions,
        ) -> FloatArray:
            observations.append(observed(tip, goal, 0))
            actions.append(expert_action(tip, goal, side))
            return actions[-1] + NOISE * draw.standard_normal(2)

        for _ in walk(seed, noisy):
            pass
        recorded.append(DemoEpisode(seed, observations, actions))
    command = f"record_course(path, {episodes}, {first_seed})"
    demos = Demos.from_episodes(Meta(NAME, "plane", NOISE, SPEC, ACTION, command), recorded)
    write_demos(path, demos)
    return demos


def run_course(planner: Planning, seed: int) -> tuple[bool, bool]:
    """Whether the planner brings the tip to its goal and not into the disc, and went above."""
    planner.reset(seed)
    queue: list[FloatArray] = []
    count = 0

    def act(tip: FloatArray, goal: FloatArray) -> FloatArray:
        nonlocal count
        if not queue:
            stamp_ns = round(count * ACTION.dt_s * 1e9)
            plan = planner.plan(observed(tip, goal, stamp_ns))
            queue.extend(plan.actions[: ACTION.execute] / np.array(ACTION.scale))
        count += 1
        return queue.pop(0)

    way = list(walk(seed, act))
    nearest = min(way, key=lambda step: abs(float(step[0][0])))
    return way[-1][1], float(nearest[0][1]) > 0
