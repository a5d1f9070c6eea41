# SPDX-License-Identifier: MIT
"""The promises P1 to P4, judged in the moment in which the guard publishes.

What counts is what an arm that follows exactly is on its way to do at that moment, by everything
that was published before.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from difftori_ros.status.guard_report import GuardReport
from difftori_ros.types import GuardState, Reason, Trajectory
from tests.support.promises import assert_valid
from tests.support.virtual.arm import Followed, start_ns
from tests.support.virtual.clock import BEGIN_NS, MS

if TYPE_CHECKING:
    from tests.support.virtual.world import World

STEP_RAD = 0.02
"""Greatest step in position [rad]."""
STEP_RAD_S, START_RAD_S = 0.3, 0.5
"""Greatest step in velocity in motion, and out of rest [rad/s]."""
GRIPPER_STEP, GRIPPER_LAG_S = 0.1, 0.075
"""The gripper's greatest step: that share of its stroke, and what it may lag behind."""
AGE_S = 0.5
"""Oldest inputs of a plan when it is published [s]."""
REST_S = 0.3 + 0.05 + 0.5
"""Horizon of the planner here, one action to come to rest, longest braking [s] (P3)."""
SLOWED_S = 10.0
"""The same of a plan that the guard has slowed down along its path: its longest duration [s]."""
SET_S = 0.031
"""Streamed sets may be as far apart as the arm gets in this time at its greatest speed [s]: one
and a half of the guard's periods, and what it takes from the clock to the write."""
TWIN_NS = 1_200 * MS
"""Time in which two guards find each other: two looks around, and what discovery takes [ns]."""
ROUNDING = 1e-9


@dataclass
class Breach:
    """A promise that was broken: which, when [ms after the beginning], and how."""

    promise: str
    at_ms: float
    text: str


@dataclass
class Tally:
    """What one run came to.

    Attributes:
        breaches: Promises that were broken.
        accepted: Plans that were passed on.
        refused: Plans that were not.
        commands: Commands that were published.
        unclosed: Commands not judged, for the process was stopped or kept waiting while it wrote
            them; no process can do anything about that.
        worst_rad: Greatest step in position of the others [rad].
        worst_rad_s: Greatest step in velocity of the others, in motion [rad/s].
    """

    breaches: list[Breach] = field(default_factory=list)
    accepted: int = 0
    refused: int = 0
    commands: int = 0
    unclosed: int = 0
    worst_rad: float = 0.0
    worst_rad_s: float = 0.0


@dataclass
class Held:
    """What holds one guard: a latched fault and since when, a pause, and the last break [ns]."""

    latched: str = ""
    latched_ns: int = 0
    paused: str = ""
    since_ns: int = 0


class Judge:
    """Looks at all that guards publish and at the orders that they carry out.

    Attributes:
        tally: What it has come to.
        rest_s: Longest command of a plan that was not slowed down, and of a brake [s].
    """

    def __init__(self, world: World):
        self._world, self.tally, self.rest_s = world, Tally(), REST_S
        profile = world.profile
        gripper = profile.gripper
        assert gripper is not None
        stroke = abs(gripper.open - gripper.closed)
        self._gripper_step = GRIPPER_STEP * stroke + GRIPPER_LAG_S * gripper.velocity
        self._followed = {
            profile.arm_joints: Followed(profile.arm_joints, profile.home),
            (gripper.joint,): Followed((gripper.joint,), np.array([gripper.open])),
        }
        self._set = profile.home
        self._plans: dict[int, float] = {}
        self._held: dict[object, Held] = {}
        self._last = Held()
        self._twins_until_ns = self._farewell_ns = 0

    def breach(self, promise: str, text: str) -> None:
        """A promise is broken, now."""
        at_ms = (self._world.timeline.now_ns - BEGIN_NS) / MS
        self.tally.breaches.append(Breach(promise, at_ms, text))
        self._world.note("breach", promise, text)

    # what the guard is asked to do ---------------------------------------------------------------

    def planned(self, plan: Trajectory) -> None:
        """The policy has sent a plan."""
        self._plans[plan.stamp_ns] = float(plan.times[-1] - plan.times[0]) + ROUNDING

    def bade_farewell(self) -> None:
        """The policy was deactivated, now; its word of it is on its way."""
        self._farewell_ns = self._world.data_ns()

    def verdict(self, accepted: bool) -> None:
        """The guard has decided about a plan."""
        self.tally.accepted += accepted
        self.tally.refused += not accepted

    def ordered(
        self, guard: object, topic: str, message: Any, success: bool, begun_ns: int
    ) -> None:
        """A guard has carried out an order that it took up at `begun_ns`."""
        held = self._held[guard]
        if topic == "~/reset" and success:
            held.latched, held.since_ns = "", begun_ns
            self._look_for_twins()
        elif topic == "~/pause" and message.data:
            held.paused = "a pause"
        elif topic == "~/pause":
            if held.paused and success:
                held.since_ns = begun_ns
            held.paused = ""
        elif topic == "emergency_stop" and message.data:
            self._latch(held, "the emergency stop")
        elif topic == "policy_node/status":
            stopped = any(pair.value == Reason.STOPPED.name for pair in message.values)
            if stopped:
                held.since_ns = max(held.since_ns, self._farewell_ns)

    def born(self, guard: object) -> None:
        """A guard was started: it holds what the one before it held, if that is gone."""
        world = self._world
        alone = world.guards_alive() == 0
        before = self._last if alone else Held()
        held = Held(before.latched, before.latched_ns, before.paused, world.data_ns())
        self._held[guard] = self._last = held
        self._look_for_twins(not alone)

    def _look_for_twins(self, found: bool | None = None) -> None:
        """Until two guards know of each other they may do different things."""
        if self._world.guards_alive() > 1 if found is None else found:
            self._twins_until_ns = self._world.timeline.now_ns + TWIN_NS

    def _latch(self, held: Held, why: str) -> None:
        if not held.latched:
            held.latched, held.latched_ns = why, self._world.timeline.now_ns

    def clock_set(self) -> None:
        """The clock of the stamps was set: stamps no longer tell what came before what."""
        self._farewell_ns = 0
        for held in self._held.values():
            held.since_ns = 0

    def raised(self, error: Exception) -> None:
        """A callback of the guard has raised."""
        self.breach("error", repr(error))

    # what it publishes ---------------------------------------------------------------------------

    def said(self, guard: object, report: GuardReport) -> None:
        """P4: every stop has a name, and what is latched stays so."""
        stopped = report.state in (GuardState.BRAKE, GuardState.FAULT)
        if stopped and (report.reason is Reason.OK or len(report.sentence) <= 10):
            self.breach("P4", f"a stop without a name: {report}")
        if report.state is GuardState.FAULT:
            self._latch(self._held[guard], report.reason.name)

    def commanded(self, guard: object, command: Trajectory, unclosed: bool) -> None:
        """P1 to P4 of a trajectory."""
        world, length_s = self._world, float(command.times[-1] - command.times[0])
        self.tally.commands += 1
        self.tally.unclosed += unclosed
        planned_s = self._plans.get(command.stamp_ns)
        arm = command.joint_names == world.profile.arm_joints
        if not unclosed:
            if world.timeline.now_ns > self._twins_until_ns:
                self._joins(command) if arm else self._gripper_joins(command)
            if planned_s is not None:
                self._plan(self._held[guard], command)
        try:
            assert_valid(command, world.profile)
        except AssertionError as error:
            self.breach("P1", str(error))
        slowed = planned_s is not None and length_s > planned_s
        if arm and length_s > (SLOWED_S if slowed else self.rest_s):
            self.breach("P3", f"rests only {length_s:.3f} s later")
        self._followed[command.joint_names].take(command, world.offset_ns)

    def _meet(self, command: Trajectory) -> tuple[int, Trajectory, Trajectory]:
        """When it takes over, by the controller's clock; it, and what is followed until then."""
        offset_ns = self._world.offset_ns
        command = replace(command, stamp_ns=command.stamp_ns - offset_ns)
        join_ns = max(self._world.timeline.now_ns, start_ns(command))
        return join_ns, command, self._followed[command.joint_names].at(join_ns)

    def _joins(self, command: Trajectory) -> None:
        join_ns, command, before = self._meet(command)
        (p, v), (q, w) = command.sample(join_ns), before.sample(join_ns)
        rad, rad_s = float(np.abs(p - q).max()), float(np.abs(v - w).max())
        moving = join_ns < before.end_ns
        self.tally.worst_rad = max(self.tally.worst_rad, rad)
        if moving:
            self.tally.worst_rad_s = max(self.tally.worst_rad_s, rad_s)
        allowed = STEP_RAD_S if moving else START_RAD_S
        if rad > STEP_RAD + ROUNDING or rad_s > allowed + ROUNDING:
            out_of = "motion" if moving else "rest"
            self.breach("P1", f"jumps by {rad:.5f} rad, {rad_s:.4f} rad/s out of {out_of}")

    def _gripper_joins(self, command: Trajectory) -> None:
        join_ns, command, before = self._meet(command)
        step = float(np.abs(command.sample(join_ns)[0] - before.sample(join_ns)[0]).max())
        if step > self._gripper_step + ROUNDING:
            self.breach("P1", f"the gripper jumps by {step:.4f}")

    def _plan(self, held: Held, plan: Trajectory) -> None:
        """P2: from fresh inputs, and P4: not while something is latched."""
        age_s = (self._world.data_ns() - plan.stamp_ns) * 1e-9
        if age_s > AGE_S + ROUNDING:
            self.breach("P2", f"made from inputs {age_s:.3f} s old")
        if plan.stamp_ns < held.since_ns:
            before_s = (held.since_ns - plan.stamp_ns) * 1e-9
            self.breach("P2", f"made {before_s:.3f} s before the last order")
        if why := held.latched or held.paused:
            self.breach("P4", f"a plan is passed on though {why} holds the guard")

    def streamed(self, guard: object, wanted: np.ndarray, unclosed: bool) -> None:
        """P1 and P4 of one set of the arm's positions."""
        world, before, self._set = self._world, self._set, wanted
        self.tally.commands += 1
        if unclosed:
            self.tally.unclosed += 1
            return
        moved = np.abs(wanted - before)
        if world.timeline.now_ns > self._twins_until_ns:
            step = float((moved - world.profile.velocity * SET_S).max())
            self.tally.worst_rad = max(self.tally.worst_rad, step)
            if step > STEP_RAD + ROUNDING:
                self.breach("P1", f"streams a set that is {step:.4f} rad off")
        held = self._held[guard]
        rests = world.timeline.now_ns - held.latched_ns > REST_S * 1e9
        if held.latched and rests and moved.max() > ROUNDING:
            self.breach("P4", f"moves though {held.latched} holds the guard")
