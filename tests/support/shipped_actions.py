# SPDX-License-Identifier: MIT
"""What the shipped checkpoints do with 20 recorded observations each, kept bit for bit.

Whoever trains a checkpoint anew, or means to change its actions, records them again:

    python -m tests.support.shipped_actions pick_cube_state
"""

from __future__ import annotations

import contextlib
import json
import platform
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from difftori_models.contract.specs import Observation
from difftori_models.inference.planner import Planner

FOLDER = Path(__file__).resolve().parents[1] / "data" / "shipped_actions"
COUNT = 20
SEED = 7
"""Of the planner's episode."""
_MAPPINGS = ("poses", "images", "stamps_ns", "vectors")


def machine() -> str:
    """What the bits of a sum of products depend on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cpu = f"{(models or [platform.machine()])[0]} {torch.backends.cpu.get_cpu_capability()}"
    return f"torch {torch.__version__.split('+')[0]}, {cpu}"


def flat(observation: Observation, prefix: str = "") -> dict[str, np.ndarray]:
    """The observation as named arrays, with its past."""
    arrays: dict[str, np.ndarray] = {}
    for field in fields(observation):
        value: Any = getattr(observation, field.name)
        if field.name == "past":
            for index, earlier in enumerate(value):
                arrays |= flat(earlier, f"{prefix}past/{index}/")
        elif field.name in _MAPPINGS:
            for name, item in value.items():
                arrays[f"{prefix}{field.name}/{name}"] = np.asarray(item)
        elif value is not None:
            arrays[prefix + field.name] = np.asarray(value)
    return arrays


def whole(arrays: dict[str, np.ndarray]) -> Observation:
    """The observation that `flat` took apart."""
    values: dict[str, Any] = {name: {} for name in _MAPPINGS}
    past: dict[int, dict[str, np.ndarray]] = {}
    for key, array in arrays.items():
        name, _, rest = key.partition("/")
        if name == "past":
            index, _, inner = rest.partition("/")
            past.setdefault(int(index), {})[inner] = array
        elif name == "stamps_ns":
            values[name][rest] = int(array)
        elif name in _MAPPINGS:
            values[name][rest] = array
        elif name == "stamp_ns":
            values[name] = int(array)
        elif name == "joint_names":
            values[name] = tuple(str(joint) for joint in array)
        else:
            values[name] = array
    return Observation(**values, past=tuple(whole(past[index]) for index in sorted(past)))


def recorded(name: str) -> tuple[str, list[Observation], np.ndarray]:
    """The machine it was recorded on, the observations, and the actions, shape (20, H, A)."""
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    actions, where = arrays.pop("actions"), str(arrays.pop("machine"))
    steps = [
        {key: array[index] for key, array in arrays.items() if key != "joint_names"}
        | {key: arrays[key] for key in arrays if key == "joint_names"}
        for index in range(len(actions))
    ]
    return where, [whole(step) for step in steps], actions


def actions_of(checkpoint: Path, observations: list[Observation]) -> np.ndarray:
    """What it does with them one after the other, in one thread of torch."""
    planner = Planner(checkpoint, backend="eager", threads=1)
    planner.reset(SEED)
    return np.stack([planner.plan(observation).actions for observation in observations])


def record(name: str) -> None:
    """Take 20 observations of the checkpoint's own episodes, and what it does with them."""
    from difftori_ros.config.paths import find_checkpoint
    from difftori_ros.observation import Refusal
    from difftori_ros.robot.profile import load_profile
    from difftori_sim.arm.direct_loop import DirectLoop
    from difftori_sim.arm.tasks import VALIDATION_SEEDS, task_of
    from difftori_sim.arm.world import World

    folder = find_checkpoint(name)
    planner = Planner(folder, backend="eager", threads=1)
    profile = load_profile("panda")
    observations: list[Observation] = []
    with contextlib.closing(World(task_of(planner.card), profile)) as world:
        loop = DirectLoop(world, profile, planner.card.observation, planner)
        loop.begin(VALIDATION_SEEDS.start)
        action = planner.card.action
        while len(observations) < COUNT:
            observation = loop.observe()
            assert not isinstance(observation, Refusal), observation
            observations.append(observation)
            loop.command(observation)
            world.advance(action.execute * action.dt_s)
    steps = [flat(observation) for observation in observations]
    if any(step.keys() != steps[0].keys() for step in steps):
        raise SystemExit(f"the observations of {name} do not all hold the same things")
    arrays = {
        key: np.stack([step[key] for step in steps]) for key in steps[0] if key != "joint_names"
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        FOLDER / f"{name}.npz",
        **arrays,
        joint_names=np.array(observations[0].joint_names),
        actions=actions_of(folder, observations),
        machine=np.array(machine()),
    )


if __name__ == "__main__":
    for wanted in sys.argv[1:]:
        record(wanted)
        sys.stdout.write(json.dumps({"recorded": wanted, "machine": machine()}) + "\n")
