# SPDX-License-Identifier: MIT
"""What training takes of demonstrations, by the functions that the planner calls."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from difftori_models.contract.features import (
    policy_images,
    policy_points,
    state_size,
    state_vector,
)
from difftori_models.contract.specs import GRIPPER

from .demonstrations import Demos
from .format import DemosError


def earlier_steps(demos: Demos, delay: int) -> NDArray[np.intp]:
    """Of every step the one `delay` steps earlier, or the first of its episode, shape (T,)."""
    starts = np.flatnonzero(np.diff(demos.episode, prepend=demos.episode[0] - 1))
    first = np.repeat(starts, np.diff(starts, append=len(demos)))
    return np.maximum(np.arange(len(demos)) - delay, first)


def state_vectors(demos: Demos, delay: int = 0) -> NDArray[np.float32]:
    """State vectors of all steps, shape (T, D).

    Args:
        demos: The demonstrations.
        delay: Steps by which clouds and images come late.
    """
    spec = demos.meta.observation
    rows = np.empty((len(demos), state_size(spec)), dtype=np.float32)
    for step, camera_step in enumerate(earlier_steps(demos, delay)):
        rows[step] = state_vector(demos.observation(step, int(camera_step)), spec)
    return rows


def point_clouds(demos: Demos) -> NDArray[np.float32] | None:
    """Policy points of all steps, shape (T, N, C); None without clouds."""
    if demos.points is None:
        return None
    spec = demos.meta.observation
    return np.stack([policy_points(demos.observation(step), spec) for step in range(len(demos))])


def camera_images(demos: Demos) -> tuple[NDArray[np.uint8], ...]:
    """Images of all steps, (T, H, W, 3) per camera, checked as the planner checks them."""
    spec = demos.meta.observation
    policy_images(demos.observation(0), spec)
    if spec.frames == 1:
        return tuple(demos.images[name] for name in spec.images)
    steps = [policy_images(demos.observation(step), spec) for step in range(len(demos))]
    return tuple(np.stack(rows) for rows in zip(*steps, strict=True))


def action_chunks(demos: Demos) -> NDArray[np.float32]:
    """The expert's next H actions at every step, shape (T, H, A) [network units].

    Past the end of its episode the expert rests: no motion and the last gripper command for
    displacements, the last action for `joint_position`.
    """
    action = demos.meta.action
    last = np.append(np.flatnonzero(np.diff(demos.episode)), len(demos) - 1)
    end = last[np.searchsorted(last, np.arange(len(demos)))]
    rest = demos.actions[end].copy()
    if action.kind != "joint_position":
        moving = [k for k, name in enumerate(action.names) if name != GRIPPER]
        rest[:, moving] = 0.0
    chunks = np.empty((len(demos), action.horizon, len(action.names)), dtype=np.float32)
    for ahead in range(action.horizon):
        step = np.arange(len(demos)) + ahead
        over = (step > end)[:, None]
        chunks[:, ahead] = np.where(over, rest, demos.actions[np.minimum(step, end)])
    return chunks


def split_episodes(
    demos: Demos, fraction: float, seed: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Steps for training and for validation; whole episodes go one way or the other.

    Args:
        demos: The demonstrations.
        fraction: Share of the episodes kept for validation; at least one episode is, unless it
            is 0.
        seed: Chooses which.

    Raises:
        DemosError: Nothing would be left to train on.
    """
    episodes = np.unique(demos.episode)
    held = 0 if fraction == 0 else max(1, round(fraction * len(episodes)))
    if held >= len(episodes):
        raise DemosError(
            f"cannot keep {held} of {len(episodes)} episodes for validation; a val_fraction "
            "of 0 keeps none"
        )
    chosen = np.random.default_rng(seed).permutation(episodes)[:held]
    validation = np.isin(demos.episode, chosen)
    return np.flatnonzero(~validation), np.flatnonzero(validation)
