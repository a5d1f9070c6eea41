# SPDX-License-Identifier: MIT
"""The guard's process: alone it may talk to the arm's controllers. Never imports torch."""

from __future__ import annotations

import sys
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from sensor_msgs.msg import JointState as JointStateMessage
from std_msgs.msg import Bool
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory

from difftori_ros import codecs
from difftori_ros.base_node import (
    COMMAND_QOS,
    ONLOOKERS,
    SENSOR_QOS,
    STATUS_QOS,
    StartupError,
    declare,
    diagnostics,
    run,
    status_message,
    trajectory_message,
)
from difftori_ros.clock_watch import shown_ns
from difftori_ros.command_node import OutputError, make_output
from difftori_ros.guard import Guard, GuardConfig, State
from difftori_ros.health import Percentiles
from difftori_ros.parameters import GUARD, REAL_TIME
from difftori_ros.realtime import apply_realtime
from difftori_ros.robot import ProfileError, load_profile
from difftori_ros.timing import split
from difftori_ros.types import Level, Reason, Trajectory

STATUS_S = 0.1
"""Time between two `~/status` messages when nothing changes [s, steady clock]."""
LOOK_S = 0.5
"""Time between two looks at who else is in the graph [s, steady clock]."""
TICK = Duration(seconds=0.01)
"""Period of the outputs while the process waits for the arm to rest [s, steady clock]."""


class GuardNode(Node):
    """Checks every plan, passes on what is valid, and brakes when the policy falls silent."""

    def __init__(self, **options: Any):
        super().__init__("guard_node", **options)
        values = declare(self, GUARD)
        kind, rate_hz = values.pop("output"), values.pop("rate_hz")
        wishes = [values.pop(parameter.name) for parameter in REAL_TIME]
        for corner in ("workspace_lower", "workspace_upper"):
            values[corner] = tuple(values[corner])
        try:
            self._profile = load_profile(values.pop("robot"))
            self._guard = Guard(self._profile, GuardConfig(**values))
            self._patience_s = values["max_plan_age_s"]
            profile = self._profile
            channels = {profile.arm_joints: profile.topic}
            if profile.gripper:
                channels[(profile.gripper.joint,)] = profile.gripper.topic
            self._outputs = {
                joints: make_output(kind, self, topic, COMMAND_QOS, trajectory_message)
                for joints, topic in channels.items()
            }
        except (ProfileError, OutputError, ValueError) as error:
            raise StartupError(str(error)) from error
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._pending: Trajectory | None = None
        self._simulated = bool(self.get_parameter("use_sim_time").value)
        self._joints_ns = 0
        self._told_s = self._looked_s = self._steady_s()
        self._period_s, self._ticked_s = 1 / rate_hz, self._steady_s()
        self._begun_s = self._ticked_s
        self._jitter_s = Percentiles()
        self._listened, self._stopped = False, True
        self._verdict: dict[str, str] = {}
        self._status = self.create_publisher(DiagnosticStatus, "~/status", STATUS_QOS)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", STATUS_QOS)
        self.create_subscription(JointTrajectory, "policy_node/plan", self._on_plan, COMMAND_QOS)
        # reliably and in order, for it may say that it stops; and at best effort, for after a lost
        # datagram whatever is sent reliably waits until DDS notices, which may take seconds
        for hear, qos in ((self._on_policy, STATUS_QOS), (self._on_pulse, SENSOR_QOS)):
            self.create_subscription(DiagnosticStatus, "policy_node/status", hear, qos)
        self.create_subscription(JointStateMessage, "joint_states", self._on_joints, SENSOR_QOS)
        self._changed = self.create_publisher(JointTrajectory, "~/changed", COMMAND_QOS)
        self.create_subscription(Bool, "emergency_stop", self._on_estop, STATUS_QOS)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.create_service(SetBool, "~/pause", self._on_pause)
        self.create_timer(self._period_s, self._tick, clock=self._steady)
        for complaint in apply_realtime(*wishes):
            self.get_logger().warning(complaint)
        self._guard.start()
        topics = ", ".join(output.topic for output in self._outputs.values())
        self.get_logger().info(f"guarding '{profile.name}': {topics}")

    def stop(self) -> None:
        """Brake and go silent before the process ends."""
        brake = self._guard.stop(self._now_ns())
        self._send(brake)
        # on the steady clock: simulated time may stand still
        length_s = 0.0 if brake is None else float(brake.times[-1])
        end_s = self._steady_s() + length_s
        while self._steady_s() < end_s and self._steady.sleep_for(TICK):
            self._stream()
        self._publish_status()

    def on_exception(self, error: Exception) -> None:
        """A callback has raised: brake, and live on to say so."""
        self._send(self._guard.trip(Reason.EXCEPTION, repr(error), self._now_ns()))
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
            self._guard.unreadable_joints(str(error))
            self.get_logger().warning(
                f"{Reason.BAD_MESSAGE.value}: 'joint_states': {error}", throttle_duration_sec=2.0
            )
            return
        self._guard.joints(state, self._steady_s())
        self._joints_ns = state.stamp_ns
        self._try_pending()

    def _on_policy(self, message: DiagnosticStatus) -> None:
        code = next((v.value for v in message.values if v.key == "code"), "")
        self._stopped = code == Reason.STOPPED.name
        if self._stopped:
            self._send(self._guard.farewell(self._now_ns()))
        else:
            self._guard.heartbeat(self._steady_s())

    def _on_pulse(self, _: DiagnosticStatus) -> None:
        if not self._stopped:  # else it was published before the last word, and came after it
            self._guard.heartbeat(self._steady_s())

    def _on_reset(self, request: Any, response: Any) -> Any:
        self._pending = None
        refused = self._guard.reset()
        if refused is None and self._guard.status.reason is not Reason.PAUSED:
            self._guard.start()
        self._verdict = {}
        self._publish_status()
        response.success = refused is None
        response.message = refused or "fault cleared; the next plan starts afresh"
        return response

    def _on_pause(self, request: Any, response: Any) -> Any:
        if request.data:
            self._send(self._guard.stop(self._now_ns(), Reason.PAUSED))
        elif self._guard.status.reason is Reason.PAUSED:
            self._guard.start()
        state = self._guard.status.state
        response.success = (state is State.INACTIVE) == request.data
        response.message = f"the guard is {state.name}: {state.value}"
        self._publish_status()
        return response

    def _on_estop(self, message: Bool) -> None:
        self._pending = None if message.data else self._pending
        self._send(self._guard.estop(message.data, self._now_ns()))
        self._publish_status()

    # decisions -----------------------------------------------------------------------------------

    def _try_pending(self, waited_too_long: bool = False) -> None:
        """Check the newest plan once joint states at least as new as its observation are here."""
        plan = self._pending
        if plan is None or (plan.stamp_ns > self._joints_ns and not waited_too_long):
            return
        self._pending = None
        if not (self._listened or self._look_for_controllers()):
            topics = ", ".join(output.topic for output in self._outputs.values())
            detail = f"nobody subscribes {topics}"
            self._tell(plan.stamp_ns, False, Reason.NO_CONTROLLER, detail)
            return
        verdict = self._guard.check(plan, self._now_ns())
        for channel in verdict.channels:
            self._send(channel)
        if verdict.changed is not None:
            self._changed.publish(trajectory_message(verdict.changed))
        self._tell(plan.stamp_ns, verdict.accepted, verdict.reason, verdict.detail)

    def _tick(self) -> None:
        before = self._guard.status
        plan, now_ns, steady_s = self._pending, self._now_ns(), self._steady_s()
        self._jitter_s.add(abs(steady_s - self._ticked_s - self._period_s))
        self._ticked_s = steady_s
        if plan is not None and (now_ns - plan.stamp_ns) * 1e-9 > self._patience_s:
            self._try_pending(waited_too_long=True)
        if steady_s - self._looked_s > LOOK_S:
            self._looked_s = steady_s
            self._look_around(now_ns)
        self._send(self._guard.tick(now_ns, steady_s))
        self._stream()
        status = self._guard.status
        if status.state is not before.state:
            detail = f": {status.detail}" if status.detail else ""
            text = f"{status.state.name}: {status.reason.name}: {status.reason.value}{detail}"
            # rclpy wants one severity for each place that logs
            if status.level is Level.ERROR:
                self.get_logger().error(text)
            else:
                self.get_logger().info(text)
        if status.state is not before.state or steady_s - self._told_s >= STATUS_S:
            self._publish_status()

    def _look_around(self, now_ns: int) -> None:
        """Nobody else may command the arm."""
        self._look_for_controllers()
        own = (self.get_name(), self.get_namespace())
        for output in self._outputs.values():
            for other in self.get_publishers_info_by_topic(output.topic):
                if (other.node_name, other.node_namespace) != own:
                    name = f"{other.node_namespace.rstrip('/')}/{other.node_name}"
                    detail = f"{name} publishes '{output.topic}'"
                    self._send(self._guard.trip(Reason.SECOND_COMMANDER, detail, now_ns))

    def _look_for_controllers(self) -> bool:
        """Whether somebody takes the commands of the arm."""
        listeners = next(iter(self._outputs.values())).listeners()
        self._listened = any(name not in ONLOOKERS for name in listeners)
        return self._listened

    def _send(self, trajectory: Trajectory | None) -> None:
        if trajectory is None:
            return
        for joints, output in self._outputs.items():
            if set(joints) <= set(trajectory.joint_names):
                output.send(split(trajectory, joints))

    def _stream(self) -> None:
        for output in self._outputs.values():
            output.tick(self._now_ns())

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
        self._told_s = self._steady_s()
        values = {
            "code": status.reason.name,
            "state": status.state.name,
            "since_s": f"{self._told_s - max(status.since_steady_s, self._begun_s):.1f}",
            "accepted": str(status.accepted),
            "changed": str(status.changed),
            "refused": str(status.refused),
            "amount": f"{status.amount:.2f}",
            "jitter_ms_p99": f"{self._jitter_s.at(99) * 1e3:.2f}",
            **self._verdict,
        }
        text = status.reason.value + (f": {status.detail}" if status.detail else "")
        message = status_message(self.get_name(), status.level, text, values)
        self._status.publish(message)
        self._diagnostics.publish(diagnostics(self, [message]))

    def _now_ns(self) -> int:
        """The data clock, not behind the newest joint state while that can be believed."""
        return shown_ns(self.get_clock().now().nanoseconds, self._joints_ns, self._simulated)

    def _steady_s(self) -> float:
        return self._steady.now().nanoseconds * 1e-9


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM."""
    return run(GuardNode, args)


if __name__ == "__main__":
    sys.exit(main())
