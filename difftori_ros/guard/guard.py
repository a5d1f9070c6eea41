# SPDX-License-Identifier: MIT
"""The guard: the last gate before the controllers, and the watchdog that brakes.

A state machine without a clock of its own: data times (`now_ns`, the clock of the message stamps)
and watchdog times (`steady_s`, a clock that cannot be set) are passed in. It trusts nothing in a
plan. `plan_checks` says what a plan must be by itself, `retiming` slows down one that asks too
much, `workspace` says where the arm may be, `continuity_checks` how plans must join, and
`watchdog` how long silence is borne.

It judges at the moment of sending, against what the arm follows at that moment, with inputs newer
than the last break. A break is whatever the plans do not know of: start, reset, resume, the
policy's stop, a brake, a stall of this process, a jump of the clock.
"""

from __future__ import annotations

from difftori_ros.motion.trajectory import Reference
from difftori_ros.robot.profile import RobotProfile
from difftori_ros.types import GuardState, JointState, Level, Reason, Trajectory

from .config import GuardConfig
from .measured_joints import CLOCK_BACK_NS, MeasuredJoints
from .motion_under_way import MotionUnderWay
from .plan_checks import RefusedError
from .plan_judge import PlanJudge
from .soft_start import SoftStart
from .verdict import GuardStatus, Judged, Latched, Verdict
from .watchdog import Watchdog

__all__ = ["Guard", "GuardConfig"]

QUIET_S = 1.0
"""Time without a plan or motion after which the guard says that it waits [s, steady clock]."""


class Guard:
    """Passes valid plans on, refuses the others by name, and brakes when no plan comes."""

    def __init__(self, profile: RobotProfile, config: GuardConfig):
        self._config = config
        self._measured, self._motion = MeasuredJoints(profile), MotionUnderWay(profile)
        self._judge = PlanJudge(profile, config, self._measured, self._motion)
        self._watchdog = Watchdog(config, self._measured, self._motion)
        self._soft_start = SoftStart(config.soft_start_s)
        self._steady_s = self._judged_s = self._slowdown = 0.0
        self._accepted = self._changed = self._refused = 0
        # emergency stop; pause; a new plan may end the brake; the arm holds its pose after one
        self._pressed = self._paused = self._recoverable = self._held = False
        self._break_ns = self._stall_ns = 0  # plans made before the break count no more
        self._state, self._reason = GuardState.INACTIVE, Reason.STOPPED
        self._level, self._detail, self._since_s = Level.OK, "", 0.0

    # orders --------------------------------------------------------------------------------------

    def start(self, now_ns: int) -> None:
        """From INACTIVE: plans are accepted from now on, if they are made from now on."""
        self._paused = False
        if self._state is GuardState.INACTIVE:
            self._break(now_ns)
            self._enter(GuardState.TRACKING, Reason.WAITING, Level.OK)

    def stop(self, now_ns: int, reason: Reason = Reason.STOPPED) -> Trajectory | None:
        """Plans are no longer accepted; returns the braking trajectory if the arm is moving.

        A fault stays a fault: its braking trajectory has been returned before.
        """
        self._paused = self._paused or reason is Reason.PAUSED
        if self._state is GuardState.INACTIVE or self._fault_held:
            return None
        command = None if self._state is GuardState.BRAKE else self._braking(now_ns)
        self._break(now_ns)
        level = Level.OK if reason is Reason.STOPPED else Level.WARN
        self._enter(GuardState.INACTIVE, reason, level)
        return command

    def trip(self, reason: Reason, detail: str, now_ns: int) -> Trajectory | None:
        """A fault from outside; returns the braking trajectory if the arm is moving."""
        if self._fault_held:
            return None  # the first fault is the one that is told
        return self._brake(reason, detail, now_ns)

    def estop(self, pressed: bool, now_ns: int) -> Trajectory | None:
        """The emergency stop is pressed or released; releasing it moves nothing."""
        self._pressed = pressed
        return self.trip(Reason.ESTOP, "", now_ns) if pressed else None

    def reset(self, now_ns: int) -> str | None:
        """Faults are forgotten; the next plan is made from now on and starts where the arm is.

        An arm that is still in motion goes on with that; a pause stays one.

        Returns:
            Why it was refused; None when it was not.
        """
        if self._pressed:
            return "the emergency stop is still pressed: release it first"
        self._break(now_ns)
        self._watchdog.reset()
        if self._paused:
            self._enter(GuardState.INACTIVE, Reason.PAUSED, Level.WARN)
        elif self._state is not GuardState.INACTIVE:
            self._enter(GuardState.TRACKING, Reason.WAITING, Level.OK)
        return None

    def restore(self, latched: Latched) -> None:
        """What an earlier process held is held again."""
        self._paused = latched.paused
        if latched.fault is not None:
            self._enter(GuardState.FAULT, latched.fault, Level.ERROR, latched.detail)
        elif latched.paused:
            self._enter(GuardState.INACTIVE, Reason.PAUSED, Level.WARN)

    # what becomes known --------------------------------------------------------------------------

    def heartbeat(self, steady_s: float) -> None:
        """The policy process is known to have lived at `steady_s`."""
        self._steady_s = steady_s
        self._watchdog.heartbeat(steady_s)

    def policy_stopped(self, now_ns: int) -> Trajectory | None:
        """The policy process says that it has stopped: its silence is no fault from now on.

        Returns the braking trajectory if the arm is moving.
        """
        self._break_ns = now_ns  # plans from before may be on their way
        if not self._watchdog.policy_stopped():
            return None  # it has said so before
        if self._state is GuardState.BRAKE and self._recoverable:
            self._recoverable = False
            self._enter(GuardState.TRACKING, Reason.WAITING, Level.OK)
        return self._braking(now_ns) if self._state.follows_plans else None

    def joints(self, state: JointState, steady_s: float) -> None:
        """The measured joints are known; what does not fit the profile counts as silence."""
        self._steady_s = steady_s
        self._measured.take(state, steady_s)
        if self._measured.arm is not None:
            self._motion.look(self._measured.arm, self._config.continuity_rad)

    def unreadable_joints(self, why: str) -> None:
        """A message with joint states could not be read; that counts as silence."""
        self._measured.unreadable(why)

    def stalled(
        self,
        now_ns: int,
        steady_s: float,
        lasted_s: float,
        arm: Reference | None = None,
        gripper: Reference | None = None,
    ) -> tuple[Trajectory, ...]:
        """This process has stood still until now: what it remembers and finds is from before.

        Plans made meanwhile are built upon lost ones, and joint states lie in its queues. Whose
        silence it was is not known: patience begins anew. The arm has gone on by itself.

        Args:
            now_ns: The present time [ns].
            steady_s: The same on the steady clock [s].
            lasted_s: How long it stood still [s].
            arm: Where a streamed controller of the arm has stayed instead, if it was being fed.
            gripper: The same of the gripper's.

        Returns:
            What brakes such controllers, to be sent at once.
        """
        self._steady_s, self._break_ns, self._stall_ns = steady_s, now_ns, now_ns
        self._measured.forget(now_ns, steady_s, lasted_s)
        self._watchdog.stalled(steady_s)
        detail = f"for {lasted_s:.2f} s"
        hands = () if gripper is None else (self._motion.hold_gripper(gripper.position, now_ns),)
        if arm is None and self._state.follows_plans:
            self._enter(self._state, Reason.STALLED, Level.WARN, detail)
        if arm is None:
            return hands
        brake = self._motion.brake_from(arm, now_ns)
        self._motion.sent()
        if self._state.follows_plans:
            self._wait_for_plans(Reason.STALLED, detail)
        return brake, *hands

    def clock_jumped(self, now_ns: int, step_ns: int) -> None:
        """The clock of the stamps was set by `step_ns` [ns]: the arm goes on as before."""
        self._motion.shift(step_ns)
        since_ns = self._measured.shift(now_ns, step_ns)
        self._clock_is_another(since_ns, f"by {step_ns * 1e-9:+.3f} s")

    def put_off(self, arm_ns: int, gripper_ns: int) -> Trajectory | None:
        """Streamed motions go on that much later than they were to [ns]; returns the arm's."""
        return self._motion.put_off(arm_ns, gripper_ns)

    # plans ---------------------------------------------------------------------------------------

    def check(self, plan: Trajectory, now_ns: int) -> Verdict:
        """All three steps at once, for a plan that is sent at `now_ns`."""
        judged = self.judge(plan, now_ns)
        return self.settle(judged, now_ns, self.joins(judged, now_ns))

    def judge(self, plan: Trajectory, now_ns: int) -> Judged:
        """The plan by itself, which takes time; never raises, and nothing has become of it yet."""
        self._watch_clock(now_ns)
        try:
            self._require_control()
            rate = self._soft_start.rate(self._steady_s)
            return self._judge.judge(plan, now_ns, self._break_ns, rate)
        except RefusedError as refusal:
            return Judged(None, 0.0, refusal.detail, refusal.reason)

    def joins(self, judged: Judged, now_ns: int) -> RefusedError | None:
        """Why the plan does not join what the arm follows at `now_ns`; None when it does.

        To be asked right before it is sent, and nothing has become of it yet.
        """
        self._watch_clock(now_ns)
        try:
            self._require_control()
            self._judge.join(judged, now_ns, self._break_ns)
        except RefusedError as refusal:
            return refusal
        return None

    def settle(self, judged: Judged, now_ns: int, refusal: RefusedError | None) -> Verdict:
        """The plan was sent at `now_ns` and is the motion under way, or it is refused."""
        self._judged_s = self._steady_s
        plan = judged.plan
        if plan is None or refusal is not None:
            refusal = refusal or RefusedError(judged.reason, judged.detail)
            self._refused += 1
            if self._state.follows_plans:
                self._watchdog.refused(refusal.reason, refusal.detail)
                self._enter(self._state, refusal.reason, Level.WARN, refusal.detail)
            return Verdict(False, refusal.reason, refusal.detail)
        self._accepted += 1
        self._slowdown = judged.slowdown
        self._motion.follow(*judged.channels)
        soft = self._soft_start.rate(self._steady_s) < 1.0
        self._watchdog.accepted(self._steady_s, judged.slowdown, soft, judged.detail)
        if self._state is GuardState.BRAKE:
            self._watchdog.recovered(self._steady_s)
        self._recoverable = False
        level = Level.WARN if judged.detail else Level.OK
        self._enter(GuardState.TRACKING, judged.reason, level, judged.detail)
        if judged.detail:
            self._changed += 1
            return Verdict(True, judged.reason, judged.detail, judged.channels, plan)
        detail = f"at rest {(plan.end_ns - now_ns) * 1e-9:.2f} s from now"
        changed = plan if judged.late_s else None
        return Verdict(True, Reason.OK, detail, judged.channels, changed)

    # time ----------------------------------------------------------------------------------------

    def tick(self, now_ns: int, steady_s: float) -> Trajectory | None:
        """The watchdog, to be called often; returns what must go out to the arm, if anything.

        That is the braking trajectory, and at its end one that holds the measured pose.
        """
        self._steady_s = steady_s
        self._watch_clock(now_ns)
        moving = self._motion.moving(now_ns)
        if self._state is GuardState.BRAKE:
            return self._watch_brake(now_ns, moving)
        if not self._state.follows_plans:
            return None
        fault = self._watchdog.fault(moving, steady_s)
        if fault is not None:
            return self._brake(*fault, now_ns)
        age_s = self._motion.age_s(now_ns) if moving else 0.0
        idle_s = 0.0 if moving else steady_s - self._judged_s
        late_s = age_s - self._config.coast_after_s
        if late_s > self._config.coast_s:
            stalled = age_s > (now_ns - self._stall_ns) * 1e-9
            reason = Reason.STALLED if stalled else Reason.PLANS_LOST
            self._wait_for_plans(reason, f"none for {age_s:.2f} s")
            return self._braking(now_ns)
        if late_s > 0:
            detail = f"the inputs of the last plan are {age_s:.2f} s old"
            self._enter(GuardState.COAST, Reason.PLANS_LATE, Level.WARN, detail)
        elif (silence := self._watchdog.joints_silent(steady_s)) is not None:
            self._enter(GuardState.TRACKING, Reason.JOINT_STATES_LOST, Level.WARN, silence)
        elif self._state is GuardState.COAST or idle_s > QUIET_S:
            self._enter(GuardState.TRACKING, Reason.WAITING, Level.OK)
        return None

    def again(self, now_ns: int) -> Trajectory | None:
        """The command that was made last has not been sent in time: the one for `now_ns`, if any.

        The arm has gone on with what it followed before.
        """
        self._motion.take_back()
        self._held = False
        return self._braking(now_ns)

    # what it says --------------------------------------------------------------------------------

    @property
    def latched(self) -> Latched | None:
        """What is held until a reset or resume."""
        if self._fault_held:
            return Latched(self._reason, self._detail, self._paused)
        return Latched(None, paused=True) if self._paused else None

    def rests_in_s(self, now_ns: int) -> float:
        """Time until the arm has come to rest, as far as is known [s]."""
        return 0.0 if not (arm := self._motion.arm) else max(0.0, (arm.end_ns - now_ns) * 1e-9)

    @property
    def status(self) -> GuardStatus:
        """What `~/status` says."""
        said = self._state, self._reason, self._level, self._detail, self._since_s
        return GuardStatus(*said, self._accepted, self._changed, self._refused, self._slowdown)

    @property
    def _fault_held(self) -> bool:
        braked_for_good = self._state is GuardState.BRAKE and not self._recoverable
        return braked_for_good or self._state is GuardState.FAULT

    # within --------------------------------------------------------------------------------------

    def _require_control(self) -> None:
        if self._state is GuardState.INACTIVE:
            raise RefusedError(self._reason, "the guard is not active")
        if self._fault_held:
            raise RefusedError(Reason.FAULT_LATCHED, f"{self._reason.name}: {self._detail}")

    def _watch_clock(self, now_ns: int) -> None:
        """A motion from a time that has not come yet is from before the clock went back."""
        self._measured.clock_is(now_ns)
        if now_ns < self._break_ns - CLOCK_BACK_NS:
            self._break_ns = now_ns
        arm = self._motion.arm
        if arm is not None and now_ns < arm.stamp_ns - CLOCK_BACK_NS:
            self._motion.forget()
            self._clock_is_another(now_ns, "what was under way is forgotten")

    def _clock_is_another(self, since_ns: int, detail: str) -> None:
        self._break_ns = since_ns
        if self._state.follows_plans:
            self._enter(GuardState.TRACKING, Reason.CLOCK_JUMPED, Level.WARN, detail)

    def _wait_for_plans(self, reason: Reason, detail: str) -> None:
        """The arm brakes; a new plan may take over, though not again and again."""
        times = self._watchdog.recoveries(self._steady_s)
        self._recoverable, self._held = times < self._config.max_recoveries, False
        if not self._recoverable:
            detail += f", {times + 1} times in a minute"
        self._enter(GuardState.BRAKE, reason, Level.ERROR, detail)

    def _watch_brake(self, now_ns: int, moving: bool) -> Trajectory | None:
        """At the end of braking hold the measured pose; without recovery it becomes a fault."""
        lost = self._watchdog.policy_lost(self._steady_s)
        if self._recoverable and lost is not None:
            self._recoverable = False
            self._enter(GuardState.BRAKE, lost[0], Level.ERROR, lost[1])
        if moving:
            return None
        blind = self._watchdog.joints_silent(self._steady_s) is not None
        command, measured = None, self._measured.arm
        if not self._held and not blind and measured and self._watchdog.seen_at_rest():
            command = self._motion.hold(measured, now_ns, self._config.continuity_rad)
            self._held = True
        waited_s = self._steady_s - self._since_s
        done = not self._recoverable and (self._held or blind)
        if done or waited_s > self._config.recover_s:
            self._enter(GuardState.FAULT, self._reason, Level.ERROR, self._detail)
        return command

    def _brake(self, reason: Reason, detail: str, now_ns: int) -> Trajectory | None:
        command = self._braking(now_ns)
        self._recoverable, self._held = False, False
        state = GuardState.BRAKE if command else GuardState.FAULT
        self._enter(state, reason, Level.ERROR, detail)
        return command

    def _braking(self, now_ns: int) -> Trajectory | None:
        """The braking trajectory, now the motion under way; None when nothing was under way."""
        if (command := self._motion.brake(now_ns)) is not None:
            self._break_ns = now_ns
        return command

    def _break(self, now_ns: int) -> None:
        """What is made from now on counts; a motion that is under way goes on by itself."""
        self._break_ns = now_ns
        self._motion.doubt(now_ns)
        self._watchdog.begin()
        self._soft_start.begin()
        self._slowdown = 0.0
        self._recoverable, self._held = False, False

    def _enter(self, state: GuardState, reason: Reason, level: Level, detail: str = "") -> None:
        if (state, reason) != (self._state, self._reason):
            self._since_s = self._steady_s
        self._state, self._reason, self._level, self._detail = state, reason, level, detail
