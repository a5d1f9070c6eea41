# SPDX-License-Identifier: MIT
"""The guard's process: alone it may talk to the arm's controllers. Never imports torch.

Every callback begins with `_wake`: what comes first after this process stood still must know of it
before it acts. Every command is made, prepared as a message, and sent if that took no longer than
`LATE_S`; else it is made again for the time that it is by then.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import JointState as JointStateMessage
from std_msgs.msg import Bool
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory

from difftori_ros import codecs
from difftori_ros.codecs.serialized_trajectory import read_trajectory
from difftori_ros.config.parameter import group_of
from difftori_ros.config.parameters import REAL_TIME
from difftori_ros.guard.config import GUARD
from difftori_ros.guard.guard import Guard, GuardConfig
from difftori_ros.guard.plan_checks import RefusedError
from difftori_ros.guard.plan_judge import SENDING_NS
from difftori_ros.guard.stall_watch import StallWatch
from difftori_ros.robot.profile import ProfileError, load_profile
from difftori_ros.status.clock_jump import shown_ns
from difftori_ros.types import GuardState, Reason, Trajectory

from .controller_outputs import ControllerOutputs, OutputError
from .guard_publisher import GuardPublisher
from .node_base import (
    COMMAND_QOS,
    LATCHED_QOS,
    PASSIVE_NODES,
    SENSOR_QOS,
    STATUS_QOS,
    StartupError,
    declare,
    run,
)
from .polled_subscription import JointNames, PolledSubscription, stamp_ns
from .realtime import apply_realtime

LOOK_S = 0.5
"""Time between two looks at who else is in the graph [s, steady clock]."""
LATE_S = SENDING_NS * 1e-9
"""Time from a command's making to its sending after which it may no longer fit [s, steady]."""
TRIES = 3
"""How often that may happen before it is given up; a brake is sent then all the same."""
AHEAD_S = 0.1
"""How far ahead of the present time a brake is made at most that took too long before [s]."""
RETRY_S = 0.002
"""Time between two looks for the joint states that a plan waits for [s, steady clock]."""
FLOW_NS = 200_000_000
"""By how much the inputs of a plan that was made after the guard's start may be older [ns]."""
AHEAD_NS = 50_000_000
"""A joint state stamped this far ahead of the clock is from before the clock was set [ns]."""
TICK_S = 0.01
"""Longest period of the outputs while the process waits for the arm to rest [s, steady clock]."""
LONGEST_STOP_S = 3.0
"""Time after which it waits no longer for a streamed arm [s, steady clock]."""


class GuardNode(Node):
    """Checks every plan, passes on what is valid, and brakes when the policy falls silent."""

    def __init__(self, **options: Any):
        super().__init__("guard_node", **options)
        self._begun_ns = self.get_clock().now().nanoseconds  # before anybody can hear of it
        values = declare(self, GUARD)
        kind, self._period_s = values["output"], 1 / values["rate_hz"]
        try:
            profile = load_profile(values["robot"])
            self._guard = Guard(profile, group_of(GuardConfig, values))
            self._outputs = ControllerOutputs(kind, self, profile, COMMAND_QOS, self._period_s)
        except (ProfileError, OutputError, ValueError) as error:
            raise StartupError(str(error)) from error
        self._patience_s = values["max_plan_age_s"]
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._pending: Trajectory | None = None
        self._simulated = bool(self.get_parameter("use_sim_time").value)
        self._stall_watch = StallWatch()
        self._joints_ns, self._seen_ns, self._seen_s, self._checked_s = 0, 0, 0.0, 0.0
        self._looked_s = self._ticked_s = self._begun_s = self._steady_s()
        self._listened, self._stopped = False, True
        self._fresh, self._policy_heard = True, False
        self._publisher = GuardPublisher(self, self._begun_s)
        self.create_subscription(
            JointTrajectory, "policy_node/plan", self._on_plan, COMMAND_QOS, raw=True
        )
        # reliably and in order, for it may say that it stops; and at best effort, for after a lost
        # datagram whatever is sent reliably waits until DDS notices, which may take seconds
        for hear, qos in ((self._on_policy, STATUS_QOS), (self._on_pulse, SENSOR_QOS)):
            self.create_subscription(DiagnosticStatus, "policy_node/status", hear, qos)
        self._joints = PolledSubscription(self, JointStateMessage, "joint_states", SENSOR_QOS)
        self._joint_names = JointNames()
        # a button that was pressed before this start is heard where its publisher latches
        for qos in (STATUS_QOS, LATCHED_QOS):
            self.create_subscription(Bool, "emergency_stop", self._on_estop, qos)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.create_service(SetBool, "~/pause", self._on_pause)
        self.create_timer(self._period_s, self._tick, clock=self._steady)
        self._retry = self.create_timer(RETRY_S, self._try_pending, clock=self._steady)
        self._retry.cancel()
        for complaint in apply_realtime(*[values[one.name] for one in REAL_TIME]):
            self.get_logger().warning(complaint)
        self._guard.start(self._now_ns())
        if (latched := self._publisher.latch.read()) is not None:
            self._guard.restore(latched)
            self._fresh = False  # an order is needed anyhow
            path = self._publisher.latch.path
            self.get_logger().warning(f"held since before this start, in {path}")
        self.get_logger().info(f"guarding '{profile.name}': {self._outputs.topics}")

    def stop(self) -> None:
        """Brake and go silent before the process ends."""
        self._wake()
        self._order(self._guard.stop)
        # on the steady clock: simulated time may stand still
        begun_s, rests_in_s = self._steady_s(), self._guard.rests_in_s(self._now_ns())
        passed_s, pause = 0.0, Duration(seconds=min(TICK_S, self._period_s))
        while passed_s < rests_in_s or (self._outputs.busy() and passed_s < LONGEST_STOP_S):
            self._stream()
            self._steady.sleep_for(pause)
            passed_s = self._steady_s() - begun_s
        self._outputs.end()
        self._say()

    def on_exception(self, error: Exception) -> None:
        """A callback has raised: brake, and live on to say so."""
        self._trip(Reason.EXCEPTION, repr(error))
        self._say()

    # messages ------------------------------------------------------------------------------------

    def _on_plan(self, raw: bytes) -> None:
        self._wake()
        try:
            plan = read_trajectory(raw)
            if plan is None:  # of another form than ours
                plan = codecs.decode_trajectory(deserialize_message(raw, JointTrajectory))
        except (codecs.CodecError, RuntimeError) as error:  # the latter from the middleware
            self._refuse(stamp_ns(raw) or 0, Reason.BAD_MESSAGE, str(error))
            return
        self._pending = plan
        self._try_pending()

    def _read_joints(self) -> None:
        """The newest joint states of each source are known."""
        for raw in self._joint_names.newest_of_each(self._joints.take()):
            try:
                state = codecs.decode_joint_state(deserialize_message(raw, JointStateMessage))
                ahead_ns = state.stamp_ns - self._now_ns()
                if not self._simulated and ahead_ns > AHEAD_NS:
                    why = f"the last ones are stamped {ahead_ns * 1e-9:.3f} s ahead of the clock"
                    raise codecs.CodecError(why)
            except (codecs.CodecError, RuntimeError) as error:  # the latter from the middleware
                self._guard.unreadable_joints(str(error))
                self.get_logger().warning(
                    f"{Reason.BAD_MESSAGE.value}: 'joint_states': {error}",
                    throttle_duration_sec=2.0,
                )
                continue
            self._joints_ns = state.stamp_ns
            self._guard.joints(state, self._steady_s())

    def _on_policy(self, message: DiagnosticStatus) -> None:
        self._wake()
        values = {pair.key: pair.value for pair in message.values}
        self._stopped = values.get("code") == Reason.STOPPED.name
        if self._stopped:
            self._pending = None
            self._order(self._guard.policy_stopped)
            return
        self._on_pulse(message)

    def _on_pulse(self, message: DiagnosticStatus) -> None:
        self._wake()
        values = {pair.key: pair.value for pair in message.values}
        told = values.get("code") == Reason.STOPPED.name
        if told or (self._stopped and self._policy_heard):
            return  # it was published before the last word, and came after it
        self._policy_heard = True
        self._guard.heartbeat(self._steady_s())
        since = values.get("plans_since_ns", "")
        self._refuse_flow(int(since) if since.isdecimal() else 0)

    def _on_reset(self, request: Any, response: Any) -> Any:
        self._wake()
        self._pending, self._fresh = None, False
        refused = self._guard.reset(self._now_ns())
        if refused is None and self._guard.status.reason is not Reason.PAUSED:
            self._guard.start(self._now_ns())
        self._publisher.forget_verdict()
        self._say()
        response.success = refused is None
        response.message = refused or "fault cleared; the next plan starts afresh"
        return response

    def _on_pause(self, request: Any, response: Any) -> Any:
        self._wake()
        self._pending = None
        if request.data:
            self._order(lambda now_ns: self._guard.stop(now_ns, Reason.PAUSED))
        elif self._guard.status.reason is not Reason.STOPPED:
            self._fresh = False
            self._guard.start(self._now_ns())  # a fault stays one
        state = self._guard.status.state
        response.success = (state is GuardState.INACTIVE) == request.data
        response.message = f"the guard is {state.name}: {state.value}"
        self._say()
        return response

    def _on_estop(self, message: Bool) -> None:
        self._wake()
        self._pending = None if message.data else self._pending
        self._order(lambda now_ns: self._guard.estop(message.data, now_ns))
        self._say()

    # decisions -----------------------------------------------------------------------------------

    def _wake(self) -> None:
        """What has happened to this process and to its clock until now is known."""
        for _ in range(TRIES):
            begun_s = self._steady_s()
            self._look(begun_s)
            if self._steady_s() - begun_s <= LATE_S:
                return

    def _look(self, begun_s: float) -> None:
        look = self._stall_watch.look(begun_s, self._now_ns(), self._steady_s())
        if not 0 < self._begun_ns <= look.now_ns:
            self._begun_ns = look.now_ns
        self._seen_s, self._seen_ns = look.steady_s, look.now_ns
        if look.step_ns and not self._simulated:
            self._pending = None
            self._outputs.shift(look.step_ns)
            self._guard.clock_jumped(look.now_ns, look.step_ns)
        if look.stalled_s:
            self._pending = None
            now_ns, steady_s, stands = look.now_ns, look.steady_s, self._outputs.stands()
            commands = self._guard.stalled(now_ns, steady_s, look.stalled_s, *stands)
            self._publish(self._prepare(commands))
            self.get_logger().warning(f"this process stood still for {look.stalled_s:.2f} s")
        if (changed := self._guard.put_off(*self._outputs.catch_up(look.now_ns))) is not None:
            self._publisher.changed(changed)

    def _refuse_flow(self, since_ns: int) -> None:
        """A guard that is started again in the middle of an episode does not go on by itself."""
        if self._fresh and 0 < since_ns < self._begun_ns - FLOW_NS:
            detail = f"since {(self._begun_ns - since_ns) * 1e-9:.1f} s before"
            self._trip(Reason.RESTARTED, detail)

    def _try_pending(self) -> None:
        """Check the newest plan once joint states at least as new as its observation are here."""
        self._wake()
        plan = self._pending
        if plan is None:
            self._retry.cancel()
            return
        self._read_joints()
        waited_s = (self._now_ns() - plan.stamp_ns) * 1e-9
        incomplete = plan.stamp_ns > self._joints_ns or not self._policy_heard
        if incomplete and waited_s <= self._patience_s:
            self._retry.reset()
            return
        self._retry.cancel()
        self._pending = None
        if not self._policy_heard:
            detail = "no status of the policy has come, which tells since when it has planned"
            self._refuse(plan.stamp_ns, Reason.POLICY_LOST, detail)
        elif not (self._listened or self._look_for_controllers()):
            detail = f"nobody subscribes {self._outputs.topics}"
            self._refuse(plan.stamp_ns, Reason.NO_CONTROLLER, detail)
        else:
            self._carry_out(plan)

    def _refuse(self, plan_ns: int, reason: Reason, detail: str) -> None:
        self._publisher.verdict(plan_ns, False, reason, detail)
        self._say()

    def _carry_out(self, plan: Trajectory) -> None:
        """Judge the plan, and send it if it joins in the moment in which it is sent."""
        judged = self._guard.judge(plan, self._now_ns())
        prepared = self._prepare(judged.channels)
        for _ in range(TRIES):
            self._wake()
            begun_s, now_ns = self._seen_s, self._seen_ns
            refusal = self._guard.joins(judged, now_ns)
            if refusal is not None or self._in_time(begun_s, now_ns):
                break
        else:
            refusal = RefusedError(Reason.DISCONTINUOUS, "held up whenever it was to be sent")
        if refusal is None:
            self._publish(prepared)  # no clock is looked at in between: it could only be later
            self._publisher.window_s.add(self._steady_s() - self._checked_s)
        verdict = self._guard.settle(judged, now_ns, refusal)
        self._fresh = self._fresh and not verdict.accepted
        if verdict.changed is not None:
            self._publisher.changed(verdict.changed)
        self._publisher.verdict(plan.stamp_ns, verdict.accepted, verdict.reason, verdict.detail)
        self._say()

    def _tick(self) -> None:
        self._wake()
        steady_s = self._steady_s()
        self._publisher.jitter_s.add(abs(steady_s - self._ticked_s - self._period_s))
        self._ticked_s = steady_s
        self._read_joints()
        if steady_s - self._looked_s > LOOK_S:
            self._looked_s = steady_s
            self._look_around()
        self._order(lambda now_ns: self._guard.tick(now_ns, self._steady_s()))
        self._stream()
        if self._publisher.due(self._guard.status, steady_s):
            self._say()

    def _look_around(self) -> None:
        """Nobody else may command the arm, nor may another guard of the same name."""
        self._look_for_controllers()
        for detail in self._outputs.other_commanders():
            self._trip(Reason.SECOND_COMMANDER, detail)

    def _look_for_controllers(self) -> bool:
        """Whether any node takes the commands of the arm."""
        self._listened = any(name not in PASSIVE_NODES for name in self._outputs.listeners())
        return self._listened

    # commands ------------------------------------------------------------------------------------

    def _trip(self, reason: Reason, detail: str) -> None:
        self._order(lambda now_ns: self._guard.trip(reason, detail, now_ns))

    def _order(self, make: Callable[[int], Trajectory | None]) -> None:
        """Make a command for the present time, and send it if there is one.

        One that took too long is made again for a time by which it can have been sent: until then
        the arm goes on with what it followed before.
        """
        prepared: list[Callable[[], object]] = []
        ahead_s = 0.0
        for _ in range(TRIES):
            self._wake()
            begun_s, begun_ns = self._seen_s, self._seen_ns
            command = make(begun_ns + round(ahead_s * 1e9))
            prepared = [] if command is None else self._prepare((command,))
            if command is None or self._in_time(begun_s, begun_ns, ahead_s):
                break
            make, ahead_s = self._guard.again, min(3 * (self._steady_s() - begun_s), AHEAD_S)
        self._publish(prepared)

    def _prepare(self, channels: tuple[Trajectory, ...]) -> list[Callable[[], object]]:
        return self._outputs.prepare(channels)

    @staticmethod
    def _publish(prepared: list[Callable[[], object]]) -> None:
        """Send it, now: nothing may come in between."""
        for send in prepared:
            send()

    def _stream(self) -> None:
        """Streamed outputs get the set for the time up to which they have caught up."""
        self._wake()
        self._outputs.tick(self._seen_ns)

    def _in_time(self, begun_s: float, begun_ns: int, ahead_s: float = 0.0) -> bool:
        """Whether what was found or made then may still be sent: no clock has gone far since."""
        passed_s = 0.0 if self._simulated else abs(self._now_ns() - begun_ns) * 1e-9
        self._checked_s = self._steady_s()
        return max(passed_s, self._checked_s - begun_s) <= LATE_S + ahead_s

    def _say(self) -> None:
        self._publisher.publish(self._guard.status, self._guard.latched, self._steady_s())

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
