# SPDX-License-Identifier: MIT
"""What demonstrations hold, by name, and whether it fits together.

Arrays, T steps in all, the steps of an episode consecutive and in order:

| name | shape, type | content |
|---|---|---|
| `episode`, `seed` | (T,) int32 | number of the episode; seed it was started from |
| `position`, `velocity` | (T, n) float64 | joints in the order of the spec [rad, m; rad/s, m/s] |
| `actions` | (T, A) float32 | the expert's clean action of each step [network units] |
| `pose_<name>` | (T, 7) float64 | `tip`, `tip@<stream>` where it was when that cloud or image \
was seen, and the spec's poses: x y z [m], quaternion x y z w |
| `points` | (T, N, 3 or 6) float32 | processed cloud, when the spec has one |
| `image_<camera>` | (T, H, W, 3) uint8 | processed RGB image of each camera of the spec |
| `vector_<name>` | (T, n) float64 | each vector of the spec; without joints there is no `tip` |
| `meta` | () text | JSON: `task robot noise observation action command` |

A step holds its own frame alone. When the observation spec stacks frames, the past of a step is
the steps before it in its episode; before the first there is the first once more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from difftori_models.contract.specs import ActionSpec, ObservationSpec
from difftori_models.errors import LearningError

REQUIRED = ("episode", "seed", "position", "velocity", "actions")
"""Arrays that all demonstrations have."""
POSE, IMAGE, VECTOR = "pose_", "image_", "vector_"
"""How the names of the other arrays begin; the cloud is called `points`."""


class DemosError(LearningError, ValueError):
    """Demonstrations cannot be used; the message names what was wanted, came and exists."""


@dataclass(frozen=True)
class Meta:
    """What the demonstrations are of.

    Attributes:
        task: Task name.
        robot: Robot profile.
        noise: Spread of the noise on the executed actions [network units]; the labels are clean.
        observation: What was observed.
        action: What the actions mean.
        command: The command that made the file.
    """

    task: str
    robot: str
    noise: float
    observation: ObservationSpec
    action: ActionSpec
    command: str


def check_arrays(meta: Meta, arrays: Mapping[str, NDArray]) -> None:
    """Pass silently when the arrays fit each other and `meta`; poses may be more than the spec's.

    Raises:
        DemosError: They do not; the message names the array.
    """
    _check_frames(meta)
    episode = arrays["episode"]
    if episode.ndim != 1 or len(episode) == 0:
        raise DemosError("episode must have shape (T,) with T > 0")
    if (np.diff(episode) < 0).any():
        raise DemosError("episode must not decrease; steps of an episode stand together")
    wanted = _wanted(meta, len(episode))
    missing = [name for name in wanted if name not in arrays]
    unknown = [name for name in arrays if name not in wanted and not name.startswith(POSE)]
    if missing or unknown:
        parts = [f"missing {', '.join(missing)}"] if missing else []
        parts += [f"unknown {', '.join(unknown)}"] if unknown else []
        raise DemosError(f"{'; '.join(parts)}; arrays there: {', '.join(sorted(arrays))}")
    for name, rows in arrays.items():
        kind, shape = wanted.get(name, ("float64", (len(episode), 7)))
        if rows.dtype != kind:
            raise DemosError(f"{name} must be {kind}, got {rows.dtype}")
        if rows.shape != shape:
            raise DemosError(f"{name} must have shape {shape}, got {rows.shape}")
        if kind.startswith("float") and not np.isfinite(rows).all():
            step = int(np.argwhere(~np.isfinite(rows))[0][0])
            raise DemosError(f"{name} is not finite at step {step}")
    _check_box(meta.action, arrays["actions"])


def _wanted(meta: Meta, steps: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name of every array that there must be -> its type and shape."""
    spec, action = meta.observation, meta.action
    joints = (steps, len(spec.joint_names))
    wanted: dict[str, tuple[str, tuple[int, ...]]] = {
        "episode": ("int32", (steps,)),
        "seed": ("int32", (steps,)),
        "position": ("float64", joints),
        "velocity": ("float64", joints),
        "actions": ("float32", (steps, len(action.names))),
    }
    wanted |= {f"{POSE}{name}": ("float64", (steps, 7)) for name in (*spec.tips, *spec.poses)}
    if spec.points is not None:
        wanted["points"] = ("float32", (steps, spec.points.count, 6 if spec.points.color else 3))
    for name, image in spec.images.items():
        wanted[f"{IMAGE}{name}"] = ("uint8", (steps, image.height, image.width, 3))
    for name, length in spec.vectors.items():
        wanted[f"{VECTOR}{name}"] = ("float64", (steps, length))
    return wanted


def _check_frames(meta: Meta) -> None:
    spec, dt_s = meta.observation, meta.action.dt_s
    steps_apart = spec.frames_apart_s / dt_s
    whole = round(steps_apart) >= 1 and abs(steps_apart - round(steps_apart)) < 1e-6
    if spec.frames > 1 and not whole:
        raise DemosError(
            f"frames {spec.frames_apart_s:g} s apart are not a whole number of steps of {dt_s:g} s"
        )


def _check_box(action: ActionSpec, actions: NDArray[np.float32]) -> None:
    low, high = np.array(action.low) - 1e-6, np.array(action.high) + 1e-6
    outside = ((actions < low) | (actions > high)).any(axis=0)
    if outside.any():
        names = ", ".join(name for name, out in zip(action.names, outside, strict=True) if out)
        raise DemosError(f"actions leave the box of the action spec in {names}")
