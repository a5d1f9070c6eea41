# SPDX-License-Identifier: MIT
"""ManiSkill's own tasks, as it makes them: its robot, its joint controller at 20 Hz.

Tasks for which `config/tasks/` has a file are not run here: there the arm is driven by joint
trajectories through driver and guard, as a real one is.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
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
from difftori_ros.rigid import matrix_to_pose
from difftori_ros.types import Cloud
from difftori_sim.arm.tasks import Task, available_tasks, find_task
from difftori_sim.arm.vulkan import require_vulkan

from .env import EnvironmentInfo, StepResult, SuiteEpisode, SuiteError, env_action, roll_out
from .maniskill_plans import demonstrate
from .push_t_expert import push_t

PANDA_TASKS = (
    *("PushCube-v1", "PickCube-v1", "PullCube-v1", "StackCube-v1", "LiftPegUpright-v1"),
    *("PegInsertionSide-v1", "PlugCharger-v1", "PlaceSphere-v1", "PokeCube-v1", "RollBall-v1"),
    *("PushT-v1", "StackPyramid-v1", "PullCubeTool-v1"),
)
"""Tasks that need nothing but ManiSkill; others by the same name as in ManiSkill."""
ASSETS = {"OpenCabinetDoor-v1": ["partnet_mobility_cabinet"]}
"""What ManiSkill does not itself say about its environments."""
OLDER = ("PushChair", "MoveBucket", "Fill", "Hang", "Excavate", "Pour")
"""Tasks of the paper that ManiSkill 3 no longer has."""
MAX_STEPS, DT_S, PICTURE = 400, 0.05, 128


def own_task(name: str) -> Task | None:
    """Our own task for this name of an environment, or of a task of ours; None without one."""
    if name in available_tasks():
        return find_task(name)
    every = (find_task(task) for task in available_tasks())
    return next((task for task in every if task.env_id == _env_id(name)), None)


def tasks() -> list[str]:
    """The tasks that need no download."""
    return list(PANDA_TASKS)


def make(task: str, variant: str) -> ManiSkillEnv:
    """A task by its name, with or without `-v1`."""
    return ManiSkillEnv(_env_id(task), variant)


def _env_id(task: str) -> str:
    return task if "-v" in task else f"{task}-v1"


class ManiSkillEnv:
    """One task. The state is all that ManiSkill tells; pictures and clouds come with the rest."""

    def __init__(self, env_id: str, variant: str) -> None:
        _refuse_absent(env_id)
        backend = "gpu" if require_vulkan() == "cuda" else "cpu"
        import gymnasium

        self.env_id, self._variant = env_id, variant
        with no_questions(env_id):
            self._gym: Any = gymnasium.make(
                env_id,
                obs_mode={"state": "state_dict", "rgb": "rgb", "points": "pointcloud"}[variant],
                control_mode="pd_ee_delta_pos" if env_id in EXPERTS else "pd_joint_delta_pos",
                sim_backend="physx_cpu",
                render_backend=backend,
                sensor_configs={"width": PICTURE, "height": PICTURE, "shader_pack": "minimal"},
                max_episode_steps=1_000_000,
            )
        self.sim: Any = self._gym.unwrapped
        robot = self.sim.agent.robot
        self.joint_names = tuple(joint.name for joint in robot.active_joints)
        size = int(self._gym.action_space.shape[0])
        grips = "gripper" in self.sim.agent.controller.configs
        names = [f"move{k}" for k in range(size - grips)] + ["gripper"] * grips
        self._steps = 0
        self._raw, _ = self._gym.reset(seed=0)
        self.info = EnvironmentInfo(
            task=f"maniskill.{env_id}",
            robot=f"maniskill_{self.sim.agent.uid}",
            observation=self._spec(),
            action=env_action(tuple(names), DT_S),
            max_steps=MAX_STEPS,
        )

    def reset(self, seed: int) -> Observation:
        """Start the episode of `seed`."""
        self._raw, _ = self._gym.reset(seed=int(seed))
        self._steps = 0
        return self.observe()

    def step(self, action: FloatArray) -> StepResult:
        """Every joint moves by up to 0.1 rad, or as the task's controller says."""
        self._raw, reward, _, _, info = self._gym.step(np.asarray(action, np.float32))
        self._steps += 1
        success = bool(info["success"].item()) if "success" in info else None
        return StepResult(self.observe(), float(reward), success)

    def demonstrate(self, seed: int, noise: float) -> SuiteEpisode:
        """An episode of a scripted rule or of a motion planner."""
        if self.env_id in EXPERTS:
            act = EXPERTS[self.env_id](self.sim)
            return roll_out(self, seed, lambda _: act(), noise)
        return demonstrate(self, seed, noise)

    def tip(self) -> FloatArray:
        """Pose of the tool in the world: x y z, quaternion x y z w; zeros where there is none."""
        if not hasattr(self.sim.agent, "tcp"):
            return np.zeros(7)
        matrix = self.sim.agent.tcp.pose.to_transformation_matrix()[0].cpu().numpy()
        return matrix_to_pose(matrix.astype(np.float64))

    def observe(self) -> Observation:
        """The observation of now."""
        spec, robot, stamp_ns = self.info.observation, self.sim.agent.robot, self._stamp_ns
        points, images = None, {}
        if spec.points is not None:
            pointcloud = self._raw["pointcloud"]
            xyzw, rgb = (pointcloud[key][0].cpu().numpy() for key in ("xyzw", "rgb"))
            hit = xyzw[:, 3] > 0
            cloud = Cloud(stamp_ns, "world", xyzw[hit, :3], rgb[hit])
            points = process_cloud(cloud, np.eye(4), spec.points)
        for name, want in spec.images.items():
            rgb = self._raw["sensor_data"][name]["rgb"][0].cpu().numpy()
            images[name] = process_image(rgb, want)
        return Observation(
            stamp_ns=stamp_ns,
            joint_names=self.joint_names,
            position=robot.get_qpos()[0].cpu().numpy().astype(np.float64),
            velocity=robot.get_qvel()[0].cpu().numpy().astype(np.float64),
            poses=dict.fromkeys(("tip", *spec.tips), self.tip()),
            points=points,
            images=images,
            vectors={"state": self._vector()},
        )

    @property
    def _stamp_ns(self) -> int:
        return round(self._steps * DT_S * 1e9)

    def _vector(self) -> FloatArray:
        """What ManiSkill tells of robot and task besides pictures, as one vector."""
        from mani_skill.utils.common import flatten_state_dict

        parts = {key: self._raw[key] for key in ("agent", "extra") if self._raw.get(key)}
        return flatten_state_dict(parts, use_torch=True)[0].cpu().numpy().astype(np.float64)

    def _spec(self) -> ObservationSpec:
        points, images = None, {}
        if self._variant == "points":
            box = ((-0.45, -0.6, 0.004), (0.6, 0.6, 0.6))
            points = PointSpec("world", 512, True, *box, min_points=16)
        elif self._variant == "rgb":
            images = {name: ImageSpec(84, 84) for name in self._raw["sensor_data"]}
        return ObservationSpec(
            frame="world",
            joint_names=self.joint_names,
            poses=(),
            features=("state",),
            points=points,
            images=images,
            vectors={"state": len(self._vector())},
        )

    def close(self) -> None:
        """Free the simulator."""
        self._gym.close()


EXPERTS = {"PushT-v1": push_t}
"""Experts that steer the tool: from the simulator to the next network action."""


def _refuse_absent(env_id: str) -> None:
    """Pass when the environment is there with its assets.

    Raises:
        SuiteError: It is not; the message says which command fetches what is missing.
    """
    import mani_skill.envs  # noqa: F401  (registers the environments)
    from mani_skill.utils.assets import data
    from mani_skill.utils.registration import REGISTERED_ENVS

    if env_id not in REGISTERED_ENVS:
        name = env_id.split("-v")[0]
        older = f"; {name} is a task of ManiSkill 1 and 2 alone" if name in OLDER else ""
        raise SuiteError(
            f"ManiSkill has no environment '{env_id}'{older}; without any download there are "
            + ", ".join(PANDA_TASKS)
        )
    wanted = ASSETS.get(env_id) or list(REGISTERED_ENVS[env_id].asset_download_ids or [])
    absent = []
    for group in wanted:
        parts = data.expand_data_group_into_individual_data_source_ids(group)
        if not all(data.is_data_source_downloaded(part) for part in parts):
            absent.append(group)
    if absent:
        commands = " && ".join(
            f"python -m mani_skill.utils.download_asset {group}" for group in absent
        )
        raise SuiteError(
            f"'{env_id}' needs assets that are not here: {', '.join(absent)}. "
            f"This fetches them: {commands}"
        )


@contextlib.contextmanager
def no_questions(env_id: str) -> Iterator[None]:
    """Standard input is closed, so that ManiSkill cannot wait for an answer.

    Raises:
        SuiteError: Something was asked or is missing.
    """
    stdin = sys.stdin
    with open(os.devnull) as closed:
        sys.stdin = closed
        try:
            yield
        except (EOFError, FileNotFoundError) as error:
            raise SuiteError(
                f"'{env_id}' needs assets that are not here ({error}); see "
                "python -m mani_skill.utils.download_asset --help"
            ) from error
        finally:
            sys.stdin = stdin
