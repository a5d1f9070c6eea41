# SPDX-License-Identifier: MIT
"""One episode in one process: world, observer, pipeline and guard in lockstep, without ROS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from difftori_models.contract.specs import Observation, ObservationSpec
from difftori_ros.guard.guard import Guard, GuardConfig
from difftori_ros.observation import Observer, Refusal
from difftori_ros.observation.frame_tree import FrameTree
from difftori_ros.observation.rectify import Lens
from difftori_ros.policy.pipeline import PlannedMotion, Planner, PlanPipeline
from difftori_ros.robot.kinematics import Kinematics
from difftori_ros.robot.profile import RobotProfile
from difftori_ros.types import Image, Trajectory

from .world import CAMERA_FRAME, World

PLANNER_SEED = 0
"""Seed of the planner's episode, here and by default on ROS: the two must agree."""


@dataclass(frozen=True)
class DirectStep:
    """One observation, what was planned from it, and what the guard said."""

    observation: Observation
    motion: PlannedMotion
    accepted: bool
    detail: str


@dataclass(frozen=True)
class DirectEpisode:
    """One episode: its seed, whether the task succeeded, and every step."""

    seed: int
    success: bool
    steps: list[DirectStep] = field(default_factory=list)


class DirectLoop:
    """Everything from sensors to guarded command; the world waits for every plan."""

    def __init__(
        self,
        world: World,
        profile: RobotProfile,
        spec: ObservationSpec,
        planner: Planner,
        *,
        execute: int | None = None,
    ):
        kinematics = Kinematics(profile)
        frames = FrameTree()
        frames.set_static(profile.base_frame, CAMERA_FRAME, world.camera().base_from_camera)
        self.world, self._profile, self._planner = world, profile, planner
        self.observer = Observer(spec, profile, kinematics, frames)
        for name in world.cameras:
            camera = world.camera(name)
            matrix = tuple(camera.matrix.ravel().tolist())
            self.observer.set_lens(name, Lens(camera.width, camera.height, matrix))
        self.pipeline = PlanPipeline(planner, profile, kinematics)
        self.guard = Guard(profile, GuardConfig())
        action = planner.card.action
        self._period_s = (execute or action.execute) * action.dt_s

    def run(
        self,
        seed: int,
        max_steps: int,
        on_step: Callable[[DirectStep], None] | None = None,
        on_command: Callable[[Trajectory], None] | None = None,
    ) -> DirectEpisode:
        """Run the episode of `seed` until success or for `max_steps` actions.

        Args:
            seed: Seed of the world and of the planner.
            max_steps: Actions after which the episode ends.
            on_step: Called after every step, before time goes on.
            on_command: Called with every trajectory that goes to a controller.
        """
        action = self._planner.card.action
        self.begin(seed)
        steps: list[DirectStep] = []
        count = int(max_steps * action.dt_s / self._period_s + 0.5)
        for _ in range(count):
            observation = self.observe()
            if isinstance(observation, Refusal):
                break
            steps.append(self.command(observation, on_command))
            if on_step:
                on_step(steps[-1])
            self.world.advance(self._period_s)
            if self.world.succeeded:
                break
        return DirectEpisode(seed, self.world.succeeded, steps)

    def begin(self, seed: int) -> None:
        """The episode of `seed` begins."""
        self.world.reset(seed)
        self.observer.streams.clear()
        self.pipeline.reset(PLANNER_SEED)
        self.guard.reset(self.world.now_ns)
        self.guard.start(self.world.now_ns)

    def observe(self) -> Observation | Refusal:
        """The observation of now, or why there is none."""
        self._sense()
        return self.observer.observe(self.world.now_ns)

    def command(
        self,
        observation: Observation,
        on_command: Callable[[Trajectory], None] | None = None,
    ) -> DirectStep:
        """Plan from `observation`; the robot follows what the guard has passed on."""
        world = self.world
        steady_s = world.now_ns * 1e-9
        self.guard.joints(world.joint_state(), steady_s)
        self.guard.heartbeat(steady_s)
        motion = self.pipeline.plan(observation, lambda: world.now_ns)
        accepted, detail = False, motion.reason.value
        if motion.trajectory is not None:
            verdict = self.guard.check(motion.trajectory, world.now_ns)
            accepted, detail = verdict.accepted, verdict.detail
            for channel in verdict.channels if verdict.accepted else ():
                world.command(channel)
                if on_command:
                    on_command(channel)
            if not verdict.accepted:
                self.pipeline.refused(motion.trajectory.stamp_ns)
            elif verdict.changed is not None:
                self.pipeline.replaced(verdict.changed)
        return DirectStep(observation, motion, accepted, detail)

    def _sense(self) -> None:
        world, streams = self.world, self.observer.streams
        now_ns = world.now_ns
        streams.push("joint_states", world.joint_state(), now_ns)
        wanted, poses = set(streams), world.poses()
        for name in wanted & set(poses):
            streams.push(name, poses[name], now_ns)
        if not wanted & {"points", *world.cameras}:
            return
        pictures, cloud = world.sense()
        if "points" in wanted:
            streams.push("points", cloud, now_ns)
        for name in wanted & set(pictures):
            # cameras may be late; then their stamps say so
            image = Image(cloud.stamp_ns, f"{name}_optical_frame", pictures[name])
            streams.push(name, image, now_ns)
