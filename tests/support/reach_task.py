# SPDX-License-Identifier: MIT
"""A small reach task: the tip goes to the goal, clipped and proportional; then the hand closes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from difftori_models.contract.specs import ActionSpec, ImageSpec, ObservationSpec, PointSpec
from difftori_models.data.demonstrations import Demos, Meta, write_demos
from difftori_models.training.cli import train_main

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
    rows: dict[str, list[np.ndarray]] = {
        k: [] for k in ("e", "s", "p", "v", "a", "tip", "goal", "c", *CAMERAS)
    }
    for episode in range(episodes):
        tip, goal = rng.uniform(-0.3, 0.3, 3), rng.uniform(-0.3, 0.3, 3)
        finger, velocity = 0.04, np.zeros(3)
        for _ in range(20):
            near = np.linalg.norm(goal - tip) < 0.03
            move = np.clip((goal - tip) / 0.1, -1, 1)
            rows["e"].append(np.int32(episode))
            rows["s"].append(np.int32(1000 + episode))
            rows["p"].append(np.array([*tip[:2], finger]))
            rows["v"].append(velocity)
            rows["a"].append(np.array([*move, -1.0 if near else 1.0], dtype=np.float32))
            rows["tip"].append(np.array([*tip, 1.0, 0.0, 0.0, 0.0]))
            rows["goal"].append(np.array([*goal, 0.0, 0.0, 0.0, 1.0]))
            if points:
                xyz = goal + rng.normal(0, 0.01, (points, 3))
                rgb = np.tile([0.9, 0.1, 0.1], (points, 1))
                rows["c"].append(np.hstack([xyz, rgb]).astype(np.float32))
            if images:
                rows["camera"].append(picture(CAMERAS["camera"], goal[1], goal[2]))
                rows["wrist"].append(picture(CAMERAS["wrist"], goal[0], goal[1]))
            step = 0.05 * np.clip(move + rng.normal(0, 0.15, 3), -1, 1)
            tip, velocity = tip + step, step / 0.05
            finger = 0.0 if near else 0.04
    spec = observation_spec(points, images)
    return write_demos(
        path,
        meta=Meta("Reach-v0", "toy", 0.15, spec, ACTION, "make_demos"),
        episode=np.array(rows["e"]),
        seed=np.array(rows["s"]),
        position=np.array(rows["p"]),
        velocity=np.array(rows["v"]),
        actions=np.array(rows["a"]),
        poses={"tip": np.array(rows["tip"]), "goal": np.array(rows["goal"])},
        points=np.array(rows["c"]) if points else None,
        images={name: np.array(rows[name]) for name in CAMERAS} if images else None,
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
    assert train_main(arguments) == 0
    return out / "checkpoint"
