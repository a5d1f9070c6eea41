# SPDX-License-Identifier: MIT
"""A planner that plans what it is told to, and what is seen of an arm that follows."""

import numpy as np

from difftori_models.contract.network_settings import Network, Solver
from difftori_models.contract.specs import (
    ActionSpec,
    Card,
    Observation,
    ObservationSpec,
    Plan,
    PlanStatus,
)
from difftori_ros.policy.pipeline import PlanPipeline
from difftori_ros.robot.kinematics import Kinematics
from difftori_ros.robot.profile import load_profile
from difftori_ros.types import Reason, Trajectory

PANDA = load_profile("panda")
ARM = Kinematics(PANDA)
STAMP = 5_000_000_000
MS = 1_000_000
PERIOD_NS = 100 * MS
HOME = np.append(PANDA.home, 0.04)
JOINTS = (*PANDA.arm_joints, "gripper")
KINDS = ("ee_delta_pos", "joint_delta", "joint_position")


def card(kind: str) -> Card:
    names = ("x", "y", "z", "gripper") if kind == "ee_delta_pos" else JOINTS
    ones = (1.0,) * len(names)
    down = (1.0, 0.0, 0.0, 0.0) if kind == "ee_delta_pos" else None
    action = ActionSpec(kind, names, ones, tuple(-one for one in ones), ones, 0.05, 4, 2, down)
    spec = ObservationSpec(PANDA.base_frame, PANDA.joint_names, (), ("position",))
    network, solver = Network(state=0), Solver()
    return Card("scripted", "reach", "panda", "script", spec, action, network, {}, solver, {})


def moves(kind: str, speed: float = 1.0) -> np.ndarray:
    """Four actions that go the same way, at 0.3 m/s or half a rad/s, and close the gripper."""
    if kind == "ee_delta_pos":
        step = np.append(speed * np.array([0.012, 0.008, -0.008]), -1.0)
        return np.tile(step, (4, 1))
    step = speed * np.array([0.03, 0.02, -0.02, 0.03, 0.02, -0.03, 0.02])
    arm = np.tile(step, (4, 1))
    if kind == "joint_position":
        arm = PANDA.home + np.cumsum(arm, axis=0)
    return np.hstack([arm, np.full((4, 1), -1.0)])


class ScriptedPlanner:
    """Plans what it is told to; planning takes `late_ns` on the clock that it drives."""

    def __init__(self, kind: str = "joint_delta", late_ns: int = 0):
        self.card, self.late_ns = card(kind), late_ns
        self.actions, self.status = moves(kind), PlanStatus.BASE
        self.now_ns, self.seeds, self.deadlines = 0, [], []

    def plan(self, observation: Observation, deadline_s: float | None = None) -> Plan:
        self.now_ns = observation.stamp_ns + self.late_ns
        self.deadlines.append(deadline_s)
        return Plan(observation.stamp_ns, self.actions, 0.0, 0.0, 0, 0.0, self.status)

    def reset(self, seed: int) -> None:
        self.seeds.append(seed)

    def clock(self) -> int:
        return self.now_ns


def seen(stamp_ns=STAMP, position=HOME, velocity=None) -> Observation:
    position = np.array(position)
    velocity = np.zeros(8) if velocity is None else np.array(velocity)
    poses = {"tip": ARM.tip_pose(position[:7])}
    return Observation(stamp_ns, PANDA.joint_names, position, velocity, poses)


def on_the_way(trajectory: Trajectory, stamp_ns: int) -> Observation:
    """What is measured when the arm follows the trajectory perfectly."""
    position, velocity = trajectory.sample(stamp_ns)
    return seen(stamp_ns, position, velocity)


def planned(
    pipeline: PlanPipeline, planner: ScriptedPlanner, observation: Observation
) -> Trajectory:
    motion = pipeline.plan(observation, planner.clock)
    assert motion.trajectory is not None
    assert motion.reason is Reason.OK
    return motion.trajectory
