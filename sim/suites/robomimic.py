# SPDX-License-Identifier: MIT
"""The five tasks of Robomimic (Mandlekar et al., CoRL 2021) in robosuite 1.5.

One Panda arm, two in Transport, under robosuite's operational space controller: an action is a
displacement of the hand, up to 5 cm and 0.5 rad in 50 ms, and the gripper (-1 opens, 1 closes).
"""

from __future__ import annotations

from dataclasses import dataclass
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

DT_S, PICTURE = 0.05, 84
ARM = ("x", "y", "z", "rx", "ry", "rz")


@dataclass(frozen=True)
class RobomimicTask:
    """One task: robosuite's name of it, its arms, its cameras, and how long an episode lasts."""

    env_name: str
    arms: int
    cameras: tuple[str, ...]
    max_steps: int


TASKS = {
    "Lift": RobomimicTask("Lift", 1, ("agentview", "robot0_eye_in_hand"), 400),
    "Can": RobomimicTask("PickPlaceCan", 1, ("agentview", "robot0_eye_in_hand"), 400),
    "Square": RobomimicTask("NutAssemblySquare", 1, ("agentview", "robot0_eye_in_hand"), 400),
    "Transport": RobomimicTask(
        "TwoArmTransport",
        2,
        ("shouldercamera0", "robot0_eye_in_hand", "shouldercamera1", "robot1_eye_in_hand"),
        700,
    ),
    "ToolHang": RobomimicTask("ToolHang", 1, ("sideview", "robot0_eye_in_hand"), 700),
}
"""Robomimic's tasks; cameras and lengths of episodes as in its paper."""


def tasks() -> list[str]:
    """Names of the tasks."""
    return list(TASKS)


def find(task: str) -> RobomimicTask:
    """The task of that name.

    Raises:
        SuiteError: There is none; the message names those that exist.
    """
    if task not in TASKS:
        raise SuiteError(f"Robomimic has no task '{task}'; it has {', '.join(TASKS)}")
    return TASKS[task]


def vector_names(task: RobomimicTask, variant: str) -> tuple[str, ...]:
    """Names of the vectors: the arms, and the objects where no camera shows them."""
    parts = ("eef_pos", "eef_quat", "gripper_qpos")
    own = tuple(f"robot{k}_{part}" for k in range(task.arms) for part in parts)
    return (*own, "object") if variant == "state" else own


def observation_spec(task: RobomimicTask, variant: str, sizes: dict[str, int]) -> ObservationSpec:
    """What is observed; `sizes` are the lengths of the vectors."""
    names = vector_names(task, variant)
    points, images = None, {}
    if variant == "points":
        box = ((-0.6, -0.6, 0.805), (0.6, 0.6, 1.6))  # what stands on the table
        points = PointSpec("world", 512, True, *box, min_points=16)
    elif variant == "rgb":
        images = {name: ImageSpec(PICTURE, PICTURE) for name in task.cameras}
    return ObservationSpec(
        frame="world",
        joint_names=(),
        # clouds are relative to the hand
        poses=("tip",) if points else (),
        features=names,
        points=points,
        images=images,
        vectors={name: sizes[name] for name in names},
    )


def robot_name(arms: int) -> str:
    """Name of the arms in cards."""
    return "robosuite_panda" + "_and_panda" * (arms - 1)


def action_names(arms: int) -> tuple[str, ...]:
    """Names of the entries of an action."""
    if arms == 1:
        return (*ARM, "gripper")
    return tuple(f"{name}{k}" for k in range(arms) for name in (*ARM, "gripper"))


def make(task: str, variant: str) -> RobomimicEnv:
    """A task by its name."""
    return RobomimicEnv(task, variant)


class RobomimicEnv:
    """One task in robosuite, with robosuite's Panda arms as they come."""

    def __init__(self, task: str, variant: str) -> None:
        self._task = find(task)
        suite = _robosuite()
        arms = self._task.arms
        self._env: Any = suite.make(
            self._task.env_name,
            robots=["Panda"] * arms,
            has_renderer=False,
            has_offscreen_renderer=False,
            use_camera_obs=False,
            use_object_obs=True,
            control_freq=round(1 / DT_S),
            ignore_done=True,
            reward_shaping=True,
            hard_reset=False,
        )
        self._raw = self._env.reset()
        sizes = {name: len(self._vector(name)) for name in vector_names(self._task, "state")}
        spec = observation_spec(self._task, variant, sizes)
        self.info = EnvironmentInfo(
            task=f"robomimic.{task}",
            robot=robot_name(arms),
            observation=spec,
            action=env_action(action_names(arms), DT_S),
            max_steps=self._task.max_steps,
        )
        wanted = self._task.cameras[:1] if variant == "points" else tuple(spec.images)
        model, data = self._env.sim.model._model, self._env.sim.data._data
        # group 0 holds the shapes for collisions
        self._cameras = {n: MujocoCamera(model, data, n, PICTURE, hidden=(0,)) for n in wanted}
        self._steps = 0

    def reset(self, seed: int) -> Observation:
        """Every place is drawn from the seed."""
        rng = np.random.default_rng(seed)
        self._env.rng = rng
        samplers = [self._env.placement_initializer]
        while samplers:
            sampler = samplers.pop()
            sampler.rng = rng
            samplers += list(getattr(sampler, "samplers", {}).values())
        self._raw = self._env.reset()
        self._steps = 0
        return self._observe()

    def step(self, action: FloatArray) -> StepResult:
        """Move the hands and the grippers."""
        self._raw, reward, _, _ = self._env.step(np.asarray(action, dtype=np.float64))
        self._steps += 1
        return StepResult(self._observe(), float(reward), bool(self._env._check_success()))

    def demonstrate(self, seed: int, noise: float) -> SuiteEpisode:
        """An episode of a scripted rule: Lift alone has one."""
        if self._task.env_name != "Lift":
            raise SuiteError(
                f"'{self.info.task}' has no scripted expert. Its demonstrations come from people: "
                "take `difftori demos import hdf5` with a file of the Robomimic data sets, or the "
                "folder of a trained checkpoint as --expert"
            )
        return roll_out(self, seed, lambda _: self._lift(), noise)

    def _lift(self) -> FloatArray:
        """Over the cube, down, close, up; a function of the present state."""
        hand, cube = self._raw["robot0_eef_pos"], self._raw["cube_pos"]
        gap = float(np.abs(self._raw["robot0_gripper_qpos"]).sum())
        aside = float(np.linalg.norm((hand - cube)[:2]))
        near = aside < 0.015 and abs(float(hand[2] - cube[2])) < 0.012
        target, grip = cube, -1.0
        if near:
            held = gap < 0.066
            target, grip = cube + np.array([0.0, 0.0, 0.12 if held else 0.0]), 1.0
        elif aside > 0.012:
            target = cube + np.array([0.0, 0.0, 0.08])
        return np.array([*np.clip((target - hand) / 0.02, -1.0, 1.0), 0.0, 0.0, 0.0, grip])

    def _vector(self, name: str) -> FloatArray:
        key = "object-state" if name == "object" else name
        return np.asarray(self._raw[key], dtype=np.float64)

    def _observe(self) -> Observation:
        spec, stamp_ns = self.info.observation, round(self._steps * DT_S * 1e9)
        points, images, poses = None, {}, {}
        if spec.points is not None:
            (camera,) = self._cameras.values()
            points = process_cloud(camera.cloud(stamp_ns, "world"), np.eye(4), spec.points)
            hand = [self._vector(f"robot0_eef_{part}") for part in ("pos", "quat")]
            poses = {"tip": np.concatenate(hand)}
        for name, want in spec.images.items():
            images[name] = process_image(self._cameras[name].picture(), want)
        return Observation(
            stamp_ns=stamp_ns,
            joint_names=(),
            position=np.zeros(0),
            velocity=np.zeros(0),
            poses=poses,
            points=points,
            images=images,
            vectors={name: self._vector(name) for name in spec.vectors},
        )

    def close(self) -> None:
        """Free the simulator."""
        for camera in self._cameras.values():
            camera.close()
        self._env.close()


def _robosuite() -> Any:
    try:
        import robosuite
    except ImportError as error:
        raise SuiteError(
            f"robosuite cannot be imported ({error}); it comes with the extra `robomimic`: "
            "pip install 'difftori_ros[robomimic]' -c constraints.txt"
        ) from error
    return robosuite
