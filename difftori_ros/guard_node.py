# SPDX-License-Identifier: MIT
"""The guard's process: alone it may talk to the arm's controllers. Never imports torch."""

from __future__ import annotations

import sys
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import JointState as JointStateMessage
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from difftori_ros import codecs
from difftori_ros.base_node import (
    COMMAND_QOS,
    SENSOR_QOS,
    STATUS_QOS,
    StartupError,
    declare,
    diagnostics,
    run,
    status_message,
    trajectory_message,
)
from difftori_ros.guard import Guard, GuardConfig
from difftori_ros.parameters import GUARD
from difftori_ros.robot import ProfileError, load_profile
from difftori_ros.timing import split
from difftori_ros.types import Reason, Trajectory

TICK_S = 0.02
"""Period of the watchdog [s, steady clock]."""
STATUS_EVERY = 5
"""Ticks between two `~/status` messages when nothing changes."""


class GuardNode(Node):
    """Checks every plan, passes on what is valid, and brakes when the policy falls silent."""

    def __init__(self, **options: Any):
        super().__init__("guard_node", **options)
        values = declare(self, GUARD)
        try:
            self._profile = load_profile(values.pop("robot"))
            self._guard = Guard(self._profile, GuardConfig(**values))
            self._patience_s = values["max_plan_age_s"]
        except (ProfileError, ValueError) as error:
            raise StartupError(str(error)) from error
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._pending: Trajectory | None = None
        self._joints_ns = 0
        self._ticks = 0
        self._verdict: dict[str, str] = {}
        profile = self._profile
        channels = {profile.arm_joints: profile.topic}
        if profile.gripper:
            channels[(profile.gripper.joint,)] = profile.gripper.topic
        self._commands = {
            joints: self.create_publisher(JointTrajectory, topic, COMMAND_QOS)
            for joints, topic in channels.items()
        }
        self._status = self.create_publisher(DiagnosticStatus, "~/status", STATUS_QOS)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", STATUS_QOS)
        self.create_subscription(JointTrajectory, "policy_node/plan", self._on_plan, COMMAND_QOS)
        self.create_subscription(
            DiagnosticStatus, "policy_node/status", self._on_heartbeat, STATUS_QOS
        )
        self.create_subscription(JointStateMessage, "joint_states", self._on_joints, SENSOR_QOS)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.create_timer(TICK_S, self._tick, clock=self._steady)
        self._guard.start()
        self.get_logger().info(
            f"guarding '{profile.name}': "
            + ", ".join(f"{p.topic_name}" for p in self._commands.values())
        )

    def stop(self) -> None:
        """Brake and go silent before the process ends."""
        self._send(self._guard.stop(self._now_ns()))
        self._publish_status()

    # messages ------------------------------------------------------------------------------------

    def _on_plan(self, message: JointTrajectory) -> None:
        try:
            plan = codecs.decode_trajectory(message)
        except codecs.CodecError as error:
            self._tell(
                codecs.stamp_to_ns(message.header.stamp), False, Reason.BAD_MESSAGE, str(error)
            )
            return
        self._pending = plan
        self._try_pending()

    def _on_joints(self, message: JointStateMessage) -> None:
        try:
            state = codecs.decode_joint_state(message)
        except codecs.CodecError as error:
            self.get_logger().warning(
                f"{Reason.BAD_MESSAGE.value}: 'joint_states': {error}", throttle_duration_sec=2.0
            )
            return
        self._guard.joints(state, self._steady_s())
        self._joints_ns = state.stamp_ns
        self._try_pending()

    def _on_heartbeat(self, message: DiagnosticStatus) -> None:
        stopped = any(v.key == "code" and v.value == Reason.STOPPED.name for v in message.values)
        if stopped:
            self._guard.farewell()
        else:
            self._guard.heartbeat(self._steady_s())

    def _on_reset(self, request: Any, response: Any) -> Any:
        self._pending = None
        self._guard.reset(self._now_ns())
        self._guard.start()
        self._verdict = {}
        self._publish_status()
        response.success, response.message = True, "fault cleared; the next plan starts afresh"
        return response

    # decisions -----------------------------------------------------------------------------------

    def _try_pending(self, waited_too_long: bool = False) -> None:
        """Check the newest plan once joint states at least as new as its observation are here."""
        plan = self._pending
        if plan is None or (plan.stamp_ns > self._joints_ns and not waited_too_long):
            return
        self._pending = None
        verdict = self._guard.check(plan, self._now_ns())
        for channel in verdict.channels:
            self._send(channel)
        self._tell(plan.stamp_ns, verdict.accepted, verdict.reason, verdict.detail)

    def _tick(self) -> None:
        before = self._guard.status.state
        plan, now_ns = self._pending, self._now_ns()
        if plan is not None and (now_ns - plan.stamp_ns) * 1e-9 > self._patience_s:
            self._try_pending(waited_too_long=True)
        self._send(self._guard.tick(now_ns, self._steady_s()))
        self._ticks += 1
        changed = self._guard.status.state is not before
        if changed:
            self.get_logger().error(
                f"{self._guard.status.reason.name}: {self._guard.status.reason.value}"
            )
        if changed or self._ticks % STATUS_EVERY == 0:
            self._publish_status()

    def _send(self, trajectory: Trajectory | None) -> None:
        if trajectory is None:
            return
        for joints, publisher in self._commands.items():
            if set(joints) <= set(trajectory.joint_names):
                publisher.publish(trajectory_message(split(trajectory, joints)))

    def _tell(self, stamp_ns: int, accepted: bool, reason: Reason, detail: str) -> None:
        self._verdict = {
            "verdict": "accepted" if accepted else "refused",
            "verdict_stamp_ns": str(stamp_ns),
            "verdict_code": reason.name,
            "verdict_detail": detail,
        }
        if not accepted:
            self.get_logger().warning(
                f"plan refused: {reason.name}: {detail}", throttle_duration_sec=1.0
            )
        self._publish_status()

    def _publish_status(self) -> None:
        status = self._guard.status
        values = {
            "code": status.reason.name,
            "state": status.state.name,
            "accepted": str(status.accepted),
            "refused": str(status.refused),
            **self._verdict,
        }
        text = status.reason.value + (f": {status.detail}" if status.detail else "")
        message = status_message(self.get_name(), status.level, text, values)
        self._status.publish(message)
        self._diagnostics.publish(diagnostics(self, [message]))

    def _now_ns(self) -> int:
        """The data clock, never behind the newest joint state: simulated time may arrive later."""
        return max(self.get_clock().now().nanoseconds, self._joints_ns)

    def _steady_s(self) -> float:
        return self._steady.now().nanoseconds * 1e-9


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM."""
    return run(GuardNode, args)


if __name__ == "__main__":
    sys.exit(main())
