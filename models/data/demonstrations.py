# SPDX-License-Identifier: MIT
"""Demonstrations in memory: arrays over all steps, and the observation of any one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from difftori_models.contract.specs import FloatArray, Observation

from .format import IMAGE, POSE, VECTOR, DemosError, Meta, check_arrays


@dataclass(frozen=True)
class DemoEpisode:
    """One episode as it was recorded.

    Attributes:
        seed: Seed that it was started from.
        observations: One before every action.
        actions: The expert's clean actions, each (A,) [network units].
    """

    seed: int
    observations: Sequence[Observation]
    actions: Sequence[NDArray] | NDArray


@dataclass(frozen=True)
class Demos:
    """Demonstrations that fit together; the arrays are those of `difftori_models.data.format`.

    Attributes:
        sha256: Hash of the file that they were read from; empty when they were not.

    Raises:
        DemosError: The arrays do not fit together or do not fit `meta`.
    """

    meta: Meta
    episode: NDArray[np.int32]
    seed: NDArray[np.int32]
    position: FloatArray
    velocity: FloatArray
    actions: NDArray[np.float32]
    poses: Mapping[str, FloatArray]
    points: NDArray[np.float32] | None = None
    images: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    vectors: Mapping[str, FloatArray] = field(default_factory=dict)
    sha256: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        check_arrays(self.meta, self.arrays())

    def __len__(self) -> int:
        return len(self.episode)

    @classmethod
    def from_episodes(cls, meta: Meta, episodes: Sequence[DemoEpisode]) -> Demos:
        """The episodes one after the other, with every pose that the observations show.

        Raises:
            DemosError: There is no step, an observation lacks what `meta` asks for, or the arrays
                do not fit it.
        """
        for k, episode in enumerate(episodes):
            if len(episode.observations) != len(episode.actions):
                raise DemosError(
                    f"episode {k} has {len(episode.observations)} observations and "
                    f"{len(episode.actions)} actions"
                )
        steps = [step for episode in episodes for step in episode.observations]
        if not steps:
            raise DemosError("there is no step in these episodes")
        lengths = [len(episode.observations) for episode in episodes]
        spec = meta.observation
        actions = [action for episode in episodes for action in episode.actions]
        return cls(
            meta,
            episode=np.repeat(np.arange(len(episodes), dtype=np.int32), lengths),
            seed=np.repeat(np.array([one.seed for one in episodes], np.int32), lengths),
            position=np.array([step.position for step in steps], np.float64),
            velocity=np.array([step.velocity for step in steps], np.float64),
            actions=np.array(actions, np.float32),
            poses=_columns(steps, "poses", steps[0].poses, np.float64),
            points=_clouds(steps) if spec.points else None,
            images=_columns(steps, "images", spec.images, None),
            vectors=_columns(steps, "vectors", spec.vectors, np.float64),
        )

    def arrays(self) -> dict[str, NDArray]:
        """Every array by its name in the file."""
        arrays: dict[str, NDArray] = {
            "episode": self.episode,
            "seed": self.seed,
            "position": self.position,
            "velocity": self.velocity,
            "actions": self.actions,
        }
        arrays |= {f"{POSE}{name}": rows for name, rows in self.poses.items()}
        if self.points is not None:
            arrays["points"] = self.points
        arrays |= {f"{IMAGE}{name}": rows for name, rows in self.images.items()}
        return arrays | {f"{VECTOR}{name}": rows for name, rows in self.vectors.items()}

    def stacked(self, frames: int, apart_s: float) -> Demos:
        """The same demonstrations, observed as so many frames at once.

        Raises:
            DemosError: `apart_s` is not a whole number of steps.
        """
        spec = replace(self.meta.observation, frames=frames, frames_apart_s=apart_s)
        return replace(self, meta=replace(self.meta, observation=spec))

    def observation(self, step: int, camera_step: int | None = None) -> Observation:
        """The observation of a step, as it was when it was recorded.

        Args:
            step: Number of the step.
            camera_step: The step whose clouds and images it has, as if they had come late; its
                own without.
        """
        spec, camera_step = self.meta.observation, step if camera_step is None else camera_step
        back = round(spec.frames_apart_s / self.meta.action.dt_s)
        first = int(np.searchsorted(self.episode, self.episode[step]))
        frames = [
            self._frame(max(first, step - k * back), max(first, camera_step - k * back))
            for k in range(spec.frames)
        ]
        return replace(frames[0], past=tuple(frames[1:]))

    def _frame(self, step: int, camera_step: int) -> Observation:
        late = self.meta.observation.tips[1:]
        return Observation(
            stamp_ns=0,
            joint_names=self.meta.observation.joint_names,
            position=self.position[step],
            velocity=self.velocity[step],
            poses={
                name: rows[camera_step if name in late else step]
                for name, rows in self.poses.items()
            },
            points=None if self.points is None else self.points[camera_step],
            images={name: rows[camera_step] for name, rows in self.images.items()},
            vectors={name: rows[step] for name, rows in self.vectors.items()},
        )


def _clouds(steps: Sequence[Observation]) -> NDArray[np.float32]:
    for k, step in enumerate(steps):
        if step.points is None:
            raise DemosError(f"the observation of step {k} has no points")
    return np.array([step.points for step in steps], np.float32)


def _columns(
    steps: Sequence[Observation], kind: str, names: Mapping[str, object], dtype: type | None
) -> dict[str, NDArray]:
    """Name -> its rows over all steps, of the observations' `poses`, `images` or `vectors`."""
    for k, step in enumerate(steps):
        missing = [name for name in names if name not in getattr(step, kind)]
        if missing:
            raise DemosError(
                f"the observation of step {k} lacks {', '.join(missing)} among its {kind}: "
                f"{', '.join(getattr(step, kind)) or 'none'}"
            )
    return {name: np.array([getattr(step, kind)[name] for step in steps], dtype) for name in names}
