# SPDX-License-Identifier: MIT
"""MetaWorld: a Sawyer arm in 50 tasks, each with a scripted expert (Yu et al., CoRL 2019).

The DiffTORI paper takes 22 of them, those of medium, hard and very hard difficulty. Episodes last
200 actions, as there.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import numpy as np

from difftori_models.contract.specs import (
    FloatArray,
    ImageSpec,
    Observation,
    ObservationSpec,
    PointSpec,
)
from difftori_ros.observation.image import process_image
from difftori_ros.observation.point_cloud import process_cloud

from .env import EnvironmentInfo, StepResult, SuiteEpisode, SuiteError, env_action, roll_out
from .mujoco_camera import MujocoCamera

PAPER_TASKS = (
    *("basketball", "bin-picking", "box-close", "coffee-pull", "coffee-push", "hammer"),
    *("peg-insert-side", "push-wall", "soccer", "sweep", "sweep-into", "assembly"),
    *("hand-insert", "pick-out-of-hole", "pick-place", "push", "push-back", "shelf-place"),
    *("disassemble", "stick-pull", "stick-push", "pick-place-wall"),
)
"""The medium, hard and very hard tasks, in this order."""
MAX_STEPS = 200
DT_S = 0.0125
"""Five physics steps of 2.5 ms."""
STATE = 39
"""Hand, gripper and objects of this step and the one before, and the goal."""
FINGERS = ("r_close", "l_close")
CAMERA, PICTURE = "corner4", 128
"""The camera in front of the table, which DP3's authors call corner2 with a place of its own."""


def tasks() -> list[str]:
    """The 22 tasks of the paper, then the others."""
    known = [name.removesuffix("-v3") for name in _experts()]
    return [*PAPER_TASKS, *(name for name in known if name not in PAPER_TASKS)]


def make(task: str, variant: str) -> MetaWorldEnv:
    """A task by its name, with or without `-v3`."""
    return MetaWorldEnv(task.removesuffix("-v3"), variant)


class MetaWorldEnv:
    """One task. Its state is MetaWorld's own vector, goal included; pictures and clouds have none.

    There the goal shows as the marker that MetaWorld draws, as in the paper.
    """

    def __init__(self, task: str, variant: str) -> None:
        if task not in tasks():
            raise SuiteError(f"MetaWorld has no task '{task}'; it has {', '.join(tasks())}")
        self.info = EnvironmentInfo(
            task=f"metaworld.{task}",
            robot="metaworld_sawyer",
            observation=observation_spec(variant),
            action=env_action(("x", "y", "z", "gripper"), DT_S),
            max_steps=MAX_STEPS,
        )
        self._env: Any = _module("env_dict").ENV_CLS_MAP[f"{task}-v3"]()
        # the goal is shown, and places are drawn when the episode begins instead of by `set_task`
        self._env._partially_observable, self._env._set_task_called = False, True
        del self._env.sawyer_observation_space  # it is made again, with room for the goal
        self._env.seeded_rand_vec = True
        self._policy = _experts()[f"{task}-v3"]()
        self._camera = None
        if variant != "state":
            model, data = self._env.model, self._env.data
            self._camera = MujocoCamera(model, data, CAMERA, PICTURE, upside_down=True)
        self._state = np.zeros(STATE)
        self._steps = 0

    def reset(self, seed: int) -> Observation:
        """Places of objects and goal are drawn from the seed, as MetaWorld draws its tasks."""
        env = self._env
        env._freeze_rand_vec = False
        env.seed(seed)
        env.reset()
        env._freeze_rand_vec = True
        self._state, _ = env.reset()
        self._steps = 0
        return self._observe()

    def step(self, action: FloatArray) -> StepResult:
        """Move the hand by up to 1 cm per axis, and push the fingers."""
        self._state, reward, _, _, info = self._env.step(np.asarray(action, np.float32))
        self._steps += 1
        return StepResult(self._observe(), float(reward), bool(info["success"]))

    def demonstrate(self, seed: int, noise: float) -> SuiteEpisode:
        """An episode of MetaWorld's scripted policy, which sees the whole state."""
        return roll_out(self, seed, lambda _: self._scripted(), noise)

    def _scripted(self) -> FloatArray:
        with warnings.catch_warnings():
            # several of these policies ask for more than the box, and are meant to be cut
            warnings.filterwarnings("ignore", message="Constant\\(s\\) may be too high")
            return np.asarray(self._policy.get_action(self._state), dtype=np.float64)

    def _observe(self) -> Observation:
        env, spec, stamp_ns = self._env, self.info.observation, round(self._steps * DT_S * 1e9)
        joints = [env.data.joint(name) for name in FINGERS]
        points, images = None, {}
        if self._camera is not None and spec.points is not None:
            points = process_cloud(self._camera.cloud(stamp_ns, "world"), np.eye(4), spec.points)
        elif self._camera is not None:
            picture = self._camera.picture()
            images = {name: process_image(picture, want) for name, want in spec.images.items()}
        return Observation(
            stamp_ns=stamp_ns,
            joint_names=FINGERS,
            position=np.array([joint.qpos[0] for joint in joints]),
            velocity=np.array([joint.qvel[0] for joint in joints]),
            poses=dict.fromkeys(("tip", *spec.tips), np.array([*env.tcp_center, 0, 0, 0, 1.0])),
            points=points,
            images=images,
            vectors={"state": self._state} if spec.vectors else {},
        )

    def close(self) -> None:
        """Free the simulator."""
        if self._camera is not None:
            self._camera.close()
        self._env.close()


def observation_spec(variant: str) -> ObservationSpec:
    """What is observed: MetaWorld's vector, or fingers and hand with a cloud or a picture."""
    points, images = None, {}
    if variant == "points":
        # 512 points, as in DP3; the box holds the table's top and what stands on it
        box = ((-0.5, 0.35, 0.005), (0.5, 1.0, 0.5))
        points = PointSpec("world", 512, True, *box, min_points=16)
    elif variant == "rgb":
        images = {"camera": ImageSpec(84, 84)}
    return ObservationSpec(
        frame="world",
        joint_names=FINGERS,
        poses=(),
        features=("state",) if variant == "state" else ("position", "tip"),
        points=points,
        images=images,
        vectors={"state": STATE} if variant == "state" else {},
    )


def _experts() -> dict[str, Any]:
    return _module("policies").ENV_POLICY_MAP


def _module(name: str) -> Any:
    try:
        return importlib.import_module(f"metaworld.{name}")
    except ImportError as error:
        raise SuiteError(
            f"MetaWorld cannot be imported ({error}); it comes with the extra `suites`: "
            "pip install 'difftori_ros[suites]' -c constraints.txt"
        ) from error
