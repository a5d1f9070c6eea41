# SPDX-License-Identifier: MIT
"""The simulated robot on ROS: the world behind the topics of a real arm with a depth camera."""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from difftori_ros import codecs
from difftori_ros.config.parameters import Parameter
from difftori_ros.nodes.node_base import (
    COMMAND_QOS,
    LATCHED_QOS,
    STATUS_QOS,
    StartupError,
    declare,
    run,
    status_message,
)
from difftori_ros.rigid import matrix_to_pose
from difftori_ros.robot.profile import ProfileError, load_profile
from difftori_ros.status.guard_report import GuardReport, GuardReportError
from difftori_ros.types import Trajectory
from difftori_sim.arm.tasks import TEST_SEEDS, find_task
from difftori_sim.arm.vulkan import VulkanError
from difftori_sim.arm.world import CAMERA_FRAME, TICK_NS, World, cameras_of

from .camera_messages import camera_messages, camera_streams, view_messages
from .fault_injection import FaultInjector, parse

REPEAT_S = 0.25
"""Steady time after which an unanswered observation is sent again in lockstep [s]."""
LOST_S = 1.0
"""Steady time after which a command that the guard says it has sent counts as lost [s]."""
POSE_PERIOD_NS = 50_000_000
MAX_LAG_NS = 200_000_000
"""Lag behind the wall clock beyond which the difference is dropped: time slows, never jumps."""

STREAMS: dict[str, Any] = {
    "clock": Clock,
    "joint_states": JointState,
}
"""What can have faults, besides the poses of the task and the cameras."""

PARAMETERS = (
    Parameter("task", "pick_cube", "The simulated task."),
    Parameter("robot", "panda", "Robot profile: a name that ships, or the path of a YAML file."),
    Parameter(
        "clock",
        "lockstep",
        "'lockstep': the world waits for every plan; 'wall': it runs on with the wall clock.",
        choices=("lockstep", "wall"),
    ),
    Parameter("start", True, "Start the first episode without being asked."),
    Parameter("period_s", 0.1, "Time that passes for one plan in lockstep [s].", 0.01, 1.0),
    Parameter("max_time_s", 5.0, "World time after which an episode has failed [s].", 0.1, 1000.0),
    Parameter(
        "lockstep_timeout_s",
        10.0,
        "Silence after which time goes on all the same [s].",
        0.1,
        600.0,
    ),
    Parameter("cloud", True, "Render and publish the camera: image, camera_info and points."),
    Parameter("camera_hz", 10.0, "Rate of the camera in wall mode [Hz].", 0.1, 100.0),
    Parameter("image_size", 128, "Width and height of the camera [px].", 16, 1024),
    Parameter(
        "faults",
        [""],
        "What goes wrong with what is published: stream:kind:start_s:duration_s[:amount], where "
        "the times count from the episode's start on the world's clock.",
    ),
    Parameter("view_size", 384, "Width and height of the picture for people [px].", 64, 2048),
)


class SimBridge(Node):
    """One ManiSkill world; `~/reset` starts the episode of the live parameter `seed`."""

    def __init__(self, **options: Any):
        super().__init__("sim_bridge", **options)
        seed = ParameterDescriptor(description="Seed of the episode that ~/reset starts.")
        view = ParameterDescriptor(description="Publish pictures for people on ~/view (slow).")
        values = declare(self, PARAMETERS, extra=("seed", "view"))
        self.declare_parameter("seed", TEST_SEEDS.start, seed)
        self.declare_parameter("view", False, view)
        self._values, self._lockstep = values, values["clock"] == "lockstep"
        self.idle_s = 0.05 if self._lockstep else 0.002
        try:
            self._profile = load_profile(values["robot"])
            self._task = find_task(values["task"])
            streams = STREAMS | dict.fromkeys(self._task.poses, PoseStamped)
            streams |= camera_streams(cameras_of(self._task))
            # before the world, which takes half a minute to load
            self._faults = [parse(text, streams) for text in values["faults"] if text]
            self.world = World(
                self._task, self._profile, values["image_size"], values["view_size"]
            )
        except (ProfileError, ValueError, VulkanError) as error:
            raise StartupError(str(error)) from error
        out = self.create_publisher
        topics = {name: "/clock" if name == "clock" else name for name in streams}
        self._out = {name: out(streams[name], topic, STATUS_QOS) for name, topic in topics.items()}
        self._injector = FaultInjector(self._faults)
        self._view = out(Image, "~/view/image_raw", STATUS_QOS)
        self._view_info = out(CameraInfo, "~/view/camera_info", STATUS_QOS)
        self._view_pose = out(PoseStamped, "~/view/pose", LATCHED_QOS)
        self._episode = out(DiagnosticStatus, "~/episode", LATCHED_QOS)
        self._transforms = self._transform_publisher()
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
        self._start_ns = self._camera_ns = self._pose_ns = 0
        self._sent_s = self._repeated_s = self._wall_s = self._accepted_s = 0.0
        self._camera_messages: dict[str, Any] = {}
        self.finished: int | None = None
        if values["start"]:
            self._reset()
        else:
            self.world.reset(self._seed())
            if values["cloud"]:
                self.world.sense()  # the first picture takes seconds: before the first episode
            self._start_ns, self._wall_s = self.world.now_ns, time.monotonic()
            self._tell_episode()

    def _transform_publisher(self) -> Any:
        try:
            from tf2_msgs.msg import TFMessage
        except ImportError:
            return None
        from geometry_msgs.msg import TransformStamped

        publisher = self.create_publisher(TFMessage, "/tf_static", LATCHED_QOS)
        message = TransformStamped(child_frame_id=CAMERA_FRAME)
        message.header.frame_id = self._profile.base_frame
        x, y, z, *quaternion = map(float, matrix_to_pose(self.world.camera().base_from_camera))
        translation, rotation = message.transform.translation, message.transform.rotation
        translation.x, translation.y, translation.z = x, y, z
        rotation.x, rotation.y, rotation.z, rotation.w = quaternion
        publisher.publish(TFMessage(transforms=[message]))
        return publisher

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
        elif trajectory.stamp_ns >= self._start_ns and trajectory.end_ns > self.world.now_ns:
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
        self._injector = FaultInjector(self._faults)
        self._sent_once = True
        self._commanded, self._running, self._followed = False, True, 0
        self._start_ns = self.world.now_ns
        self._wall_s = time.monotonic()
        self._camera_ns = self._pose_ns = 0
        self._view_now = bool(self.get_parameter("view").value)
        if self._view_now:
            self.world.render()  # the first picture takes seconds: before the episode, not in it
        self._tell_episode()
        if self._lockstep:
            self._publish()

    def _step_lockstep(self) -> None:
        if not self._running:
            self._publish_clock()
            if self._repeat_due():  # an arm at rest publishes its joints too, for the guard
                self._repeated_s = time.monotonic()
                self._publish_joints()
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
            self._publish_view()
            self.world.advance(period_s / 2)
            self._publish_view()
            self.world.advance(period_s / 2)
        else:
            self.world.advance(period_s)
        self._finish_if_done()
        if self._running:
            self._publish()

    def _step_wall(self) -> None:
        behind_ns = int((time.monotonic() - self._wall_s) * 1e9) - (
            self.world.now_ns - self._start_ns
        )
        if behind_ns > MAX_LAG_NS:
            self._wall_s += (behind_ns - MAX_LAG_NS) * 1e-9
        if behind_ns >= TICK_NS:
            self._tick_wall()  # one tick between two spins: commands are received at once
        self._finish_if_done()

    def _tick_wall(self) -> None:
        self.world.advance(TICK_NS * 1e-9)
        now_ns = self.world.now_ns
        self._publish_clock()
        self._publish_joints()
        if now_ns - self._pose_ns >= POSE_PERIOD_NS:
            self._pose_ns = now_ns
            self._publish_poses()
        if now_ns - self._camera_ns >= 1e9 / self._values["camera_hz"] and self._running:
            self._camera_ns = now_ns
            self._publish_camera()
            if self._view_now:
                self._publish_view()

    def _finish_if_done(self) -> None:
        elapsed_s = (self.world.now_ns - self._start_ns) * 1e-9
        if self._running and (
            self.world.succeeded or elapsed_s >= self._values["max_time_s"] - 1e-6
        ):
            self._running = False
            self._tell_episode()

    # out -----------------------------------------------------------------------------------------

    def _publish(self) -> None:
        self._publish_clock()
        self._publish_joints()
        self._publish_poses()
        self._publish_camera()
        self._sent_s = self._repeated_s = time.monotonic()

    def _repeat_due(self) -> bool:
        return time.monotonic() - self._repeated_s > REPEAT_S

    def _send_again(self) -> None:
        self._repeated_s = time.monotonic()
        self._publish_clock()
        self._publish_joints()
        self._publish_poses()
        self._send_camera()

    def _send(self, stream: str, message: Any) -> None:
        now_s = (self.world.now_ns - self._start_ns) * 1e-9
        for name, sent in self._injector.apply(stream, message, now_s):
            self._out[name].publish(sent)

    def _publish_clock(self) -> None:
        message = Clock()
        codecs.ns_to_stamp(self.world.now_ns, message.clock)
        self._send("clock", message)

    def _publish_joints(self) -> None:
        message = JointState()
        codecs.encode_joint_state(self.world.joint_state(), message)
        self._send("joint_states", message)

    def _publish_poses(self) -> None:
        for name, pose in self.world.poses().items():
            message = PoseStamped()
            codecs.encode_pose(pose, message)
            self._send(name, message)

    def _publish_camera(self) -> None:
        if not self._values["cloud"]:
            return
        self._camera_messages = camera_messages(self.world)
        self._send_camera()

    def _send_camera(self) -> None:
        for stream, message in self._camera_messages.items():
            self._send(stream, message)

    def _publish_view(self) -> None:
        pose, info, image = view_messages(self.world, self._profile.base_frame)
        self._view_pose.publish(pose)
        self._view_info.publish(info)
        self._view.publish(image)

    def _tell_episode(self) -> None:
        elapsed_s = (self.world.now_ns - self._start_ns) * 1e-9
        state = "running" if self._running else ("success" if self.world.succeeded else "failed")
        state = state if self._sent_once else "waiting"
        values = {
            "state": state,
            "seed": str(self.world.seed),
            "start_ns": str(self._start_ns),
            "time_s": f"{elapsed_s:.2f}",
            "commands": str(self._followed),
            "joint_speed": f"{float(np.abs(self.world.joint_state().velocity).max()):.4f}",
        }
        message = f"seed {self.world.seed}: {state} after {elapsed_s:.2f} s"
        self.get_logger().info(message)
        self._episode.publish(status_message(self.get_name(), 0, message, values))


def main(args: list[str] | None = None) -> int:
    """Run the bridge until SIGINT or SIGTERM."""
    return run(SimBridge, args)


if __name__ == "__main__":
    sys.exit(main())
