# SPDX-License-Identifier: MIT
# pyright: strict
"""The guard: the last gate before the controllers, and the watchdog that brakes.

A state machine without a clock of its own: data times (`now_ns`, the clock of the message stamps)
and watchdog times (`steady_s`, a clock that nobody can set) are passed in. It trusts nothing in a
plan. What a plan must be by itself is in `plan_check`, how one that asks too much is saved in
`scaling`, where the arm may be in `workspace`, how plans must join in `join_check`.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from difftori_ros.guard_config import GuardConfig
from difftori_ros.join_check import JoinCheck
from difftori_ros.plan_check import PlanCheck, RefusedError
from difftori_ros.robot import RobotProfile
from difftori_ros.scaling import fit
from difftori_ros.timing import brake, hold, reference_at, split
from difftori_ros.types import JointState, Level, Reason, Trajectory
from difftori_ros.verdict import State, Status, Verdict
from difftori_ros.workspace import Workspace

__all__ = ["Guard", "GuardConfig", "State", "Status", "Verdict"]

QUIET_S = 1.0
"""Time without a plan or motion after which the guard says that it waits [s, steady clock]."""

MINUTE_S = 60.0
"""Time in which brakes are counted that a new plan has ended [s]."""

JUMP_NS = 200_000_000
"""By how much a clock must go back to count as another one [ns]."""

SOFTEST = 0.2
"""Rate at which plans run right after a soft start [1]."""


class Guard:
    """Passes valid plans on, refuses the others by name, and brakes when nobody is in control."""

    def __init__(self, profile: RobotProfile, config: GuardConfig):
        self._profile, self._config = profile, config
        self._plan_check, self._workspace = PlanCheck(profile, config), Workspace(profile, config)
        self._join_check = JoinCheck(config)
        self._steady_s = self._judged_s = self._measured_s = 0.0
        self._accepted = self._changed = self._refused = 0
        self._measured: JointState | None = None
        self._joint_problem = ""
        self._pressed = False
        self._recoveries: deque[float] = deque()
        self._state, self._reason = State.INACTIVE, Reason.STOPPED
        self._level, self._detail, self._since_s = Level.OK, "", 0.0
        self._forget()

    def start(self) -> None:
        """From INACTIVE: plans are accepted from now on."""
        if self._state is State.INACTIVE:
            self._forget()
            self._enter(State.TRACKING, Reason.WAITING, Level.OK)

    def stop(self, now_ns: int, reason: Reason = Reason.STOPPED) -> Trajectory | None:
        """Plans are no longer accepted; returns the braking trajectory if the arm is moving.

        A fault stays a fault: its braking trajectory has been returned before.
        """
        if self._state not in (State.TRACKING, State.COAST):
            return None
        command = self._braking(now_ns)
        self._forget()
        level = Level.OK if reason is Reason.STOPPED else Level.WARN
        self._enter(State.INACTIVE, reason, level)
        return command

    def trip(self, reason: Reason, detail: str, now_ns: int) -> Trajectory | None:
        """A fault from outside; returns the braking trajectory if the arm is moving."""
        if self._state is State.FAULT or (self._state is State.BRAKE and not self._recoverable):
            return None  # the first fault is the one that is told
        return self._brake(reason, detail, now_ns)

    def estop(self, pressed: bool, now_ns: int) -> Trajectory | None:
        """The emergency stop is pressed or released; releasing it moves nothing."""
        self._pressed = pressed
        return self.trip(Reason.ESTOP, "", now_ns) if pressed else None

    def reset(self) -> str | None:
        """Faults and the motion under way are forgotten; the next plan starts where the arm is.

        Returns:
            Why it was refused; None when it was not.
        """
        if self._pressed:
            return "the emergency stop is still pressed: release it first"
        self._forget()
        self._recoveries.clear()
        if self._state is not State.INACTIVE:
            self._enter(State.TRACKING, Reason.WAITING, Level.OK)
        return None

    def heartbeat(self, steady_s: float) -> None:
        """The policy process is known to have lived at `steady_s`."""
        self._steady_s = self._heartbeat_s = steady_s

    def farewell(self, now_ns: int) -> Trajectory | None:
        """The policy process says that it has stopped: its silence is no fault from now on.

        Returns the braking trajectory if the arm is moving.
        """
        if self._heartbeat_s is None:
            return None  # it has said so before
        self._heartbeat_s, self._slow_since_s = None, None
        if self._state is State.BRAKE and self._recoverable:
            self._recoverable = False
            self._enter(State.TRACKING, Reason.WAITING, Level.OK)
        return self._braking(now_ns) if self._state in (State.TRACKING, State.COAST) else None

    def joints(self, state: JointState, steady_s: float) -> None:
        """The measured joints are known; what does not fit the profile counts as silence."""
        self._steady_s = steady_s
        arm = self._profile.arm_joints
        missing = [name for name in arm if name not in state.names]
        if missing:
            self._joint_problem = f"joint {missing[0]} is missing from the last ones"
            return
        if not state.position.shape == state.velocity.shape == (len(state.names),):
            self._joint_problem = "the last ones lack positions or velocities"
            return
        index = [state.names.index(name) for name in arm]
        position, velocity = state.position[index], state.velocity[index]
        if not (np.isfinite(position).all() and np.isfinite(velocity).all()):
            self._joint_problem = "the last ones are not finite"
            return
        self._measured = JointState(state.stamp_ns, arm, position, velocity)
        self._measured_s, self._joint_problem = steady_s, ""

    def unreadable_joints(self, why: str) -> None:
        """A message with joint states could not be read; that counts as silence."""
        self._joint_problem = why

    def check(self, plan: Trajectory, now_ns: int) -> Verdict:
        """The plan has become the motion under way, or is refused; never raises."""
        self._judged_s = self._steady_s
        self._watch_clock(now_ns)
        try:
            self._require_control()
            plan = self._plan_check.check(plan, now_ns)
            self._join_check.ages(plan, now_ns, self._measured)
            join_ns = now_ns if self._moving(now_ns) else plan.stamp_ns
            fitted = fit(plan, join_ns, self._limits, self._soft_rate())
            arm = split(fitted.plan, self._profile.arm_joints)
            self._join_check.start(arm, now_ns, self._measured, self._running)
        except RefusedError as refusal:
            self._refused += 1
            if self._state in (State.TRACKING, State.COAST):
                self._in_a_row += 1
                self._enter(self._state, refusal.reason, Level.WARN, refusal.detail)
            return Verdict(False, refusal.reason, refusal.detail)
        self._accepted += 1
        self._in_a_row, self._running, self._amount = 0, arm, fitted.amount
        self._heartbeat_s = self._steady_s  # a plan is a sign of life
        if self._state is State.BRAKE:
            self._recoveries.append(self._steady_s)
        self._recoverable = False
        self._count_slowdown(soft=self._soft_rate() < 1.0)
        rest = plan.joint_names[len(arm.joint_names) :]
        channels = (arm, split(fitted.plan, rest)) if rest else (arm,)
        if fitted.detail:
            self._changed += 1
            self._enter(State.TRACKING, Reason.GUARD_ACTIVE, Level.WARN, fitted.detail)
            return Verdict(True, Reason.GUARD_ACTIVE, fitted.detail, channels, fitted.plan)
        self._enter(State.TRACKING, Reason.OK, Level.OK)
        detail = f"at rest {(plan.end_ns - now_ns) * 1e-9:.2f} s from now"
        return Verdict(True, Reason.OK, detail, channels)

    def tick(self, now_ns: int, steady_s: float) -> Trajectory | None:
        """The watchdog, to be called often; returns what must go out to the arm, if anything.

        That is the braking trajectory, and at its end one that holds the measured pose.
        """
        self._steady_s = steady_s
        self._watch_clock(now_ns)
        moving = self._moving(now_ns)
        if self._state is State.BRAKE:
            return self._watch_brake(now_ns, moving)
        if self._state not in (State.TRACKING, State.COAST):
            return None
        fault = self._fault(moving, steady_s)
        if fault is not None:
            return self._brake(*fault, now_ns)
        late_s = self._late_s(now_ns) if moving else 0.0
        if late_s > self._config.coast_s:
            return self._give_up_waiting(late_s, now_ns)
        if late_s > 0:
            detail = (
                f"the inputs of the last plan are {self._config.coast_after_s + late_s:.2f} s old"
            )
            self._enter(State.COAST, Reason.PLANS_LATE, Level.WARN, detail)
        elif self._state is State.COAST or (not moving and steady_s - self._judged_s > QUIET_S):
            self._enter(State.TRACKING, Reason.WAITING, Level.OK)
        return None

    @property
    def status(self) -> Status:
        """What `~/status` says."""
        return Status(
            self._state,
            self._reason,
            self._level,
            self._detail,
            self._since_s,
            self._accepted,
            self._changed,
            self._refused,
            self._amount,
        )

    def _require_control(self) -> None:
        if self._state is State.INACTIVE:
            raise RefusedError(self._reason, "the guard is not active")
        latched = self._state is State.BRAKE and not self._recoverable
        if self._state is State.FAULT or latched:
            raise RefusedError(Reason.FAULT_LATCHED, f"{self._reason.name}: {self._detail}")

    def _limits(self, plan: Trajectory) -> None:
        self._plan_check.limits(plan)
        self._workspace.check(plan)

    def _watch_clock(self, now_ns: int) -> None:
        """A motion from a time that has not come yet is from before the clock jumped back."""
        if self._running is None or now_ns >= self._running.stamp_ns - JUMP_NS:
            return
        self._running = None
        if self._state in (State.TRACKING, State.COAST):
            detail = "what was under way is forgotten"
            self._enter(State.TRACKING, Reason.CLOCK_JUMPED, Level.WARN, detail)

    def _moving(self, now_ns: int) -> bool:
        return self._running is not None and now_ns < self._running.end_ns

    def _soft_rate(self) -> float:
        """Rate at which plans may run [1]: it rises for a while after the start."""
        length_s = self._config.soft_start_s
        if self._started_s is None:
            self._started_s = self._steady_s
        passed_s = self._steady_s - self._started_s
        return 1.0 if passed_s >= length_s else SOFTEST + (1 - SOFTEST) * passed_s / length_s

    def _count_slowdown(self, soft: bool) -> None:
        if self._amount <= self._config.max_slowdown or soft:
            self._slow_since_s = None
        elif self._slow_since_s is None:
            self._slow_since_s = self._steady_s

    def _fault(self, moving: bool, steady_s: float) -> tuple[Reason, str] | None:
        """Why the arm must brake now, if it must."""
        config = self._config
        if (lost := self._policy_lost()) is not None:
            return lost
        lag = self._lag() if moving else None
        if lag is not None:
            return Reason.NOT_FOLLOWING, lag
        silent_s = steady_s - self._measured_s
        if moving and silent_s > config.joint_timeout_s:
            detail = f"no usable joint states for {silent_s:.2f} s"
            if self._joint_problem:
                return Reason.BAD_JOINT_STATE, f"{detail}: {self._joint_problem}"
            return Reason.JOINT_STATES_LOST, detail
        if self._in_a_row >= config.max_refusals:
            return self._reason, f"{self._in_a_row} plans in a row refused, last: {self._detail}"
        if self._slow_since_s is not None:
            slow_s = steady_s - self._slow_since_s
            if slow_s > config.slowdown_timeout_s:
                detail = f"by more than {config.max_slowdown:.0%} for {slow_s:.2f} s, last: "
                return Reason.GUARD_ACTIVE, detail + self._detail
        return None

    def _policy_lost(self) -> tuple[Reason, str] | None:
        if self._heartbeat_s is None:
            return None
        silent_s = self._steady_s - self._heartbeat_s
        if silent_s <= self._config.heartbeat_timeout_s:
            return None
        return Reason.POLICY_LOST, f"no sign of life for {silent_s:.2f} s"

    def _lag(self) -> str | None:
        """By how much the arm is away from the motion under way, if that is too much."""
        running, measured = self._running, self._measured
        if running is None or measured is None or measured.stamp_ns < running.stamp_ns:
            return None
        wanted, _ = running.sample(measured.stamp_ns)
        gap = np.abs(wanted - measured.position)
        k = int(np.argmax(gap))
        if gap[k] <= self._config.follow_tolerance_rad:
            return None
        joint, limit = running.joint_names[k], self._config.follow_tolerance_rad
        return f"{joint} is {gap[k]:.3f} rad away, allowed are {limit:g} rad"

    def _late_s(self, now_ns: int) -> float:
        """By how much the plan under way is older than it should be [s]."""
        assert self._running is not None
        return (now_ns - self._running.stamp_ns) * 1e-9 - self._config.coast_after_s

    def _give_up_waiting(self, late_s: float, now_ns: int) -> Trajectory | None:
        """Brake for want of plans; a new one may take over, though not again and again."""
        while self._recoveries and self._steady_s - self._recoveries[0] > MINUTE_S:
            self._recoveries.popleft()
        times = len(self._recoveries)
        detail = f"none for {late_s + self._config.coast_after_s:.2f} s"
        if times >= self._config.max_recoveries:
            detail += f", the {times + 1}th time in a minute"
        command = self._brake(Reason.PLANS_LOST, detail, now_ns)
        self._recoverable = times < self._config.max_recoveries
        return command

    def _watch_brake(self, now_ns: int, moving: bool) -> Trajectory | None:
        """At the end of braking hold the measured pose; without recovery it becomes a fault."""
        if self._recoverable and (lost := self._policy_lost()) is not None:
            self._recoverable = False
            self._enter(State.BRAKE, lost[0], Level.ERROR, lost[1])
        if moving:
            return None
        command = self._hold(now_ns) if not self._held else None
        self._held = True
        waited_s = self._steady_s - self._since_s
        if not self._recoverable or waited_s > self._config.recover_s:
            self._enter(State.FAULT, self._reason, Level.ERROR, self._detail)
        return command

    def _hold(self, now_ns: int) -> Trajectory | None:
        """Stay at the measured pose, where that is known and within reach of the limits."""
        measured = self._measured
        if measured is None or self._steady_s - self._measured_s > self._config.joint_timeout_s:
            return None
        here = np.clip(measured.position, self._profile.lower, self._profile.upper)
        if np.abs(here - measured.position).max() > self._config.start_tolerance_rad:
            return None
        return hold(self._profile.arm_joints, now_ns, here, now_ns)

    def _brake(self, reason: Reason, detail: str, now_ns: int) -> Trajectory | None:
        command = self._braking(now_ns)
        self._recoverable, self._held = False, False
        state = State.BRAKE if command else State.FAULT
        self._enter(state, reason, Level.ERROR, detail)
        return command

    def _braking(self, now_ns: int) -> Trajectory | None:
        """The braking trajectory, now the motion under way; None when nothing was under way."""
        if self._running is None or not self._moving(now_ns):
            return None
        here = reference_at(self._running, now_ns)
        self._running = brake(self._profile, now_ns, here, now_ns)
        return self._running

    def _forget(self) -> None:
        self._running: Trajectory | None = None
        self._heartbeat_s: float | None = None
        self._started_s: float | None = None
        self._slow_since_s: float | None = None
        self._in_a_row, self._amount = 0, 0.0
        self._recoverable, self._held = False, False

    def _enter(self, state: State, reason: Reason, level: Level, detail: str = "") -> None:
        if (state, reason) != (self._state, self._reason):
            self._since_s = self._steady_s
        self._state, self._reason, self._level, self._detail = state, reason, level, detail
