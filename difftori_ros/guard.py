# SPDX-License-Identifier: MIT
"""The guard: the last gate before the controllers, and the watchdog that brakes.

A state machine without a clock of its own: data times (`now_ns`, the clock of the message stamps)
and watchdog times (`steady_s`, a clock that nobody can set) are passed in. It trusts nothing in a
plan. The checks of a plan by itself are in `plan_check`; here are those against the arm's motion.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from difftori_models.contract import FloatArray
from difftori_ros.plan_check import GuardConfig, PlanCheck, RefusedError
from difftori_ros.robot import RobotProfile
from difftori_ros.timing import brake, reference_at, split
from difftori_ros.types import JointState, Level, Reason, Trajectory

__all__ = ["Guard", "GuardConfig", "State", "Status", "Verdict"]

QUIET_S = 1.0
"""Time without a plan or motion after which the guard says that it waits [s, steady clock]."""

FUTURE_S = 0.05
"""How far in the future a plan's stamp or start may lie [s]: clocks of two machines disagree."""


class State(Enum):
    """What the guard is doing."""

    INACTIVE = "nothing is commanded"
    TRACKING = "valid plans are passed on"
    BRAKE = "the arm brakes to rest"
    FAULT = "the arm rests until ~/reset is called"


@dataclass(frozen=True)
class Verdict:
    """What became of a plan.

    Attributes:
        accepted: True when it may be executed.
        reason: OK, or why not.
        detail: One sentence with numbers.
        channels: What goes to the controllers: the arm's part, then the gripper's if there is one.
    """

    accepted: bool
    reason: Reason
    detail: str
    channels: tuple[Trajectory, ...] = ()


@dataclass(frozen=True)
class Status:
    """The guard's state, why and since when [s, steady clock] it holds, and the plans judged."""

    state: State
    reason: Reason
    level: Level
    detail: str
    since_steady_s: float
    accepted: int
    refused: int


class Guard:
    """Passes valid plans on, refuses the others by name, and brakes when nobody is in control."""

    def __init__(self, profile: RobotProfile, config: GuardConfig):
        self._profile, self._config = profile, config
        self._plan_check = PlanCheck(profile, config)
        self._steady_s = self._judged_s = 0.0
        self._accepted = self._refused = 0
        self._measured: JointState | None = None
        self._measured_s = 0.0
        self._joint_problem = ""
        self._state, self._reason = State.INACTIVE, Reason.STOPPED
        self._level, self._detail, self._since_s = Level.OK, "", 0.0
        self._forget()

    def start(self) -> None:
        """From INACTIVE: plans are accepted from now on."""
        if self._state is State.INACTIVE:
            self._enter(State.TRACKING, Reason.WAITING, Level.OK)

    def stop(self, now_ns: int) -> Trajectory | None:
        """Plans are no longer accepted; returns the braking trajectory if the arm is moving.

        A fault stays a fault: its braking trajectory has been returned before.
        """
        if self._state is not State.TRACKING:
            return None
        command = self._braking(now_ns)
        self._forget()
        self._enter(State.INACTIVE, Reason.STOPPED, Level.OK)
        return command

    def reset(self, now_ns: int) -> None:
        """Faults and the motion under way are forgotten; the next plan starts where the arm is.

        Args:
            now_ns: The time of the reset; nothing that is kept depends on it.
        """
        del now_ns
        self._forget()
        if self._state is not State.INACTIVE:
            self._enter(State.TRACKING, Reason.WAITING, Level.OK)

    def heartbeat(self, steady_s: float) -> None:
        """The policy process is known to have lived at `steady_s`."""
        self._steady_s = self._heartbeat_s = steady_s

    def farewell(self) -> None:
        """The policy process says that it has stopped: silence of a resting arm is no fault."""
        self._heartbeat_s = None

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

    def check(self, plan: Trajectory, now_ns: int) -> Verdict:
        """The plan has become the motion under way, or is refused; never raises."""
        self._judged_s = self._steady_s
        try:
            if self._state is State.INACTIVE:
                raise RefusedError(Reason.STOPPED, "the guard is not active")
            if self._state is not State.TRACKING:
                raise RefusedError(Reason.FAULT_LATCHED, f"{self._reason.name}: {self._detail}")
            plan = self._plan_check.check(plan, now_ns)
            arm = split(plan, self._profile.arm_joints)
            self._check_ages(arm, now_ns)
            self._check_start(arm, now_ns)
        except RefusedError as refusal:
            self._refused += 1
            if self._state is State.TRACKING:
                self._in_a_row += 1
                self._enter(self._state, refusal.reason, Level.WARN, refusal.detail)
            return Verdict(False, refusal.reason, refusal.detail)
        self._accepted += 1
        self._in_a_row, self._running = 0, arm
        self._enter(self._state, Reason.OK, Level.OK)
        rest = plan.joint_names[len(arm.joint_names) :]
        channels = (arm, split(plan, rest)) if rest else (arm,)
        detail = f"at rest {(plan.end_ns - now_ns) * 1e-9:.2f} s from now"
        return Verdict(True, Reason.OK, detail, channels)

    def tick(self, now_ns: int, steady_s: float) -> Trajectory | None:
        """The watchdog, to be called often; returns the braking trajectory if it must go out."""
        self._steady_s = steady_s
        moving = self._running is not None and now_ns < self._running.end_ns
        if self._state is State.BRAKE and not moving:
            self._enter(State.FAULT, self._reason, Level.ERROR, self._detail)
        if self._state is not State.TRACKING:
            return None
        if moving and self._heartbeat_s is None:  # a plan is a sign of life
            self._heartbeat_s = steady_s
        fault = self._fault(moving, steady_s)
        if fault is None:
            if not moving and steady_s - self._judged_s > QUIET_S:
                self._enter(State.TRACKING, Reason.WAITING, Level.OK)
            return None
        command = self._braking(now_ns)
        self._enter(State.BRAKE if command else State.FAULT, fault[0], Level.ERROR, fault[1])
        return command

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
            self._refused,
        )

    def _check_ages(self, arm: Trajectory, now_ns: int) -> None:
        config, measured = self._config, self._measured
        age_s = (now_ns - arm.stamp_ns) * 1e-9
        if not -FUTURE_S <= age_s <= config.max_plan_age_s:
            detail = f"made from inputs {age_s:.3f} s old, allowed are {config.max_plan_age_s:g} s"
            raise RefusedError(Reason.STALE_PLAN, detail)
        ahead_s = float(arm.times[0]) - age_s
        if ahead_s > FUTURE_S:
            raise RefusedError(Reason.BAD_TIMES, f"starts {ahead_s:.3f} s in the future")
        if measured is None:
            raise RefusedError(Reason.START_MISMATCH, "there are no joint states to compare with")
        age_s = (now_ns - measured.stamp_ns) * 1e-9
        if age_s > config.max_joint_age_s:
            detail = (
                f"joint states are {age_s:.3f} s old, allowed are {config.max_joint_age_s:g} s"
            )
            raise RefusedError(Reason.START_MISMATCH, detail)

    def _check_start(self, arm: Trajectory, now_ns: int) -> None:
        config, measured, running = self._config, self._measured, self._running
        assert measured is not None  # _check_ages
        start_ns = arm.stamp_ns + round(float(arm.times[0]) * 1e9)
        reason = Reason.START_MISMATCH
        position, _ = arm.sample(max(start_ns, measured.stamp_ns))
        _near(reason, arm, position, measured.position, config.start_tolerance_rad, "rad")
        join_ns = max(start_ns, now_ns)
        if running is None or join_ns >= running.end_ns:
            tolerance = config.start_tolerance_rad_s
            _near(reason, arm, arm.velocities[0], measured.velocity, tolerance, "rad/s")
            return
        reason = Reason.DISCONTINUOUS
        position, velocity = arm.sample(join_ns)
        was_at, was_moving = running.sample(join_ns)
        _near(reason, arm, position, was_at, config.continuity_rad, "rad")
        _near(reason, arm, velocity, was_moving, config.continuity_rad_s, "rad/s")

    def _fault(self, moving: bool, steady_s: float) -> tuple[Reason, str] | None:
        """Why the arm must brake now, if it must."""
        config = self._config
        if self._heartbeat_s is not None:
            silent_s = steady_s - self._heartbeat_s
            if silent_s > config.heartbeat_timeout_s:
                return Reason.POLICY_LOST, f"no sign of life for {silent_s:.2f} s"
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
        return None

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

    def _braking(self, now_ns: int) -> Trajectory | None:
        """The braking trajectory, now the motion under way; None when nothing was under way."""
        if self._running is None or now_ns >= self._running.end_ns:
            return None
        here = reference_at(self._running, now_ns)
        self._running = brake(self._profile, now_ns, here, now_ns)
        return self._running

    def _forget(self) -> None:
        self._running: Trajectory | None = None
        self._heartbeat_s: float | None = None
        self._in_a_row = 0

    def _enter(self, state: State, reason: Reason, level: Level, detail: str = "") -> None:
        if (state, reason) != (self._state, self._reason):
            self._since_s = self._steady_s
        self._state, self._reason, self._level, self._detail = state, reason, level, detail


def _near(
    reason: Reason, arm: Trajectory, a: FloatArray, b: FloatArray, limit: float, unit: str
) -> None:
    gap = np.abs(a - b)
    k = int(np.argmax(gap))
    if gap[k] > limit:
        detail = f"{arm.joint_names[k]} at {a[k]:.4f} instead of {b[k]:.4f} {unit}"
        raise RefusedError(reason, f"{detail}, allowed are {limit:g} {unit}")
