# SPDX-License-Identifier: MIT
"""Observation in, trajectory out: what the node and the direct evaluation share."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from difftori_models.contract.specs import ActionSpec, Card, Observation, Plan
from difftori_ros.motion.action_decoder import Decoder, Waypoints
from difftori_ros.motion.trajectory import (
    Reference,
    gripper_ramp,
    join,
    reference_at,
    schedule,
    split,
)
from difftori_ros.robot.kinematics import Kinematics
from difftori_ros.robot.profile import RobotProfile
from difftori_ros.types import FloatArray, Reason, Trajectory

from .compatibility import check_card

MERGE_NS = 100_000
"""Points closer than this become one [ns]."""
ELSEWHERE_RAD = 0.25
"""Distance of the measured joints from the motion under way at which nobody follows it [rad]."""
RESTING_RAD_S = 0.02
"""Speed below which a measured joint is at rest [rad/s]."""
HISTORY = 8
"""Trajectories remembered, in case the guard's verdict on the newest ones is still to come."""


class Planner(Protocol):
    """What the pipeline needs of a planner; `difftori_models.inference.planner.Planner` is one."""

    @property
    def card(self) -> Card:
        """The checkpoint's card."""
        ...

    def plan(self, observation: Observation, deadline_s: float | None = None) -> Plan:
        """A plan from an observation; never raises in the loop."""
        ...

    def reset(self, seed: int) -> None:
        """Start a new episode."""
        ...


@dataclass(frozen=True)
class PlannedMotion:
    """One turn of the loop: plan, waypoints, and the trajectory to send (None without one)."""

    plan: Plan
    waypoints: Waypoints | None
    trajectory: Trajectory | None
    reason: Reason

    def actions(self, spec: ActionSpec) -> Trajectory:
        """The plan's actions as points, for whoever wants to look at them."""
        actions = self.plan.actions
        times = spec.dt_s * (1.0 + np.arange(len(actions)))
        return Trajectory(self.plan.stamp_ns, spec.names, times, actions, np.zeros_like(actions))


class PlanPipeline:
    """Plans, decodes and schedules, and remembers the trajectory that is under way."""

    def __init__(self, planner: Planner, profile: RobotProfile, kinematics: Kinematics):
        check_card(planner.card, profile)
        self._planner, self._profile, self._spec = planner, profile, planner.card.action
        self._kinematics = kinematics
        self._decoder = Decoder(self._spec, profile, kinematics)
        self._sent: deque[Trajectory] = deque(maxlen=HISTORY)

    def with_planner(self, planner: Planner) -> PlanPipeline:
        """A pipeline with another planner that knows what this one has sent."""
        made = PlanPipeline(planner, self._profile, self._kinematics)
        made._sent = self._sent.copy()
        return made

    def use(self, planner: Planner) -> None:
        """Plan with `planner` from now on; its card must be the same."""
        self._planner = planner

    def reset(self, seed: int) -> None:
        """Start a new episode: the next plan starts from the measured joints."""
        self.forget()
        self._planner.reset(seed)

    def forget(self) -> None:
        """Nothing is under way any more, as when the guard has braked."""
        self._sent.clear()

    def refused(self, stamp_ns: int) -> None:
        """The trajectory of `stamp_ns` was not passed on, nor what was built upon it.

        The one before it is still under way.
        """
        stamps = [trajectory.stamp_ns for trajectory in self._sent]
        if stamp_ns in stamps:
            self._sent = deque(list(self._sent)[: stamps.index(stamp_ns)], maxlen=HISTORY)

    def replaced(self, trajectory: Trajectory) -> None:
        """The guard has sent this in place of the trajectory with the same stamp."""
        same = [sent.stamp_ns == trajectory.stamp_ns for sent in self._sent]
        kept = [trajectory if s else sent for s, sent in zip(same, self._sent, strict=True)]
        self._sent = deque(kept, maxlen=HISTORY)

    def plan(
        self,
        observation: Observation,
        clock: Callable[[], int],
        deadline_s: float | None = None,
        lead_ns: int = 0,
    ) -> PlannedMotion:
        """One turn of the loop.

        Args:
            observation: What the policy sees.
            clock: Gives the present time on the clock of the observation's stamps [ns]; read after
                planning.
            lead_ns: The new trajectory leaves the running one this long after the present time, so
                that it has arrived by then [ns].
            deadline_s: Time the planner may take on the steady clock [s]; None for all iterations.
        """
        plan = self._planner.plan(observation, deadline_s)
        if not plan.status.usable:
            return PlannedMotion(plan, None, None, Reason.NO_PLAN)
        waypoints = self._decoder.decode(plan, observation)
        now_ns = max(clock(), observation.stamp_ns)
        trajectory = self._schedule(observation, waypoints, now_ns, lead_ns)
        if trajectory is None:
            return PlannedMotion(plan, waypoints, None, Reason.NO_PLAN)
        self._sent.append(trajectory)
        return PlannedMotion(plan, waypoints, trajectory, waypoints.reason)

    def _elsewhere(self, running: Trajectory, stamp_ns: int, position: FloatArray) -> bool:
        """Whether the arm is so far from the motion under way that it cannot be following it.

        What was sent may not have been passed on, and the verdict that says so may be lost.
        """
        wanted, _ = split(running, self._profile.arm_joints).sample(stamp_ns)
        return bool(np.abs(wanted - position).max() > ELSEWHERE_RAD)

    def _schedule(
        self, observation: Observation, waypoints: Waypoints, now_ns: int, lead_ns: int
    ) -> Trajectory | None:
        profile, names, stamp_ns = self._profile, observation.joint_names, observation.stamp_ns
        arm_index = [names.index(name) for name in profile.arm_joints]
        running = self._sent[-1] if self._sent else None
        gripper_from = running
        if running is not None:
            elsewhere = self._elsewhere(running, stamp_ns, observation.position[arm_index])
            if elsewhere or now_ns >= running.end_ns:  # at rest
                self.forget()
                running = None  # the next plan starts from where the arm is measured to be
                gripper_from = None if elsewhere else gripper_from  # it may hold something
        start_ns = now_ns
        start = Reference(
            observation.position[arm_index],
            observation.velocity[arm_index],
            np.zeros(len(arm_index)),
        )
        if running is not None:
            start_ns = min(now_ns + lead_ns, running.end_ns)
            start = reference_at(split(running, profile.arm_joints), start_ns)
        elif np.abs(start.velocity).max() < RESTING_RAD_S:
            start_ns = now_ns + lead_ns  # an arm at rest can wait until the plan has arrived
        dt_s = self._spec.dt_s
        arm = schedule(profile, stamp_ns, waypoints.arm, dt_s, start, start_ns)
        if arm is not None and running is not None:
            arm = _after(split(running, profile.arm_joints), arm, now_ns, start_ns)
        gripper = profile.gripper
        if arm is None or gripper is None or waypoints.gripper is None:
            return arm
        held = float(observation.position[names.index(gripper.joint)])
        if gripper_from is not None and gripper.joint in gripper_from.joint_names:
            held = float(split(gripper_from, (gripper.joint,)).sample(now_ns)[0][0])
        targets = waypoints.gripper
        return join(arm, gripper_ramp(gripper, stamp_ns, held, targets, dt_s, now_ns))


def _after(running: Trajectory, made: Trajectory, now_ns: int, start_ns: int) -> Trajectory:
    """`made`, led up to by what is left of `running` until `start_ns`."""
    points_ns = running.stamp_ns + np.round(running.times * 1e9).astype(np.int64)
    between = (points_ns > now_ns + MERGE_NS) & (points_ns < start_ns - MERGE_NS)
    if start_ns <= now_ns + MERGE_NS:
        return made
    lead_ns = np.array([now_ns, *points_ns[between]])
    positions, velocities = running.samples(lead_ns)
    return Trajectory(
        made.stamp_ns,
        made.joint_names,
        np.concatenate([(lead_ns - made.stamp_ns) * 1e-9, made.times]),
        np.vstack([positions, made.positions]),
        np.vstack([velocities, made.velocities]),
    )
