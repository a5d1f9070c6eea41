# SPDX-License-Identifier: MIT
"""A ManiSkill arm behind joint trajectories: a robot with its controllers, from outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from difftori_models.contract.specs import FloatArray
from difftori_ros.rigid import matrix_to_pose, pose_to_matrix
from difftori_ros.robot.profile import RobotProfile
from difftori_ros.types import Cloud, JointState, Pose, Trajectory

from .tasks import Task
from .vulkan import require_vulkan

PHYSICS_HZ = 100
TICK_NS = 1_000_000_000 // PHYSICS_HZ
SUCCESS_TICKS = 5
"""Ticks between two looks at the success condition: 20 Hz, ManiSkill's own control rate."""
CAMERA_STREAM = "camera"
HAND_CAMERA = "hand_camera"
CAMERAS = {CAMERA_STREAM: "base_camera", "wrist_camera": HAND_CAMERA}
"""Name of a camera in checkpoints and on topics -> its name in ManiSkill. The first sees the table
and gives the cloud; the second exists when the robot has one in its hand."""
Pictures = Mapping[str, NDArray[np.uint8]]
"""RGB (H, W, 3) of every camera, by name."""
CAMERA_FRAME = "camera_optical_frame"
FIRST_NS = 1_000_000_000
RESET_GAP_NS = 1_000_000_000
"""The clock goes on over a reset: stamps of one episode are never taken for those of another."""


@dataclass(frozen=True)
class CameraModel:
    """A pinhole camera: `matrix` (3, 3) [px]; `base_from_camera` (4, 4) from its optical frame."""

    width: int
    height: int
    matrix: FloatArray
    base_from_camera: FloatArray


def cameras_of(task: Task) -> list[str]:
    """Names of the cameras of a task's world, known before it is loaded."""
    hand = task.robot_uid.endswith("_wristcam")
    return [name for name, uid in CAMERAS.items() if uid != HAND_CAMERA or hand]


class World:
    """One task with a robot in it.

    The arm's drives follow joint trajectories in position and velocity at 100 Hz, as a
    joint_trajectory_controller does. They are set without ManiSkill's `step`, which spends most of
    its time on observations and rewards that nobody takes. The clock stands still unless `advance`
    is called.
    """

    def __init__(
        self, task: Task, profile: RobotProfile, image_size: int = 128, video_size: int = 384
    ):
        backend = "gpu" if require_vulkan() == "cuda" else "cpu"
        import gymnasium
        import mani_skill.envs  # noqa: F401  (registers the environments)

        self.task, self.profile = task, profile
        self._env = gymnasium.make(
            task.env_id,
            obs_mode="none",
            control_mode="pd_joint_pos_vel",
            robot_uids=task.robot_uid,
            sim_backend="physx_cpu",
            render_backend=backend,
            render_mode="rgb_array",
            sim_config={"sim_freq": PHYSICS_HZ, "control_freq": PHYSICS_HZ},
            sensor_configs={"width": image_size, "height": image_size, "shader_pack": "minimal"},
            human_render_camera_configs={"width": video_size, "height": video_size},
            max_episode_steps=1_000_000,
        )
        self._sim: Any = self._env.unwrapped
        _draw_as_box(self._sim.agent.robot, "camera_link")
        self._now_ns = FIRST_NS
        self._running: dict[tuple[str, ...], Trajectory] = {}
        self.seed: int | None = None
        active = self._sim.agent.robot.active_joints
        self._index = [
            [joint.name for joint in active].index(name) for name in profile.joint_names
        ]
        # both fingers follow the one joint that the profile has for them
        arm = len(profile.arm_joints)
        self._drives = [(joint._objs[0], min(k, arm)) for k, joint in enumerate(active)]

    def reset(self, seed: int) -> None:
        """Start the episode of `seed`; every running trajectory is forgotten."""
        self._env.reset(seed=int(seed))
        self.seed = int(seed)
        self._running.clear()
        self._now_ns += RESET_GAP_NS
        self._began_ns = self._now_ns
        self._ever_succeeded = False
        self._target = self.joint_state().position

    @property
    def now_ns(self) -> int:
        """The world's clock [ns]."""
        return self._now_ns

    @property
    def succeeded(self) -> bool:
        """True when the task's success condition has held at least once in this episode."""
        return self._ever_succeeded

    def joint_state(self) -> JointState:
        """Measured joints in profile order."""
        robot = self._sim.agent.robot
        position = robot.get_qpos()[0].numpy().astype(np.float64)[self._index]
        velocity = robot.get_qvel()[0].numpy().astype(np.float64)[self._index]
        return JointState(self._now_ns, self.profile.joint_names, position, velocity)

    def poses(self) -> dict[str, Pose]:
        """Named poses in the base frame."""
        poses, base_from_world = {}, self._base_from_world()
        for name, attribute in self.task.poses.items():
            matrix = base_from_world @ _matrix(getattr(self._sim, attribute).pose)
            poses[name] = Pose(self._now_ns, self.profile.base_frame, matrix_to_pose(matrix))
        return poses

    @property
    def cameras(self) -> list[str]:
        """Names of the cameras that this robot and task have."""
        return cameras_of(self.task)

    def camera(self, name: str = CAMERA_STREAM) -> CameraModel:
        """A camera; without a name the one that sees the table."""
        return self._model_of(self._sim._sensors[CAMERAS[name]])

    def sense(self) -> tuple[Pictures, Cloud]:
        """Every camera takes a picture.

        Returns:
            The pictures, taken at the stamp of the cloud; and the pixels of the table's camera as
            points in its optical frame.
        """
        for marker in self._sim._hidden_objects:
            marker.hide_visual()  # goal markers are for people, no camera sees them
        self._sim.scene.update_render(update_sensors=True, update_human_render_cameras=False)
        self._sim.capture_sensor_data()
        sensed = {
            name: self._sim._sensors[CAMERAS[name]].get_obs(
                rgb=True, depth=name == CAMERA_STREAM, position=False, segmentation=False
            )
            for name in self.cameras
        }
        pictures = {name: parts["rgb"][0].numpy() for name, parts in sensed.items()}
        rgb = pictures[CAMERA_STREAM]
        depth = sensed[CAMERA_STREAM]["depth"][0, ..., 0].numpy().astype(np.float32) * np.float32(
            1e-3
        )
        k = self.camera().matrix.astype(np.float32)
        rows, columns = np.indices(depth.shape, dtype=np.float32)
        x = (columns + np.float32(0.5) - k[0, 2]) / k[0, 0] * depth
        y = (rows + np.float32(0.5) - k[1, 2]) / k[1, 1] * depth
        xyz = np.stack([x, y, depth], axis=-1).reshape(-1, 3)
        measured = depth.reshape(-1) > 0
        colors = rgb.reshape(-1, 3).astype(np.float32) / np.float32(255)
        cloud = Cloud(self._now_ns, CAMERA_FRAME, xyz[measured], colors[measured])
        return pictures, cloud

    def render(self) -> NDArray[np.uint8]:
        """A picture for people, (H, W, 3) uint8."""
        for marker in self._sim._hidden_objects:
            marker.show_visual()
        return self._sim.render_rgb_array()[0].numpy()

    def render_camera(self) -> CameraModel:
        """The camera of `render`."""
        return self._model_of(next(iter(self._sim._human_render_cameras.values())))

    def _model_of(self, camera: Any) -> CameraModel:
        parameters = camera.get_params()
        camera_from_world = np.eye(4)
        camera_from_world[:3] = parameters["extrinsic_cv"][0].numpy()
        return CameraModel(
            camera.config.width,
            camera.config.height,
            parameters["intrinsic_cv"][0].numpy().astype(np.float64),
            self._base_from_world() @ np.linalg.inv(camera_from_world),
        )

    def _base_from_world(self) -> FloatArray:
        return np.linalg.inv(_matrix(self._sim.agent.robot.pose))

    def command(self, trajectory: Trajectory) -> None:
        """The joints of this channel now follow `trajectory`; other channels keep theirs."""
        self._running[trajectory.joint_names] = trajectory

    def advance(self, duration_s: float) -> None:
        """Let `duration_s` pass on the world's clock, rounded to physics ticks."""
        for _ in range(round(duration_s * PHYSICS_HZ)):
            self._tick()

    def reward(self) -> float:
        """ManiSkill's dense reward of what is now, of order 1."""
        info = self._sim.evaluate()
        return float(self._sim.compute_dense_reward(None, None, info).item())

    def _tick(self) -> None:
        self._now_ns += TICK_NS
        names = self.profile.joint_names
        velocity = np.zeros(len(names))
        for trajectory in self._running.values():
            columns = [names.index(name) for name in trajectory.joint_names]
            self._target[columns], velocity[columns] = trajectory.sample(self._now_ns)
        for joint, k in self._drives:
            joint.set_drive_target(float(self._target[k]))
            if k < len(self.profile.arm_joints):
                joint.set_drive_velocity_target(float(velocity[k]))
        self._sim.scene.step()
        look = (self._now_ns - self._began_ns) // TICK_NS % SUCCESS_TICKS == 0
        if look and not self._ever_succeeded:
            self._ever_succeeded = bool(self._sim.evaluate()["success"].item())

    def close(self) -> None:
        """Free the simulator."""
        self._env.close()


def _draw_as_box(robot: Any, link: str) -> None:
    """Draw a link as the box around its mesh, where the robot has it.

    The camera in the hand of `panda_wristcam` has 425,160 triangles, three times the arm's:
    without them a picture takes half the time.
    """
    if link not in robot.links_map:
        return
    from sapien import Pose, render

    entity = robot.links_map[link]._objs[0].entity
    mesh = entity.find_component_by_type(render.RenderBodyComponent)
    shape = mesh.render_shapes[0]
    place = shape.local_pose.to_transformation_matrix()
    corners = np.concatenate([part.vertices * shape.scale for part in shape.parts])
    corners = corners @ place[:3, :3].T + place[:3, 3]
    low, high = corners.min(axis=0), corners.max(axis=0)
    mesh.visibility = 0.0
    box = render.RenderShapeBox((high - low) / 2, shape.parts[0].material)
    box.local_pose = Pose((high + low) / 2)
    body = render.RenderBodyComponent()
    body.attach(box)
    entity.add_component(body)


def _matrix(pose: Any) -> FloatArray:
    """A ManiSkill pose (x y z, w x y z) as a matrix (4, 4)."""
    x, y, z, qw, qx, qy, qz = pose.raw_pose[0].numpy().astype(np.float64)
    quaternion = np.array([qx, qy, qz, qw])
    return pose_to_matrix(np.array([x, y, z, *(quaternion / np.linalg.norm(quaternion))]))
