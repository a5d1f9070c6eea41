# SPDX-License-Identifier: MIT
"""The simulated robot on ROS: the world behind the topics of a real arm with a depth camera."""

from __future__ import annotations

import sys
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from difftori_ros import codecs
from difftori_ros.nodes.node_base import COMMAND_QOS, STATUS_QOS, StartupError, declare, run
from difftori_ros.robot.profile import ProfileError, load_profile
from difftori_ros.status.guard_report import GuardReport, GuardReportError
from difftori_ros.types import Trajectory
from difftori_sim.arm.tasks import TEST_SEEDS, find_task
from difftori_sim.arm.vulkan import VulkanError
from difftori_sim.arm.world import TICK_NS, World

from .bridge_parameters import BRIDGE
from .fault_injection import parse
from .robot_topics import RobotTopics, streams_of

REPEAT_S = 0.25
"""Steady time after which an unanswered observation is sent again in lockstep [s]."""
LOST_S = 1.0
"""Steady time after which a command that the guard says it has sent counts as lost [s]."""
POSE_PERIOD_NS = 50_000_000
MAX_LAG_NS = 200_000_000
"""Lag behind the wall clock beyond which the difference is dropped: time slows, never jumps."""


class SimBridge(Node):
    """One ManiSkill world; `~/reset` starts the episode of the live parameter `seed`."""

    def __init__(self, **options: Any):
        super().__init__("sim_bridge", **options)
        seed = ParameterDescriptor(description="Seed of the episode that ~/reset starts.")
        view = ParameterDescriptor(description="Publish pictures for people on ~/view (slow).")
        values = declare(self, BRIDGE, extra=("seed", "view"))
        self.declare_parameter("seed", TEST_SEEDS.start, seed)
        self.declare_parameter("view", False, view)
        self._values, self._lockstep = values, values["clock"] == "lockstep"
        self.idle_s = 0.05 if self._lockstep else 0.002
        try:
            self._profile = load_profile(values["robot"])
            task = find_task(values["task"])
            streams = streams_of(task)
            # before the world, which takes half a minute to load
            faults = [parse(text, streams) for text in values["faults"] if text]
            self.world = World(task, self._profile, values["image_size"], values["view_size"])
        except (ProfileError, ValueError, VulkanError) as error:
            raise StartupError(str(error)) from error
        self._topics = RobotTopics(self, self.world, faults)
        profile = self._profile
        channels = [profile.topic, *([profile.gripper.topic] if profile.gripper else [])]
        for topic in channels:
            self.create_subscription(JointTrajectory, topic, self._on_command, COMMAND_QOS)
        self._channels = len(channels)
        self.create_subscription(DiagnosticStatus, "guard_node/status", self._on_guard, STATUS_QOS)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self._arrived: dict[tuple[str, ...], Trajectory] = {}
        self._refused_ns = self._accepted_ns = self._followed = 0
        self._running = self._commanded = self._sent_once = self._view_now = False
        self._camera_ns = self._pose_ns = 0
        self._sent_s = self._repeated_s = self._wall_s = self._accepted_s = 0.0
        self.finished: int | None = None
        if values["start"]:
            self._reset()
        else:
            self.world.reset(self._seed())
            if values["cloud"]:
                self.world.sense()  # the first picture takes seconds: before the first episode
            self._topics.begin()
            self._wall_s = time.monotonic()
            self._publish_episode()

    def _seed(self) -> int:
        return self.get_parameter("seed").get_parameter_value().integer_value

    def stop(self) -> None:
        """Free the simulator."""
        self.world.close()

    # in ------------------------------------------------------------------------------------------

    def _on_command(self, message: JointTrajectory) -> None:
        try:
            trajectory = codecs.decode_trajectory(message)
        except codecs.CodecError as error:
            self.get_logger().warning(f"command dropped: {error}")
            return
        known = self._profile.joint_names
        if unknown := [name for name in trajectory.joint_names if name not in known]:
            self.get_logger().warning(
                f"command dropped: no joint {', '.join(unknown)}; there are {', '.join(known)}"
            )
            return
        if self._lockstep:
            if trajectory.stamp_ns == self.world.now_ns:
                self._arrived[trajectory.joint_names] = trajectory
                self._commanded = True
        elif (
            trajectory.stamp_ns >= self._topics.start_ns and trajectory.end_ns > self.world.now_ns
        ):
            self.world.command(trajectory)
            self._followed += 1

    def _on_guard(self, message: DiagnosticStatus) -> None:
        try:
            report = GuardReport.from_status(message)
        except GuardReportError as error:
            self.get_logger().warning(f"'guard_node/status': {error}")
            return
        if report.refused_ns is not None:
            self._refused_ns = report.refused_ns
        elif report.accepted_ns is not None and self._accepted_ns != self.world.now_ns:
            self._accepted_ns, self._accepted_s = report.accepted_ns, time.monotonic()

    def _on_reset(self, request: Any, response: Any) -> Any:
        self._reset()
        response.success = True
        response.message = f"episode of seed {self.world.seed} started"
        return response

    # time ----------------------------------------------------------------------------------------

    def step(self) -> None:
        """Between two spins: let the world go on as far as its clock mode allows."""
        if self._lockstep:
            self._step_lockstep()
        else:
            self._step_wall()

    def _reset(self) -> None:
        self.world.reset(self._seed())
        self._arrived.clear()
        self._topics.begin()
        self._sent_once = True
        self._commanded, self._running, self._followed = False, True, 0
        self._wall_s = time.monotonic()
        self._camera_ns = self._pose_ns = 0
        self._view_now = bool(self.get_parameter("view").value)
        if self._view_now:
            self.world.render()  # the first picture takes seconds: before the episode, not in it
        self._publish_episode()
        if self._lockstep:
            self._publish()

    def _step_lockstep(self) -> None:
        if not self._running:
            self._topics.publish_clock()
            if self._repeat_due():  # an arm at rest publishes its joints too, for the guard
                self._repeated_s = time.monotonic()
                self._topics.publish_joints()
            return
        if not self._commanded and not self.count_publishers("policy_node/plan"):
            self._sent_s = time.monotonic()  # the wait begins when there is a policy to answer
        waited_s = time.monotonic() - self._sent_s
        answered = len(self._arrived) == self._channels
        refused = self._refused_ns == self.world.now_ns
        # while the nodes discover each other the first plan or command can get lost
        lost = self._accepted_ns == self.world.now_ns and (
            time.monotonic() - self._accepted_s > LOST_S
        )
        timed_out = lost or waited_s > self._values["lockstep_timeout_s"]
        if not (answered or refused or timed_out):
            if self._repeat_due():
                self._send_again()
            return
        if timed_out:
            self.get_logger().warning("no command came in time: the world goes on without one")
        for trajectory in self._arrived.values():
            self.world.command(trajectory)
            self._followed += 1
        self._arrived.clear()
        period_s = self._values["period_s"]
        if self._view_now:
            self._topics.publish_view()
            self.world.advance(period_s / 2)
            self._topics.publish_view()
            self.world.advance(period_s / 2)
        else:
            self.world.advance(period_s)
        self._finish_if_done()
        if self._running:
            self._publish()

    def _step_wall(self) -> None:
        behind_ns = int((time.monotonic() - self._wall_s) * 1e9) - (
            self.world.now_ns - self._topics.start_ns
        )
        if behind_ns > MAX_LAG_NS:
            self._wall_s += (behind_ns - MAX_LAG_NS) * 1e-9
        if behind_ns >= TICK_NS:
            self._tick_wall()  # one tick between two spins: commands are received at once
        self._finish_if_done()

    def _tick_wall(self) -> None:
        self.world.advance(TICK_NS * 1e-9)
        now_ns = self.world.now_ns
        self._topics.publish_clock()
        self._topics.publish_joints()
        if now_ns - self._pose_ns >= POSE_PERIOD_NS:
            self._pose_ns = now_ns
            self._topics.publish_poses()
        if now_ns - self._camera_ns >= 1e9 / self._values["camera_hz"] and self._running:
            self._camera_ns = now_ns
            self._publish_camera()
            if self._view_now:
                self._topics.publish_view()

    def _finish_if_done(self) -> None:
        too_long = self._topics.elapsed_s >= self._values["max_time_s"] - 1e-6
        if self._running and (self.world.succeeded or too_long):
            self._running = False
            self._publish_episode()

    # out -----------------------------------------------------------------------------------------

    def _publish(self) -> None:
        self._publish_state()
        self._publish_camera()
        self._sent_s = self._repeated_s = time.monotonic()

    def _publish_state(self) -> None:
        self._topics.publish_clock()
        self._topics.publish_joints()
        self._topics.publish_poses()

    def _publish_camera(self) -> None:
        if self._values["cloud"]:
            self._topics.publish_camera()

    def _repeat_due(self) -> bool:
        return time.monotonic() - self._repeated_s > REPEAT_S

    def _send_again(self) -> None:
        self._repeated_s = time.monotonic()
        self._publish_state()
        self._topics.repeat_camera()

    def _publish_episode(self) -> None:
        state = "running" if self._running else ("success" if self.world.succeeded else "failed")
        self._topics.publish_episode(state if self._sent_once else "waiting", self._followed)


def main(args: list[str] | None = None) -> int:
    """Run the bridge until SIGINT or SIGTERM."""
    return run(SimBridge, args)


if __name__ == "__main__":
    sys.exit(main())
