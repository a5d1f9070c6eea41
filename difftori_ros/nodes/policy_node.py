# SPDX-License-Identifier: MIT
"""The lifecycle node: messages in, plans out. It wires the stages together and holds no maths."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from rclpy.clock import Clock, ClockType, JumpThreshold, TimeJump
from rclpy.duration import Duration
from std_srvs.srv import Trigger

from difftori_models.checkpoint import CheckpointError
from difftori_ros.config.parameters import POLICY
from difftori_ros.observation import FrameError, make_observer
from difftori_ros.policy.interfaces import Clocks
from difftori_ros.policy.loop import PolicyLoop
from difftori_ros.policy.mailbox import Mailbox
from difftori_ros.policy.open_policy import Source, open_policy, refined
from difftori_ros.policy.pipeline import PlanPipeline
from difftori_ros.policy.runner import PolicyRunner
from difftori_ros.policy.scripted import ScriptedPlanner, ScriptError
from difftori_ros.policy.start_gate import StartGate
from difftori_ros.policy.summary import summary_table
from difftori_ros.robot.kinematics import Kinematics
from difftori_ros.robot.profile import ProfileError, RobotProfile, load_profile
from difftori_ros.status.clock_jump import ClockWatch
from difftori_ros.status.health import Health
from difftori_ros.types import Level, Reason

from .guard_inputs import GuardInputs
from .node_base import GuardedLifecycleNode, StartupError, declare, let_change, run
from .policy_inputs import PolicyInputs
from .policy_outputs import PolicyOutputs, PolicyStatus
from .realtime import apply_realtime
from .spin import leave_memory_alone, look_at_memory_again

HEARTBEAT_S = 0.1
"""Period of `~/status` when nothing else happens [s, steady clock]; the guard listens to it."""
SILENT_S = 0.09
"""Silence after which a heartbeat is due [s, steady clock]: every plan is told of, and then it is
not."""
TRY_AGAIN_S = 0.2
"""Time between two attempts to activate with `autostart` [s, steady clock]."""


@dataclass(frozen=True)
class _Parts:
    """What a configured node is made of."""

    mailbox: Mailbox
    loop: PolicyLoop
    runner: PolicyRunner
    inputs: PolicyInputs
    guard: GuardInputs
    outputs: PolicyOutputs
    reset: Any


class PolicyNode(GuardedLifecycleNode):
    """Drives one robot with one checkpoint.

    Callbacks run in the executor's thread and only decode and store; planning runs in the loop's
    own thread, and nobody waits for it.
    """

    def __init__(self, **options: Any):
        super().__init__("policy_node", **options)
        self._values = declare(self, POLICY)
        let_change(self, POLICY, self._on_change)
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._clocks = Clocks(self._now_ns, self._steady_s)
        self._health = Health()
        self._health.set(Reason.STOPPED, self._steady_s(), level=Level.OK)
        self._status = PolicyStatus(self, self._health, self._clocks)
        self.create_timer(HEARTBEAT_S, self._heartbeat, clock=self._steady)
        # Of simulated time only steps back are jumps; the system's clock is watched separately.
        threshold = JumpThreshold(
            min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True
        )
        self._jump = self.get_clock().create_jump_callback(threshold, post_callback=self._on_jump)
        self._clock_watch = None if self.get_parameter("use_sim_time").value else ClockWatch()
        self._parts: _Parts | None = None
        self._autostart: bool = self._values["autostart"]
        self._tried_s = 0.0
        self.finished: int | None = None

    def step(self) -> None:
        """Between two spins: with `autostart`, configure, and activate once that is possible."""
        if not self._autostart or self._steady_s() - self._tried_s < TRY_AGAIN_S:
            return
        self._tried_s = self._steady_s()
        if self._parts is None:
            self.trigger_configure()
        elif self._state_machine.current_state[1] != "inactive":
            self._autostart = False  # an operator is at the wheel
            return
        elif missing := self._missing():
            self._health.set(Reason.MISSING, self._steady_s(), detail=missing)
            return
        else:
            self._autostart = False
            self.trigger_activate()
        if self.failure is not None:
            self.finished = 1

    def stop(self) -> None:
        """Deactivate before the process ends."""
        self.deactivate()

    def on_exception(self, error: Exception) -> None:
        """A callback has raised: no plans until `~/reset`, and the node lives to say so."""
        if self._parts is not None:
            self._parts.loop.callback_failed(error)

    # lifecycle -----------------------------------------------------------------------------------

    def configure(self) -> None:
        """Load and check everything, warm up, and print what this node will do."""
        values = self._values
        try:
            profile = load_profile(values["robot"])
            source = open_policy(values, profile)
            kinematics = Kinematics(profile)
            pipeline = PlanPipeline(refined(source.planner, values["refine"]), profile, kinematics)
            observer = make_observer(source.planner.card, profile, values, kinematics)
        except (CheckpointError, ScriptError, ProfileError, FrameError, OSError) as error:
            raise StartupError(str(error)) from error
        card = source.planner.card
        pipeline.reset(values["seed"])
        mailbox = Mailbox()
        inputs = PolicyInputs(self, observer, self._health, self._steady_s, mailbox.wake)
        outputs = PolicyOutputs(self, card.action, profile.base_frame, self._status)
        loop = PolicyLoop(
            values,
            source,
            pipeline,
            observer,
            _start_gate(source, profile, values),
            self._health,
            mailbox,
            inputs,
            outputs,
            self._clocks,
        )
        self._parts = _Parts(
            mailbox,
            loop,
            PolicyRunner(loop, mailbox),
            inputs,
            GuardInputs(self, mailbox, self._steady_s),
            outputs,
            self.create_service(Trigger, "~/reset", self._on_reset),
        )
        self._status.streams = observer.streams
        wishes = (values["realtime_priority"], values["cpu_affinity"], values["lock_memory"])
        complaints = apply_realtime(*wishes)
        for complaint in complaints:
            self.get_logger().warning(complaint)
        self._health.note(
            sha256=source.sha256[:12], realtime="; ".join(complaints) or "as configured"
        )
        table = summary_table(card, profile, values, inputs.topics(), source)
        outputs.summary(table)
        self.get_logger().info("configured\n" + table)
        leave_memory_alone()

    def activate(self) -> None:
        """Start planning.

        Raises:
            StartupError: No node publishes a stream, or none takes the plans.
        """
        assert self._parts is not None
        if missing := self._missing():
            raise StartupError(missing)
        self._parts.runner.start()

    def deactivate(self) -> None:
        """Stop planning; when this returns no further plan is published."""
        if self._parts is not None:
            self._parts.runner.stop()
        self._health.set(Reason.STOPPED, self._steady_s(), level=Level.OK)
        self._status.publish()

    def cleanup(self) -> None:
        """Free the network and every subscription."""
        parts, self._parts, self._status.streams = self._parts, None, None
        if parts is None:
            return  # never configured
        for part in (parts.inputs, parts.guard, parts.outputs):
            part.close()
        self.destroy_service(parts.reset)
        look_at_memory_again()
        self._health.set(Reason.STOPPED, self._steady_s(), level=Level.OK)

    def _missing(self) -> str:
        """What must be there before this node can be active, in sentences; empty when it is."""
        assert self._parts is not None
        sentences = self._parts.inputs.unpublished()
        no_subscriber = None if self._values["dry_run"] else self._parts.outputs.no_subscriber()
        return "; ".join([*sentences, *([no_subscriber] if no_subscriber else [])])

    # orders --------------------------------------------------------------------------------------

    def _on_change(self, name: str, value: Any) -> None:
        self._values[name] = value
        if self._parts is not None:
            self._parts.mailbox.change(name, value)

    def _on_reset(self, request: Any, response: Any) -> Any:
        assert self._parts is not None
        response.success, response.message = True, self._parts.runner.reset()
        return response

    def _on_jump(self, jump: TimeJump) -> None:
        self._jumped(jump.delta.nanoseconds * 1e-9)

    def _jumped(self, jump_s: float) -> None:
        if self._parts is not None:
            self._parts.inputs.forget()
            self._parts.loop.clock_jumped(f"by {jump_s:+.3f} s")

    # time ----------------------------------------------------------------------------------------

    def _heartbeat(self) -> None:
        self._watch_clock()
        if self._parts is not None:
            self._parts.inputs.take()  # also while a plan takes long
            self._parts.runner.watch()
        if self._status.silent_s() >= SILENT_S:
            self._status.publish()

    def _watch_clock(self) -> None:
        if self._clock_watch is None:
            return
        before_s, now_ns = self._steady_s(), self._now_ns()
        jump_s = self._clock_watch.look(before_s, now_ns, self._steady_s())
        if jump_s is not None:
            self._jumped(jump_s)

    def _now_ns(self) -> int:
        return self.get_clock().now().nanoseconds

    def _steady_s(self) -> float:
        return self._steady.now().nanoseconds * 1e-9


def _start_gate(source: Source, profile: RobotProfile, values: dict[str, Any]) -> StartGate:
    planner, joints = source.planner, profile.arm_joints
    if isinstance(planner, ScriptedPlanner) and planner.start_position is not None:
        tolerance, first = values["start_tolerance_rad"], planner.start_position
        return StartGate(joints, first, tolerance, "recording's first point", after_stops=True)
    return StartGate(joints, profile.home, values["start_pose_tolerance_rad"], "home pose")


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM."""
    return run(PolicyNode, args)


if __name__ == "__main__":
    sys.exit(main())
