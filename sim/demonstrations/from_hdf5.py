# SPDX-License-Identifier: MIT
"""Files of the Robomimic data sets become demonstrations.

The layout (robomimic's documentation, "Dataset contents"): a group `data` whose attribute
`env_args` is JSON with the environment's name; in it one group per episode, `demo_0`, `demo_1`,
and so on, each with `actions` (T, A) in [-1, 1] and `obs/<key>` (T, ...). Pictures
`obs/<camera>_image` are (T, H, W, 3) uint8.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from difftori_models.contract.specs import Observation, ObservationSpec
from difftori_models.data import DemoEpisode, Demos, DemosError, Meta, write_demos
from difftori_ros.observation.image import process_image
from difftori_ros.tools.bag_to_demos import NO_SEED
from difftori_sim.suites.env import SuiteError, env_action
from difftori_sim.suites.robomimic import (
    DT_S,
    action_names,
    find,
    observation_spec,
    robot_name,
    vector_names,
)

MOST_CUT = 0.05
"""Largest share of action entries outside the box that is cut and not refused."""


@dataclass(frozen=True)
class ImportedDemos:
    """What was written.

    Attributes:
        episodes: Episodes in the file.
        steps: Their steps.
        cut: Share of the action entries that lay outside -1 to 1 and were cut.
    """

    episodes: int
    steps: int
    cut: float


def import_hdf5(
    path: Path, task: str, variant: str, out: Path, episodes: int | None = None
) -> ImportedDemos:
    """Write the episodes of a file to `out`, as `difftori_models.data` reads them.

    Args:
        path: The `.hdf5` file.
        task: The task that it must be of, such as `Square`.
        variant: `state` or `rgb`.
        out: The `.npz` file.
        episodes: How many of them, the first ones; all without.

    Raises:
        DemosError: The file is not there, has another layout, is of another task or controller,
            or lacks an array; the message says what is there.
        SuiteError: There are no clouds in such files.
    """
    import h5py

    wanted = find(task)
    if variant == "points":
        raise SuiteError("the files of Robomimic hold no clouds: take --obs state or rgb")
    if not path.is_file():
        raise DemosError(f"no file {path}")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DemosError(f"{path}: not an HDF5 file ({error})") from error
    with file:
        data = _named(file, "data", str(path))
        _check_env(data, wanted.env_name, path)
        numbered = (name for name in data if re.fullmatch(r"demo_\d+", name))
        names = sorted(numbered, key=lambda name: int(name[5:]))
        if not names:
            raise DemosError(f"{path}: data has no demo_0, demo_1, ...")
        if episodes is not None and episodes > len(names):
            raise DemosError(f"{path}: wanted {episodes} episodes, it has {len(names)}")
        names = names[:episodes]
        vectors = vector_names(wanted, variant)
        read: list[DemoEpisode] = []
        columns = action_names(wanted.arms)
        first = _named(data[names[0]], "obs", f"{path}: {names[0]}")
        sizes = {n: _rows(first, n, f"{path}: {names[0]}/obs").shape[1] for n in vectors}
        spec = observation_spec(wanted, variant, sizes)
        for name in tqdm(names, desc="convert", unit="episode", disable=None):
            where = f"{path}: {name}"
            demo = data[name]
            actions = _rows(demo, "actions", where).astype(np.float32)
            if len(actions) == 0 or actions.shape[1] != len(columns):
                raise DemosError(
                    f"{where}/actions: wanted at least one row of {len(columns)}, "
                    f"got {actions.shape}"
                )
            steps = _observations(_named(demo, "obs", where), spec, len(actions), where)
            read.append(DemoEpisode(NO_SEED, steps, actions))
    largest = np.abs(np.concatenate([episode.actions for episode in read]))
    cut = float((largest > 1.0).mean())
    if cut > MOST_CUT:
        raise DemosError(
            f"{path}: {cut:.0%} of the action entries lie outside -1 to 1, up to "
            f"{largest.max():.3g}; wanted are displacements in the controller's units"
        )
    meta = Meta(
        f"robomimic.{task}",
        robot_name(wanted.arms),
        0.0,
        spec,
        env_action(columns, DT_S),
        f"difftori demos import hdf5 {path.name} --task {task} --obs {variant}",
    )
    boxed = [replace(one, actions=np.clip(one.actions, -1.0, 1.0)) for one in read]
    demos = Demos.from_episodes(meta, boxed)
    write_demos(out, demos)
    return ImportedDemos(len(read), len(demos), cut)


def _observations(group: Any, spec: ObservationSpec, steps: int, where: str) -> list[Observation]:
    """What is seen before every action of an episode."""
    vectors = {
        name: _rows(group, name, f"{where}/obs", (steps, size))
        for name, size in spec.vectors.items()
    }
    images: dict[str, list[Any]] = {}
    for camera, wanted in spec.images.items():
        pictures = np.asarray(_named(group, f"{camera}_image", f"{where}/obs"))
        if len(pictures) != steps:
            raise DemosError(f"{where}: {steps} actions, {len(pictures)} of '{camera}'")
        images[camera] = [process_image(picture, wanted) for picture in pictures]
    nothing = np.zeros(0)
    return [
        Observation(
            stamp_ns=0,
            joint_names=(),
            position=nothing,
            velocity=nothing,
            poses={},
            images={camera: rows[k] for camera, rows in images.items()},
            vectors={name: rows[k] for name, rows in vectors.items()},
        )
        for k in range(steps)
    ]


def _rows(group: Any, name: str, where: str, shape: tuple[int, int] | None = None) -> Any:
    """A data set of one row of numbers per step."""
    rows = np.asarray(_named(group, name, where), dtype=np.float64)
    if rows.ndim != 2 or shape not in (None, rows.shape):
        wanted = "(steps, numbers)" if shape is None else f"{shape}"
        raise DemosError(f"{where}/{name}: wanted shape {wanted}, got {rows.shape}")
    return rows


def _named(group: Any, name: str, where: str) -> Any:
    if not hasattr(group, "keys"):
        raise DemosError(f"{where}: wanted a group with '{name}', got a data set")
    if name not in group:
        raise DemosError(f"{where}: no '{name}'; there are {', '.join(sorted(group)) or 'none'}")
    return group[name]


def _check_env(data: Any, env_name: str, path: Path) -> None:
    try:
        arguments = json.loads(data.attrs["env_args"])
        recorded = arguments["env_name"]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise DemosError(
            f"{path}: data has no attribute env_args that is JSON with env_name; attributes: "
            f"{', '.join(data.attrs) or 'none'}"
        ) from error
    if recorded != env_name:
        raise DemosError(f"{path}: demonstrations of '{recorded}', wanted '{env_name}'")
    for key, value in _settings(arguments):
        if (key, value) in (("control_delta", False), ("input_type", "absolute")):
            raise DemosError(
                f"{path}: its controller takes absolute poses ({key} is {json.dumps(value)}), "
                "wanted are displacements"
            )


def _settings(tree: Any) -> Iterator[tuple[str, Any]]:
    """Every named value in nested JSON."""
    for key, value in tree.items() if isinstance(tree, dict) else ():
        yield key, value
        yield from _settings(value)
