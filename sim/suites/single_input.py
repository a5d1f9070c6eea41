# SPDX-License-Identifier: MIT
"""What environments have in common that give one vector, or one picture, and have no expert."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from difftori_models.contract.specs import ImageSpec, Observation, ObservationSpec

from .env import EnvironmentInfo, SuiteError, env_action

DT_S = 0.05
"""Time that an action stands for in cards [s]; these environments do not say."""
LONGEST = 1000
"""Actions after which an episode ends that its environment does not end before."""
SIDE = 84
"""Height and width of a picture [px]."""


def single_input_info(
    suite: str,
    task: str,
    actions: int,
    state: int,
    variant: str,
    *,
    max_steps: int = LONGEST,
    action_repeat: int = 1,
) -> EnvironmentInfo:
    """What such an environment is.

    Args:
        suite: Its suite, which stands in cards as the robot too.
        task: Its name in the suite.
        actions: Length of an action.
        state: Length of the vector.
        variant: `state` or `rgb`.
        max_steps: Actions after which an episode ends.
        action_repeat: Steps of the simulator per action.
    """
    plain = "".join(c if c.isalnum() or c in "_.-" else "-" for c in task)
    pixels = variant == "rgb"
    observation = ObservationSpec(
        frame="world",
        joint_names=(),
        poses=(),
        features=("step",) if pixels else ("state",),
        images={"camera": ImageSpec(SIDE, SIDE)} if pixels else {},
        vectors={"step": 1} if pixels else {"state": state},
    )
    action = env_action(tuple(f"action{k}" for k in range(actions)), DT_S)
    return EnvironmentInfo(
        f"{suite}.{plain}", suite, observation, action, max_steps, action_repeat
    )


def single_input(
    info: EnvironmentInfo,
    steps: int,
    vector: NDArray[Any] | None = None,
    picture: NDArray[np.uint8] | None = None,
) -> Observation:
    """The observation after `steps` actions: a vector (D,), or a picture (SIDE, SIDE, 3)."""
    name = next(iter(info.observation.vectors))
    rounded = np.zeros(1) if vector is None else np.asarray(vector, np.float32)
    return Observation(
        stamp_ns=round(steps * DT_S * 1e9),
        joint_names=(),
        position=np.zeros(0),
        velocity=np.zeros(0),
        poses={},
        images={} if picture is None else {"camera": np.ascontiguousarray(picture)},
        vectors={name: rounded.astype(np.float64)},
    )


def refuse_clouds(suite: str, variant: str) -> None:
    """Pass when the variant is not `points`.

    Raises:
        SuiteError: It is.
    """
    if variant == "points":
        raise SuiteError(f"the suite {suite} has no clouds: take --obs state or rgb")


def no_expert(info: EnvironmentInfo) -> SuiteError:
    """The error for a task that no expert demonstrates."""
    return SuiteError(
        f"'{info.task}' has no expert: learn it by reward (difftori train rl --suite {info.robot} "
        "--method difftori_rl) and give the folder of that checkpoint as --expert, or take "
        "--expert random"
    )
