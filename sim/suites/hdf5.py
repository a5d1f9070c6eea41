# SPDX-License-Identifier: MIT
"""Files of the Robomimic data sets become demonstrations.

The layout (robomimic's documentation, "Dataset contents"): a group `data` whose attribute
`env_args` is JSON with the environment's name; in it one group per episode, `demo_0`, `demo_1`,
and so on, each with `actions` (T, A) in [-1, 1] and `obs/<key>` (T, ...). Pictures
`obs/<camera>_image` are (T, H, W, 3) uint8.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from difftori_models.dataset import DemosError, Meta, write_demos
from difftori_ros.image import process_image

from ..collect import NO_SEED
from .env import SuiteError, env_action
from .robomimic import DT_S, action_names, find, observation_spec, vector_names


@dataclass(frozen=True)
class Converted:
    """What was written."""

    episodes: int
    steps: int


def convert(path: Path, task: str, variant: str, out: Path) -> Converted:
    """Write the episodes of a file to `out`, in the format of `difftori_models.dataset`.

    Args:
        path: The `.hdf5` file.
        task: The task that it must be of, such as `Square`.
        variant: `state` or `rgb`.
        out: The `.npz` file.

    Raises:
        DemosError: The file is not there, has another layout, is of another task, or lacks an
            array; the message says what is there.
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
        names = sorted((n for n in data if n.startswith("demo_")), key=lambda n: int(n[5:]))
        if not names:
            raise DemosError(f"{path}: data has no demo_0, demo_1, ...")
        vectors: dict[str, list[Any]] = {n: [] for n in vector_names(wanted, variant)}
        cameras = wanted.cameras if variant == "rgb" else ()
        pictures: dict[str, list[Any]] = {camera: [] for camera in cameras}
        actions, lengths = [], []
        first = _named(data[names[0]], "obs", f"{path}: {names[0]}")
        sizes = {n: _named(first, n, f"{path}: {names[0]}/obs").shape[1] for n in vectors}
        spec = observation_spec(wanted, variant, sizes)
        for name in tqdm(names, desc="convert", unit="episode", disable=None):
            where = f"{path}: {name}"
            demo = data[name]
            rows = np.asarray(_named(demo, "actions", where), dtype=np.float32)
            obs = _named(demo, "obs", where)
            actions.append(np.clip(rows, -1.0, 1.0))
            lengths.append(len(rows))
            for key, found in vectors.items():
                found.append(np.asarray(_named(obs, key, f"{where}/obs"), dtype=np.float64))
            for camera, found in pictures.items():
                seen = np.asarray(_named(obs, f"{camera}_image", f"{where}/obs"))
                want = spec.images[camera]
                found.append(np.stack([process_image(one, want) for one in seen]))
    action = env_action(action_names(wanted.arms), DT_S)
    steps = sum(lengths)
    write_demos(
        out,
        episode=np.repeat(np.arange(len(names)), lengths),
        seed=np.full(steps, NO_SEED),
        position=np.zeros((steps, 0)),
        velocity=np.zeros((steps, 0)),
        actions=np.concatenate(actions),
        poses={},
        images={camera: np.concatenate(found) for camera, found in pictures.items()},
        vectors={name: np.concatenate(found) for name, found in vectors.items()},
        meta=Meta(
            f"robomimic.{task}",
            "robosuite_panda" + "_and_panda" * (wanted.arms - 1),
            0.0,
            spec,
            action,
            f"difftori collect --suite robomimic --task {task} --obs {variant} "
            f"--from-hdf5 {path.name}",
        ),
    )
    return Converted(len(names), steps)


def _named(group: Any, name: str, where: str) -> Any:
    if name not in group:
        raise DemosError(f"{where}: no '{name}'; there are {', '.join(sorted(group)) or 'none'}")
    return group[name]


def _check_env(data: Any, env_name: str, path: Path) -> None:
    try:
        found = json.loads(data.attrs["env_args"])["env_name"]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise DemosError(
            f"{path}: data has no attribute env_args that is JSON with env_name; attributes: "
            f"{', '.join(data.attrs) or 'none'}"
        ) from error
    if found != env_name:
        raise DemosError(f"{path}: demonstrations of '{found}', wanted '{env_name}'")
