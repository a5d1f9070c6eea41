# SPDX-License-Identifier: MIT
"""Demonstrations in one `.npz` file: what the recorder writes and the trainer reads.

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

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from difftori_models.contract.features import (
    policy_images,
    policy_points,
    state_size,
    state_vector,
)
from difftori_models.contract.specs import ActionSpec, FloatArray, Observation, ObservationSpec
from difftori_models.contract.strict_json import JsonError, decode, dumps, loads, write_atomically
from difftori_models.errors import LearningError

GRIPPER = "gripper"


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


@dataclass(frozen=True)
class Demos:
    """Demonstrations; the arrays are those of the file (see above)."""

    meta: Meta
    episode: NDArray[np.int32]
    seed: NDArray[np.int32]
    position: FloatArray
    velocity: FloatArray
    actions: NDArray[np.float32]
    poses: Mapping[str, FloatArray]
    points: NDArray[np.float32] | None = None
    images: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    sha256: str = field(default="", compare=False)
    vectors: Mapping[str, FloatArray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.episode)

    def before(self, delay: int) -> NDArray[np.intp]:
        """Of every step the one `delay` steps earlier, or the first of its episode, shape (T,)."""
        starts = np.flatnonzero(np.diff(self.episode, prepend=self.episode[0] - 1))
        first = np.repeat(starts, np.diff(starts, append=len(self)))
        return np.maximum(np.arange(len(self)) - delay, first)

    def stacked(self, frames: int, apart_s: float) -> Demos:
        """The same demonstrations, observed as so many frames at once.

        Raises:
            DemosError: `apart_s` is not a whole number of steps.
        """
        spec = replace(self.meta.observation, frames=frames, frames_apart_s=apart_s)
        found = replace(self, meta=replace(self.meta, observation=spec))
        _check(found, "demonstrations")
        return found

    def observation(self, step: int, seen: int | None = None) -> Observation:
        """The observation of a step, as it was when it was recorded.

        Args:
            step: Number of the step.
            seen: Its clouds and images are those of this step, as if they had come late.
        """
        spec, seen = self.meta.observation, step if seen is None else seen
        back = round(spec.frames_apart_s / self.meta.action.dt_s)
        first = int(np.searchsorted(self.episode, self.episode[step]))
        frames = [
            self._frame(max(first, step - k * back), max(first, seen - k * back))
            for k in range(spec.frames)
        ]
        return replace(frames[0], past=tuple(frames[1:]))

    def _frame(self, step: int, seen: int) -> Observation:
        cameras = self.meta.observation.tips[1:]
        return Observation(
            stamp_ns=0,
            joint_names=self.meta.observation.joint_names,
            position=self.position[step],
            velocity=self.velocity[step],
            poses={
                name: rows[seen if name in cameras else step] for name, rows in self.poses.items()
            },
            points=None if self.points is None else self.points[seen],
            images={name: rows[seen] for name, rows in self.images.items()},
            vectors={name: rows[step] for name, rows in self.vectors.items()},
        )

    def states(self, delay: int = 0) -> NDArray[np.float32]:
        """State vectors of all steps, shape (T, D), made by the function the planner calls.

        Args:
            delay: Steps by which clouds and images come late.
        """
        spec = self.meta.observation
        rows = np.empty((len(self), state_size(spec)), dtype=np.float32)
        for step, seen in enumerate(self.before(delay)):
            rows[step] = state_vector(self.observation(step, int(seen)), spec)
        return rows

    def clouds(self) -> NDArray[np.float32] | None:
        """Policy points of all steps, (T, N, C) or None, by the function the planner calls."""
        if self.points is None:
            return None
        spec = self.meta.observation
        return np.stack([policy_points(self.observation(step), spec) for step in range(len(self))])

    def pictures(self) -> tuple[NDArray[np.uint8], ...]:
        """Images of all steps, (T, H, W, 3) per camera, checked as the planner checks them."""
        spec = self.meta.observation
        policy_images(self.observation(0), spec)
        if spec.frames == 1:
            return tuple(self.images[name] for name in spec.images)
        seen = [policy_images(self.observation(step), spec) for step in range(len(self))]
        return tuple(np.stack(rows) for rows in zip(*seen, strict=True))

    def chunks(self) -> NDArray[np.float32]:
        """The expert's next H actions at every step, shape (T, H, A).

        Past the end of its episode the expert rests: no motion and the last gripper command for
        displacements, the last action for `joint_position`.
        """
        action = self.meta.action
        last = np.append(np.flatnonzero(np.diff(self.episode)), len(self) - 1)
        end = last[np.searchsorted(last, np.arange(len(self)))]
        rest = self.actions[end].copy()
        if action.kind != "joint_position":
            moving = [k for k, name in enumerate(action.names) if name != GRIPPER]
            rest[:, moving] = 0.0
        chunks = np.empty((len(self), action.horizon, len(action.names)), dtype=np.float32)
        for ahead in range(action.horizon):
            step = np.arange(len(self)) + ahead
            over = step > end
            chunks[:, ahead] = np.where(over[:, None], rest, self.actions[np.minimum(step, end)])
        return chunks

    def split(self, fraction: float, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Steps for training and for validation; whole episodes go one way or the other.

        Args:
            fraction: Share of the episodes kept for validation; at least one episode is, unless it
                is 0.
            seed: Chooses which.

        Raises:
            DemosError: Nothing would be left to train on.
        """
        episodes = np.unique(self.episode)
        held = 0 if fraction == 0 else max(1, round(fraction * len(episodes)))
        if held >= len(episodes):
            raise DemosError(
                f"cannot keep {held} of {len(episodes)} episodes for validation; a val_fraction "
                "of 0 keeps none"
            )
        chosen = np.random.default_rng(seed).permutation(episodes)[:held]
        validation = np.isin(self.episode, chosen)
        return np.flatnonzero(~validation), np.flatnonzero(validation)


def write_demos(
    path: str | Path,
    *,
    meta: Meta,
    episode: NDArray[np.int32],
    seed: NDArray[np.int32],
    position: FloatArray,
    velocity: FloatArray,
    actions: NDArray[np.float32],
    poses: Mapping[str, FloatArray],
    points: NDArray[np.float32] | None = None,
    images: Mapping[str, NDArray[np.uint8]] | None = None,
    vectors: Mapping[str, FloatArray] | None = None,
) -> Demos:
    """The demonstrations lie in `path`, whole and checked, or the file is what it was before.

    Raises:
        DemosError: The arrays do not fit together or do not fit `meta`.
    """
    demos = Demos(
        meta=meta,
        episode=np.asarray(episode, dtype=np.int32),
        seed=np.asarray(seed, dtype=np.int32),
        position=np.asarray(position, dtype=np.float64),
        velocity=np.asarray(velocity, dtype=np.float64),
        actions=np.asarray(actions, dtype=np.float32),
        poses=_with_tips(
            {name: np.asarray(rows, dtype=np.float64) for name, rows in poses.items()},
            meta.observation,
        ),
        points=None if points is None else np.asarray(points, dtype=np.float32),
        images=dict(images or {}),
        vectors={n: np.asarray(rows, np.float64) for n, rows in (vectors or {}).items()},
    )
    _check(demos, "demonstrations")
    arrays = {"meta": np.array(dumps(meta))}
    for name in ("episode", "seed", "position", "velocity", "actions"):
        arrays[name] = getattr(demos, name)
    arrays |= {f"pose_{name}": rows for name, rows in demos.poses.items()}
    if demos.points is not None:
        arrays["points"] = demos.points
    arrays |= {f"image_{name}": rows for name, rows in demos.images.items()}
    arrays |= {f"vector_{name}": rows for name, rows in demos.vectors.items()}
    data = io.BytesIO()
    np.savez_compressed(data, **arrays)  # type: ignore[arg-type]
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data.getvalue())
    return demos


def load_demos(path: str | Path) -> Demos:
    """The demonstrations in `path`, checked.

    Raises:
        DemosError: There is no such file, it is no `.npz` file, an array is missing or has another
            shape or type, a number is not finite, or the meta data cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        near = sorted(p.name for p in path.parent.glob("*.npz")) if path.parent.is_dir() else []
        raise DemosError(
            f"no demonstration file {path}; .npz files there: {', '.join(near) or 'none'}"
        )
    data = path.read_bytes()
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            if isinstance(file, np.ndarray):
                raise DemosError(f"{path}: a single array, not an .npz file of demonstrations")
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zipfile.zlib.error) as error:  # type: ignore[attr-defined]
        if isinstance(error, DemosError):
            raise
        raise DemosError(f"{path}: not an .npz file of plain arrays ({error})") from error
    wanted = ("meta", "episode", "seed", "position", "velocity", "actions")
    missing = [name for name in wanted if name not in arrays]
    if missing:
        raise DemosError(
            f"{path}: missing {', '.join(missing)}; "
            f"the file has {', '.join(sorted(arrays)) or 'nothing'}"
        )
    for name, kind in (
        ("episode", "int32"),
        ("seed", "int32"),
        ("position", "float64"),
        ("velocity", "float64"),
        ("actions", "float32"),
        ("points", "float32"),
    ):
        if name in arrays and arrays[name].dtype != kind:
            raise DemosError(f"{path}: {name} must be {kind}, got {arrays[name].dtype}")
    try:
        meta: Meta = decode(Meta, loads(str(arrays["meta"])), "meta")
    except JsonError as error:
        raise DemosError(f"{path}: {error}") from error
    poses = {n[len("pose_") :]: rows for n, rows in arrays.items() if n.startswith("pose_")}
    demos = Demos(
        meta=meta,
        episode=arrays["episode"],
        seed=arrays["seed"],
        position=arrays["position"],
        velocity=arrays["velocity"],
        actions=arrays["actions"],
        poses=_with_tips(poses, meta.observation),
        points=arrays.get("points"),
        images={
            name[len("image_") :]: rows
            for name, rows in arrays.items()
            if name.startswith("image_")
        },
        vectors={
            name[len("vector_") :]: rows
            for name, rows in arrays.items()
            if name.startswith("vector_")
        },
        sha256=hashlib.sha256(data).hexdigest(),
    )
    _check(demos, str(path))
    return demos


def _with_tips(poses: Mapping[str, FloatArray], spec: ObservationSpec) -> dict[str, FloatArray]:
    """The poses; where the tip is not said to have been elsewhere, cameras had no delay."""
    tip = {name: poses["tip"] for name in spec.tips if "tip" in poses}
    return tip | dict(poses)


def _check(demos: Demos, where: str) -> None:
    spec, action = demos.meta.observation, demos.meta.action
    steps = len(demos.episode)
    if demos.episode.ndim != 1 or steps == 0:
        raise DemosError(f"{where}: episode must have shape (T,) with T > 0")
    if (np.diff(demos.episode) < 0).any():
        raise DemosError(f"{where}: episode must not decrease; steps of an episode stand together")
    missing = [name for name in (*spec.tips, *spec.poses) if name not in demos.poses]
    if missing:
        raise DemosError(
            f"{where}: missing {', '.join(f'pose_{name}' for name in missing)}; poses there: "
            f"{', '.join(sorted(demos.poses)) or 'none'}"
        )
    joints = (steps, len(spec.joint_names))
    shapes: dict[str, tuple[NDArray, tuple[int, ...]]] = {
        "seed": (demos.seed, (steps,)),
        "position": (demos.position, joints),
        "velocity": (demos.velocity, joints),
        "actions": (demos.actions, (steps, len(action.names))),
    }
    shapes |= {f"pose_{name}": (rows, (steps, 7)) for name, rows in demos.poses.items()}
    steps_apart = spec.frames_apart_s / action.dt_s
    if spec.frames > 1 and (not _whole(steps_apart)):
        raise DemosError(
            f"{where}: frames {spec.frames_apart_s:g} s apart are not a whole number of steps of "
            f"{action.dt_s:g} s"
        )
    if (spec.points is None) != (demos.points is None):
        raise DemosError(
            f"{where}: the observation spec has {'no ' if spec.points is None else ''}points, "
            f"the file has {'none' if demos.points is None else 'some'}"
        )
    if spec.points is not None and demos.points is not None:
        width = 6 if spec.points.color else 3
        shapes["points"] = (demos.points, (steps, spec.points.count, width))
    if set(spec.images) != set(demos.images):
        raise DemosError(
            f"{where}: the observation spec has images of {', '.join(spec.images) or 'no camera'},"
            f" the file of {', '.join(demos.images) or 'none'}"
        )
    if set(spec.vectors) != set(demos.vectors):
        raise DemosError(
            f"{where}: the observation spec has vectors {', '.join(spec.vectors) or 'none'}, "
            f"the file {', '.join(demos.vectors) or 'none'}"
        )
    shapes |= {f"vector_{n}": (demos.vectors[n], (steps, k)) for n, k in spec.vectors.items()}
    for name, want in spec.images.items():
        rows = demos.images[name]
        if rows.dtype != np.uint8:
            raise DemosError(f"{where}: image_{name} must be uint8, got {rows.dtype}")
        shapes[f"image_{name}"] = (rows, (steps, want.height, want.width, 3))
    for name, (rows, shape) in shapes.items():
        if rows.shape != shape:
            raise DemosError(f"{where}: {name} must have shape {shape}, got {rows.shape}")
        if rows.dtype != np.uint8 and not np.isfinite(rows).all():
            step = int(np.argwhere(~np.isfinite(rows))[0][0])
            raise DemosError(f"{where}: {name} is not finite at step {step}")
    low, high = np.array(action.low) - 1e-6, np.array(action.high) + 1e-6
    outside = ((demos.actions < low) | (demos.actions > high)).any(axis=0)
    if outside.any():
        names = ", ".join(name for name, out in zip(action.names, outside, strict=True) if out)
        raise DemosError(f"{where}: actions leave the box of the action spec in {names}")


def _whole(number: float) -> bool:
    return round(number) >= 1 and abs(number - round(number)) < 1e-6
