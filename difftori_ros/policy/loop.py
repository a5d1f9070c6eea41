# SPDX-License-Identifier: MIT
"""The policy's loop: when to plan, from what, and what becomes of a plan. No ROS.

A turn is `observe -> gate -> plan -> commit`. Turns run in the planner's thread; what other
threads want of it lies in its mailbox until the next turn. What comes out goes to one sink, never
after the thread was stopped or given up.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Any

from difftori_models.contract.specs import Observation, Plan, PlanStatus
from difftori_ros.observation import Observer, Refusal
from difftori_ros.observation.novelty import NoveltyWatch
from difftori_ros.status.health import Health
from difftori_ros.types import Level, Reason

from .episode import EpisodeState
from .fault_latch import CallbackError, FaultLatch, PlannerFault
from .input_watch import InputWatch
from .interfaces import Clocks, InputQueue, PlanEvent, PlanSink
from .mailbox import Mailbox
from .open_policy import Source, refined
from .pipeline import PlannedMotion, PlanPipeline
from .plan_schedule import LATEST_S, PlanTimes
from .planner_thread import Permit
from .start_gate import StartGate

ASK_AGAIN_S = 0.2
"""Time between two questions to the graph about a missing stream [s, steady clock]."""


class PolicyLoop:
    """Plans at the checkpoint's rate, or once for every observation.

    Attributes:
        latch: Faults of the planner that stop the plans until a reset.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        source: Source,
        pipeline: PlanPipeline,
        observer: Observer,
        gate: StartGate,
        health: Health,
        mailbox: Mailbox,
        inputs: InputQueue,
        sink: PlanSink,
        clocks: Clocks,
    ):
        """Nothing is planned yet.

        Args:
            values: Parameters of the policy node.
            source: Where planners come from.
            pipeline: Makes trajectories with the first of them.
            observer: What the policy sees.
            gate: Where the arm must be before the first plan.
            health: Is told how it goes.
            mailbox: Orders from other threads.
            inputs: What waits to be taken by the observer.
            sink: Takes plans, texts for the log, and that the status has changed.
            clocks: The clock of the stamps and the steady one.
        """
        self._values, self._source, self._pipeline = dict(values), source, pipeline
        self._observer, self._gate, self._health = observer, gate, health
        self._mailbox, self._inputs, self._sink, self._clocks = mailbox, inputs, sink, clocks
        self._planner = source.planner
        card, trigger = source.planner.card, self._values["trigger"]
        self.latch = FaultLatch(self._values["max_divergences"])
        self._episode = EpisodeState()
        self._times = PlanTimes(observer.streams, trigger, card.action.plan_period_s)
        self._watch = InputWatch(observer.streams, trigger)
        self._novelty = NoveltyWatch(card)
        self._asked_s = 0.0

    # from any thread -----------------------------------------------------------------------------

    def begin(self) -> None:
        """An episode begins, and nothing has gone wrong so far. No turn is being taken."""
        self.latch.reset()
        self.begin_episode()
        self._health.set(Reason.WAITING, self._clocks.steady_s())

    def begin_episode(self, *, clock_jumped: bool = False) -> None:
        """Nothing that came or was planned before counts any more."""
        self._observer.streams.clear()
        self._mailbox.reset(clock_jumped=clock_jumped)
        self._health.note(plans_since_ns="0")

    def stopped(self) -> None:
        """No further turn is taken."""
        self._health.note(plans_since_ns="0")

    def clock_jumped(self, detail: str) -> None:
        """The clock of the stamps is another one now."""
        self.begin_episode(clock_jumped=True)
        self._health.count("clock_jumps")
        self.report(Reason.CLOCK_JUMPED, detail)

    def callback_failed(self, error: Exception) -> None:
        """A callback has raised what it must not: latched at once."""
        fault = self.latch.raised(CallbackError(error))
        self.report(fault.reason, fault.detail)

    def planner_given_up(self, why: str, *, for_good: bool) -> None:
        """The planner has hung; `for_good`: no other one takes its place until a reset."""
        self._health.count("planners_given_up")
        if for_good:
            self.latch.hold(PlannerFault(Reason.DEADLINE, why))
        self.report(Reason.DEADLINE, why, f"{Reason.DEADLINE.name}: {why}")

    def report(self, reason: Reason, detail: str, error: str = "") -> None:
        """The status is this now; `error` is for the log."""
        self._health.set(reason, self._clocks.steady_s(), detail=detail)
        self._sink.publish(PlanEvent(error=error))

    # in the planner's thread ---------------------------------------------------------------------

    def timeout_s(self) -> float:
        """Time after which a turn counts as hanging [s]."""
        return self._values["planner_timeout_s"] + self._values["deadline_s"]

    def renew(self, permit: Permit) -> None:
        """Make a planner in place of one that hangs or has failed."""
        try:
            planner = self._source.make()
            pipeline = self._pipeline.with_planner(refined(planner, self._values["refine"]))
            pipeline.reset(self._values["seed"])
        except Exception as error:
            text = traceback.format_exc()
            with permit.permission() as allowed:
                if allowed:
                    fault = self.latch.raised(error)
                    self.latch.hold(fault)
                    detail = f"no new planner: {fault.detail}"
                    self.report(fault.reason, detail, f"no new planner: {text}")
            return
        with permit.permission() as allowed:
            if allowed:
                self._planner, self._pipeline = planner, pipeline
                self.latch.reset()

    def turn(self, permit: Permit) -> float | None:
        """One turn; what goes wrong is reported, and latched when it does so again and again.

        Returns the time after which the next one is due [s]; None when only an order can help.
        """
        try:
            self._take()
            return self._turn(permit)
        except Exception as error:  # the loop must survive to tell
            text = traceback.format_exc()
            with permit.permission() as allowed:
                if allowed:
                    fault = self.latch.raised(error)
                    log = f"{fault.reason.name}: {fault.detail}\n{text}"
                    self.report(fault.reason, fault.detail, log)
            return LATEST_S

    def _take(self) -> None:
        """The observer has what has come; the callbacks of polled streams run here."""
        try:
            self._inputs.take()
        except Exception as error:
            raise CallbackError(error) from error

    def _turn(self, permit: Permit) -> float | None:
        self._carry_out_orders()
        if self.latch.fault is not None:
            return None
        observation = self._observe()
        if observation is None:
            now_ns = self._clocks.now_ns()
            wanted_ns = self._observer.prepare(now_ns, self._times.due_ns)
            return self._times.next_turn_s(self._clocks.now_ns(), wanted_ns)
        if isinstance(observation, Refusal):
            return self._refuse(observation, permit)
        first = self._novelty.first
        if first:  # said before anything moves; later the plan goes first
            self._note_novelty(observation)
        active = self._episode.guard_active or self._values["dry_run"]
        if (refusal := self._gate.check(observation, active)) is not None:
            return self._refuse(refusal, permit)
        motion = self._plan(observation)
        self._commit(motion, permit)
        if not first:
            self._note_novelty(observation)
        return self._times.next_turn_s(self._clocks.now_ns())

    def _carry_out_orders(self) -> None:
        orders, episode, seed = self._mailbox.take(), self._episode, self._values["seed"]
        episode.receive(orders)
        for name, value in orders.changes:
            self._apply(name, value)
        for trajectory in orders.replaced:
            self._pipeline.replaced(trajectory)
        for stamp_ns in orders.refused_ns:
            self._pipeline.refused(stamp_ns)
        # whoever waits for every plan, as a simulated robot does, knows what was passed on
        by_time = self._values["trigger"] == "timer"
        if by_time and episode.guard_is_silent(self._clocks.steady_s()):
            self._pipeline.forget()
        if self._gate.after_stops and not episode.motion_begun():
            self._pipeline.reset(seed)  # its time runs from the first plan passed on
        if orders.clock_jumped:
            self._times.clear()
        if orders.guard_stopped:
            self._pipeline.reset(seed)
            self._gate.stopped()
            episode.begun_ns = self._times.last_ns
        if orders.reset:
            self._novelty.reset()
            self._pipeline.reset(seed)
            self._gate.reset()
            episode.begin(self._times.last_ns)
            self._health.note(plans_since_ns="0")
            if self.latch.fault is None or not self.latch.fault.needs_new_planner:
                self.latch.reset()

    def _apply(self, name: str, value: Any) -> None:
        self._values[name] = value
        if name == "refine":
            self._pipeline.use(refined(self._planner, value))
        elif name.endswith("_max_age_s"):
            for stream in self._observer.streams:
                if f"{self._observer.spec.kind(stream)}_max_age_s" == name:
                    self._observer.streams.set_limit(stream, value)

    def _observe(self) -> Observation | Refusal | None:
        """What to plan from; None when no plan is due."""
        time_ns = self._times.time_ns(self._clocks.now_ns())
        if time_ns is not None:
            # what takes long comes first, so that the joint states are new when it is done
            self._observer.prepare(time_ns)
            self._take()
            time_ns = self._times.time_ns(self._clocks.now_ns())
        if time_ns is None:
            return self._watch.refusal(self._clocks.now_ns(), self._clocks.steady_s())
        observation = self._observer.observe(time_ns)
        if isinstance(observation, Refusal) or self._times.observed(observation.stamp_ns):
            return observation
        return None

    def _plan(self, observation: Observation) -> PlannedMotion:
        deadline_s = self._values["deadline_s"] or None
        lead_ns = round(self._values["command_latency_s"] * 1e9)
        self._planner.publish_latent = self._sink.publish_latent()
        return self._pipeline.plan(observation, self._clocks.now_ns, deadline_s, lead_ns)

    def _commit(self, motion: PlannedMotion, permit: Permit) -> None:
        """The plan goes out, unless the thread was given up or the episode has ended meanwhile."""
        with permit.permission() as allowed:
            if not allowed or self._mailbox.reset_waits:
                return
            permit.planned()
            plan, sends = motion.plan, not self._values["dry_run"]
            self._note_plan(plan)
            if (fault := self.latch.planned(plan.status)) is not None:
                self._pipeline.refused(plan.stamp_ns)
                log = f"{fault.reason.name}: {fault.detail}"
                self.report(fault.reason, fault.detail, log)
                return
            self._report_plan(motion)
            if sends and motion.trajectory is not None and not self._episode.plans_since_ns:
                # a guard that starts later than this must not go on in the middle of an episode
                self._episode.plans_since_ns = plan.stamp_ns
                self._health.note(plans_since_ns=str(plan.stamp_ns))
            self._sink.publish(PlanEvent(motion, sends))
            if not sends:
                self._pipeline.forget()  # nothing was sent, so nothing is under way

    def _note_plan(self, plan: Plan) -> None:
        deadline_s = self._values["deadline_s"]
        self._health.plan(plan.elapsed_s, self._clocks.steady_s())
        late = plan.status is PlanStatus.DEADLINE or 0.0 < deadline_s < plan.elapsed_s
        self._health.count("deadline_misses", int(late))
        self._health.count("divergences", int(plan.status is PlanStatus.DIVERGED))
        self._health.note(
            stamp_ns=str(plan.stamp_ns),
            plan_ms=f"{plan.elapsed_s * 1e3:.2f}",
            iterations=str(plan.iterations),
            objective_before=f"{plan.objective_before:.4f}",
            objective_after=f"{plan.objective_after:.4f}",
            plan=plan.status.name,
        )

    def _report_plan(self, motion: PlannedMotion) -> None:
        """The status is that of this plan, or of a camera that is frozen."""
        status = motion.plan.status
        reason, level, detail = motion.reason, Level.OK, status.value
        frozen = self._observer.streams.frozen()
        if reason is not Reason.OK or status is PlanStatus.DIVERGED:
            level = Level.WARN
        elif frozen is not None:
            reason, level, detail = frozen.reason, Level.WARN, frozen.detail
        self._health.set(reason, self._clocks.steady_s(), level=level, detail=detail)

    def _note_novelty(self, observation: Observation) -> None:
        """An episode that begins far from the training is told of at once."""
        far = self._novelty.look(observation)
        self._health.note(novelty=self._novelty.value)
        if far is not None:
            reason, steady_s = Reason.FAR_FROM_TRAINING, self._clocks.steady_s()
            self._health.set(reason, steady_s, level=Level.WARN, detail=far)
            self._sink.publish(PlanEvent())

    def _refuse(self, refusal: Refusal, permit: Permit) -> float:
        """Report why there is no plan; of a missing stream, whether any node publishes it."""
        now_s, detail = self._clocks.steady_s(), refusal.detail
        if refusal.reason is Reason.MISSING:
            if now_s - self._asked_s <= ASK_AGAIN_S:
                return LATEST_S
            self._asked_s = now_s
            detail = "; ".join(self._inputs.unpublished(silent_only=True)) or detail
        with permit.permission() as allowed:
            if allowed and self._health.set(refusal.reason, now_s, detail=detail):
                self._sink.publish(PlanEvent())
        return LATEST_S
