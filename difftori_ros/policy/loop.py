# SPDX-License-Identifier: MIT
"""The policy's loop: when to plan, from what, and what becomes of a plan. No ROS.

Orders come from any thread and are carried out between two plans; turns run in the worker's
thread. What comes out goes through `deliver`, never after the worker was stopped or given up.
"""

from __future__ import annotations

import math
import threading
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from difftori_models.contract.specs import Observation, PlanStatus
from difftori_ros.observation import Observer, Refusal
from difftori_ros.observation.novelty import NoveltyWatch
from difftori_ros.status.health import Health
from difftori_ros.types import Level, Reason, Trajectory

from .fault_latch import FaultLatch, PlannerFault
from .open_policy import Source, refined
from .pipeline import PlannedMotion, PlanPipeline
from .plan_schedule import PlanTimes
from .planner_thread import PlannerSupervisor, PlannerThread
from .start_gate import StartPose

ASK_AGAIN_S = 0.2
"""Time between two questions to the graph about a missing stream [s, steady clock]."""
SOONEST_S, LATEST_S = 0.001, 0.1
"""Time between two turns, unless something new comes, lies within these [s, steady clock]: what
was expected may come a little later, and the clock of the stamps may be set or stand still."""
READY_NS = 4_000_000
"""So long before its joint states are expected what a plan needs besides is prepared [ns]."""
STANDS_STILL_S = 1.0
"""Time after which a clock that does not move is reported [s, steady clock]."""
GUARD_SILENT_S = 0.5
"""Silence of the guard after which nobody knows what it has passed on [s, steady clock]; it speaks
every 0.1 s."""
FOREVER_S = 1e9
"""Longer than any silence [s]."""
AT_WORK = ("TRACKING", "COAST")
"""States of the guard in which the last plan is still being followed."""


@dataclass(frozen=True)
class Ports:
    """What the loop needs of its surroundings.

    Attributes:
        now_ns: The clock of the stamps [ns].
        steady_s: A clock that nobody can set [s].
        deliver: A plan was made; the last argument says whether it is to be sent.
        missing: More about streams that have not delivered: a sentence, or None.
        tell: The status has changed.
        log_error: A text for the log.
        take: The observer gets what has come and waited to be taken.
    """

    now_ns: Callable[[], int]
    steady_s: Callable[[], float]
    deliver: Callable[[Observation, PlannedMotion, bool], None]
    missing: Callable[[], str | None]
    tell: Callable[[], None]
    log_error: Callable[[str], object]
    take: Callable[[], object] = lambda: None


class PolicyLoop:
    """Plans at the checkpoint's rate, or once for every observation."""

    def __init__(
        self,
        values: Mapping[str, Any],
        source: Source,
        pipeline: PlanPipeline,
        observer: Observer,
        start_pose: StartPose,
        health: Health,
        ports: Ports,
    ):
        self._values, self._source, self._driver = dict(values), source, pipeline
        self._observer, self._start_pose = observer, start_pose
        self._health, self._ports = health, ports
        self._planner, self._spec = source.planner, source.planner.card.action
        self._latch = FaultLatch(self._values["max_divergences"])
        self._supervisor = PlannerSupervisor(self._renew, self.turn, self._planner_timeout_s)
        self._reset_wanted, self._stopped_by_guard = threading.Event(), threading.Event()
        self._refused: deque[int] = deque(maxlen=16)
        self._replaced: deque[Trajectory] = deque(maxlen=16)
        self._changes: deque[tuple[str, Any]] = deque()
        self._times = PlanTimes(
            observer.streams, self._values["trigger"], self._spec.plan_period_s
        )
        self._novelty = NoveltyWatch(self._planner.card)
        self._clock = (0, 0.0)
        self._guard_at_work, self._guard_heard_s = False, -math.inf
        self._accepted_ns = self._begun_ns = self._since_ns = 0
        self._asked_s = 0.0
        self.publish_latent = False

    # orders, from any thread ---------------------------------------------------------------------

    def start(self) -> None:
        """Begin an episode and plan."""
        self._observer.streams.clear()
        self._latch.reset()
        self._begin_anew()
        self._health.set(Reason.WAITING, self._ports.steady_s())
        # a planner that a thread still hangs in cannot be used by another
        self._supervisor.start(renew=self._supervisor.hanging > 0)

    def stop(self) -> None:
        """Nothing is delivered when this has returned, even when the planner hangs."""
        self._supervisor.stop()
        self._since_ns = 0
        self._health.note(plans_since_ns="0")

    def wake(self) -> None:
        """There is something new to plan from."""
        self._supervisor.wake()

    def reset(self) -> str:
        """A new episode; what was latched is forgotten. Returns what that means."""
        fault = self._latch.fault
        self._observer.streams.clear()
        self._begin_anew()
        if fault is not None and fault.needs_new_planner:
            self._report(Reason.WAITING, "the planner is being made anew")
            self._supervisor.start(renew=True)
            return f"{fault.reason.name} is forgotten; the planner is being made anew"
        self._supervisor.wake()
        return "the next plan starts from the measured joints"

    def jumped(self, detail: str) -> None:
        """The clock of the stamps is another one now."""
        self._observer.streams.clear()
        self._times.clear()
        self._accepted_ns = 0
        self._begin_anew()
        self._health.count("clock_jumps")
        self._report(Reason.CLOCK_JUMPED, detail)
        self._ports.tell()

    def _begin_anew(self) -> None:
        self._reset_wanted.set()
        self._since_ns = 0
        self._health.note(plans_since_ns="0")

    def crashed(self, error: Exception) -> None:
        """A callback has raised what it must not: latched, for nobody knows what is true now."""
        fault = PlannerFault(Reason.EXCEPTION, f"in a callback: {type(error).__name__}: {error}")
        self._latch.hold(fault)
        self._report(fault.reason, fault.detail)
        self._ports.tell()

    def guard_said(self, state: str, refused_ns: int | None, accepted_ns: int = 0) -> None:
        """The guard's state, and the stamp of the plan that it has just refused or accepted."""
        self._accepted_ns = max(self._accepted_ns, accepted_ns)
        self._guard_heard_s, self._guard_at_work = self._ports.steady_s(), state in AT_WORK
        if not self._guard_at_work:
            self._stopped_by_guard.set()
        elif refused_ns is not None:
            self._refused.append(refused_ns)

    def replaced(self, trajectory: Trajectory) -> None:
        """The guard has sent this in place of the plan with the same stamp."""
        self._replaced.append(trajectory)

    def change(self, name: str, value: Any) -> None:
        """The parameter has this value from the next plan on."""
        self._changes.append((name, value))
        self._supervisor.wake()

    def watch(self) -> None:
        """Give up a planner that hangs; to be called often."""
        given_up = self._supervisor.watch()
        if given_up is None:
            return
        self._health.count("planners_given_up")
        if self._supervisor.exhausted:
            self._latch.hold(PlannerFault(Reason.DEADLINE, given_up))
        self._report(Reason.DEADLINE, given_up)
        self._ports.tell()
        self._ports.log_error(f"{Reason.DEADLINE.name}: {given_up}")
        self._supervisor.replace()

    # turns, in the worker's thread ---------------------------------------------------------------

    def turn(self, worker: PlannerThread) -> float | None:
        """One turn; what goes wrong is reported, and latched when it does so again and again.

        Returns the time after which the next one is due [s]; None when only an order can help.
        """
        try:
            self._ports.take()
            return self._turn(worker)
        except Exception as error:  # the loop must survive to tell
            text = traceback.format_exc()
            with worker.permission() as allowed:
                if allowed:
                    fault = self._latch.raised(error)
                    self._report(fault.reason, fault.detail)
                    self._ports.log_error(f"{fault.reason.name}: {fault.detail}\n{text}")
                    self._ports.tell()
            return LATEST_S

    def _turn(self, worker: PlannerThread) -> float | None:
        pipeline = self._driver
        self._carry_out(pipeline)
        if self._latch.fault is not None:
            return None
        time_ns = self._times.time_ns(self._ports.now_ns())
        if time_ns is not None:
            # what takes long comes first, so that the joint states are new when it is done
            self._observer.prepare(time_ns)
            self._ports.take()
            time_ns = self._times.time_ns(self._ports.now_ns())
        if time_ns is None:
            lacking = self._lacking()
            if lacking is not None:
                return self._refuse(lacking, worker)
            return self._due_s(self._observer.prepare(self._ports.now_ns(), self._times.due_ns))
        observation = self._observer.observe(time_ns)
        if isinstance(observation, Refusal):
            return self._refuse(observation, worker)
        if not self._times.observed(observation.stamp_ns):
            return self._due_s()
        told = self._novelty.first
        if told:
            self._tell_novelty(observation)
        heard = self._guard_at_work or self._values["dry_run"]
        if (elsewhere := self._start_pose.check(observation, heard)) is not None:
            return self._refuse(elsewhere, worker)
        deadline_s = self._values["deadline_s"] or None
        lead_ns = round(self._values["command_latency_s"] * 1e9)
        self._planner.publish_latent = self.publish_latent
        motion = pipeline.plan(observation, self._ports.now_ns, deadline_s, lead_ns)
        with worker.permission() as allowed:
            if allowed and not self._reset_wanted.is_set():
                self._supervisor.finished_a_plan()
                self._judge(pipeline, observation, motion)
        if not told:  # of later observations only the status tells: the plan goes first
            self._tell_novelty(observation)
        return self._due_s()

    def _due_s(self, wanted_ns: int = 0) -> float:
        """Time until the next turn is due [s]: to plan, to prepare, or to say what is too old.

        Args:
            wanted_ns: Stamp of the joint states that something waits for, besides the plan [ns].
        """
        now_ns = self._ports.now_ns()
        due_ns = self._observer.streams.stale_ns()
        if wanted_ns:
            due_ns = min(due_ns, self._observer.streams.expected_ns("joint_states", wanted_ns))
        if stamp_ns := self._times.wanted_ns():
            plan_ns = self._observer.streams.expected_ns("joint_states", stamp_ns)
            early_ns = plan_ns - READY_NS
            due_ns = min(due_ns, plan_ns if early_ns <= now_ns else early_ns)
        return min(max((due_ns - now_ns) * 1e-9, SOONEST_S), LATEST_S)

    def _judge(
        self, pipeline: PlanPipeline, observation: Observation, motion: PlannedMotion
    ) -> None:
        plan, steady_s = motion.plan, self._ports.steady_s()
        deadline_s = self._values["deadline_s"]
        self._health.plan(plan.elapsed_s, steady_s)
        late = plan.status is PlanStatus.DEADLINE or 0.0 < deadline_s < plan.elapsed_s
        self._health.count("deadline_misses", int(late))
        self._health.count("divergences", int(plan.status is PlanStatus.DIVERGED))
        self._health.note(
            stamp_ns=str(observation.stamp_ns),
            plan_ms=f"{plan.elapsed_s * 1e3:.2f}",
            iterations=str(plan.iterations),
            objective_before=f"{plan.objective_before:.4f}",
            objective_after=f"{plan.objective_after:.4f}",
            plan=plan.status.name,
        )
        if self._latch.planned(plan.status):
            assert self._latch.fault is not None
            pipeline.refused(observation.stamp_ns)
            self._report(Reason.DIVERGED, self._latch.fault.detail)
            self._ports.log_error(f"{Reason.DIVERGED.name}: {self._latch.fault.detail}")
            self._ports.tell()
            return
        reason, level, detail = motion.reason, Level.OK, plan.status.value
        frozen = self._observer.streams.frozen()
        if reason is not Reason.OK or plan.status is PlanStatus.DIVERGED:
            level = Level.WARN
        elif frozen is not None:
            reason, level, detail = frozen.reason, Level.WARN, frozen.detail
        self._health.set(reason, steady_s, level=level, detail=detail)
        sends = not self._values["dry_run"]
        if sends and motion.trajectory is not None and not self._since_ns:
            # a guard that starts later than this must not go on in the middle of an episode
            self._since_ns = observation.stamp_ns
            self._health.note(plans_since_ns=str(self._since_ns))
        self._ports.deliver(observation, motion, sends)
        if not sends:
            pipeline.forget()  # nothing was sent, so nothing is under way

    def _carry_out(self, pipeline: PlanPipeline) -> None:
        while self._changes:
            self._apply(pipeline, *self._changes.popleft())
        while self._replaced:
            pipeline.replaced(self._replaced.popleft())
        while self._refused:
            pipeline.refused(self._refused.popleft())
        # whoever waits for every plan, as a simulated robot does, knows what was passed on
        patience_s = GUARD_SILENT_S if self._values["trigger"] == "timer" else FOREVER_S
        if self._ports.steady_s() - self._guard_heard_s > patience_s:
            pipeline.forget()  # whether anything was passed on is not known
        if self._start_pose.after_stops and self._accepted_ns <= self._begun_ns:
            pipeline.reset(self._values["seed"])  # its time runs from the first plan passed on
        if self._stopped_by_guard.is_set():
            self._stopped_by_guard.clear()
            pipeline.reset(self._values["seed"])
            self._start_pose.stopped()
            self._begun_ns = self._times.last_ns
        if self._reset_wanted.is_set():
            self._reset_wanted.clear()
            self._novelty.reset()
            pipeline.reset(self._values["seed"])
            self._start_pose.reset()
            self._begun_ns = self._times.last_ns
            if self._latch.fault is None or not self._latch.fault.needs_new_planner:
                self._latch.reset()

    def _apply(self, pipeline: PlanPipeline, name: str, value: Any) -> None:
        self._values[name] = value
        if name == "refine":
            pipeline.use(refined(self._planner, value))
        elif name.endswith("_max_age_s"):
            for stream in self._observer.streams:
                if f"{self._observer.spec.kind(stream)}_max_age_s" == name:
                    self._observer.streams.set_limit(stream, value)

    def _renew(self, worker: PlannerThread) -> None:
        """Make a planner in place of one that hangs or has failed."""
        try:
            planner = self._source.make()
            pipeline = self._driver.with_planner(refined(planner, self._values["refine"]))
            pipeline.reset(self._values["seed"])
        except Exception as error:
            text = traceback.format_exc()
            with worker.permission() as allowed:
                if allowed:
                    fault = self._latch.raised(error)
                    self._latch.hold(fault)
                    self._report(fault.reason, f"no new planner: {fault.detail}")
                    self._ports.log_error(f"no new planner: {text}")
            return
        with worker.permission() as allowed:
            if allowed:
                self._planner, self._driver = planner, pipeline
                self._latch.reset()

    def _tell_novelty(self, observation: Observation) -> None:
        """An episode that begins far from the training: said before anything moves."""
        far = self._novelty.look(observation)
        self._health.note(novelty=self._novelty.value)
        if far is not None:
            reason, steady_s = Reason.FAR_FROM_TRAINING, self._ports.steady_s()
            self._health.set(reason, steady_s, level=Level.WARN, detail=far)
            self._ports.tell()

    def _lacking(self) -> Refusal | None:
        """Between two plans: what has gone missing or old, if anything."""
        now_ns, steady_s = self._ports.now_ns(), self._ports.steady_s()
        if now_ns != self._clock[0]:
            self._clock = now_ns, steady_s
        if now_ns == 0:
            return Refusal(
                Reason.MISSING, "use_sim_time is set and '/clock' has not delivered yet"
            )
        stands_s = steady_s - self._clock[1]
        if stands_s > STANDS_STILL_S and self._values["trigger"] == "timer":
            return Refusal(Reason.WAITING, f"the clock has stood still for {stands_s:.1f} s")
        return self._observer.streams.missing(now_ns)

    def _refuse(self, refusal: Refusal, worker: PlannerThread) -> float:
        """Report why there is no plan; of a missing stream, whether anybody publishes it."""
        now_s, detail = self._ports.steady_s(), refusal.detail
        if refusal.reason is Reason.MISSING:
            if now_s - self._asked_s <= ASK_AGAIN_S:
                return LATEST_S
            self._asked_s, detail = now_s, self._ports.missing() or detail
        with worker.permission() as allowed:
            if allowed and self._health.set(refusal.reason, now_s, detail=detail):
                self._ports.tell()
        return LATEST_S

    def _report(self, reason: Reason, detail: str) -> None:
        self._health.set(reason, self._ports.steady_s(), detail=detail)

    def _planner_timeout_s(self) -> float:
        return self._values["planner_timeout_s"] + self._values["deadline_s"]
