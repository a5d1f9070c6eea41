# SPDX-License-Identifier: MIT
"""A small reach task: the tip goes to the goal, clipped and proportional; then the hand closes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from difftori_models.contract.specs import (
    ActionSpec,
    ImageSpec,
    Observation,
    ObservationSpec,
    PointSpec,
)
from difftori_models.data import DemoEpisode, Demos, Meta, write_demos
from difftori_sim.cli.main import main

TRAIN = ("train", "imitation")
"""Words of the command line that trains."""
JOINTS = ("joint1", "joint2", "finger")
ACTION = ActionSpec(
    kind="ee_delta_pos",
    names=("x", "y", "z", "gripper"),
    scale=(0.05, 0.05, 0.05, 1.0),
    low=(-1.0,) * 4,
    high=(1.0,) * 4,
    dt_s=0.05,
    horizon=4,
    execute=2,
    tip_orientation=(1.0, 0.0, 0.0, 0.0),
)


CAMERAS = {"camera": ImageSpec(24, 32), "wrist": ImageSpec(16, 16)}
"""Two cameras; one looks along x, the other along z."""


def observation_spec(points: int = 0, images: bool = False) -> ObservationSpec:
    cloud = PointSpec("base", points, True, (-1.0, -1.0, -1.0), (1.0, 1.0, 1.0), min_points=8)
    features = ("position", "velocity", "tip") if points else ("position", "tip", "goal-tip")
    features = ("position", "tip") if images else features
    return ObservationSpec(
        frame="base",
        joint_names=JOINTS,
        poses=("goal",),
        features=features,
        points=cloud if points else None,
        images=CAMERAS if images else {},
    )


def picture(spec: ImageSpec, across: float, down: float) -> np.ndarray:
    """A red blob on grey at a place, -0.5 to 0.5 each way."""
    image = np.full((spec.height, spec.width, 3), 90, np.uint8)
    y, x = round((down + 0.5) * spec.height), round((across + 0.5) * spec.width)
    image[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3] = (230, 30, 30)
    return image


def make_demos(
    path: Path, episodes: int, points: int = 0, seed: int = 0, images: bool = False
) -> Demos:
    """Write demonstrations of `episodes` reaches of about 20 steps each."""
    rng = np.random.default_rng(seed)
    spec = observation_spec(points, images)
    recorded: list[DemoEpisode] = []
    for episode in range(episodes):
        tip, goal = rng.uniform(-0.3, 0.3, 3), rng.uniform(-0.3, 0.3, 3)
        finger, velocity = 0.04, np.zeros(3)
        observations: list[Observation] = []
        actions: list[np.ndarray] = []
        for _ in range(20):
            near = np.linalg.norm(goal - tip) < 0.03
            move = np.clip((goal - tip) / 0.1, -1, 1)
            observations.append(observed(spec, tip, goal, finger, velocity, rng))
            actions.append(np.array([*move, -1.0 if near else 1.0]))
            step = 0.05 * np.clip(move + rng.normal(0, 0.15, 3), -1, 1)
            tip, velocity = tip + step, step / 0.05
            finger = 0.0 if near else 0.04
        recorded.append(DemoEpisode(1000 + episode, observations, actions))
    meta = Meta("Reach-v0", "toy", 0.15, spec, ACTION, "make_demos")
    demos = Demos.from_episodes(meta, recorded)
    write_demos(path, demos)
    return demos


def observed(
    spec: ObservationSpec,
    tip: np.ndarray,
    goal: np.ndarray,
    finger: float,
    velocity: np.ndarray,
    rng: np.random.Generator,
) -> Observation:
    """What is seen with the tip there."""
    points = None
    if spec.points is not None:
        xyz = goal + rng.normal(0, 0.01, (spec.points.count, 3))
        rgb = np.tile([0.9, 0.1, 0.1], (spec.points.count, 1))
        points = np.hstack([xyz, rgb]).astype(np.float32)
    tip_pose = np.array([*tip, 1.0, 0.0, 0.0, 0.0])
    views = {"camera": (goal[1], goal[2]), "wrist": (goal[0], goal[1])}
    return Observation(
        stamp_ns=0,
        joint_names=JOINTS,
        position=np.array([*tip[:2], finger]),
        velocity=velocity,
        poses={
            **dict.fromkeys(spec.tips, tip_pose),
            "goal": np.array([*goal, 0.0, 0.0, 0.0, 1.0]),
        },
        points=points,
        images={name: picture(spec.images[name], *views[name]) for name in spec.images},
    )


def train(demos: Path, out: Path, **settings: object) -> Path:
    """Train through the command line; returns the checkpoint's directory."""
    arguments = ["--demos", str(demos), "--out", str(out), "--name", "reach"]
    for key, value in settings.items():
        option = f"--{key.replace('_', '-')}"
        if value is True:
            arguments.append(option)
        else:
            arguments += [option, str(value)]
    assert main([*TRAIN, *arguments]) == 0
    return out / "checkpoint"
