# SPDX-License-Identifier: MIT
"""A plan's actions become joint waypoints and gripper targets."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from operator import add

import numpy as np

from difftori_models.contract.specs import ActionSpec, Observation, Plan
from difftori_ros.robot.kinematics import Kinematics
from difftori_ros.robot.profile import ProfileError, RobotProfile
from difftori_ros.types import FloatArray, Reason

KINDS = ("ee_delta_pos", "joint_delta", "joint_position")


@dataclass(frozen=True)
class Waypoints:
    """Where the joints should be at the end of each action.

    Attributes:
        arm: Arm joint positions, shape (K, n) [rad]; K < H when a later one cannot be reached.
        gripper: Gripper joint targets, shape (H,), or None without a gripper.
        tip: Tip positions in the base frame that `arm` stands for, shape (K, 3) [m].
        reason: OK, or IK_FAILED when the waypoints had to end early.
    """

    arm: FloatArray
    gripper: FloatArray | None
    tip: FloatArray
    reason: Reason


class Decoder:
    """Turns actions of one action spec into waypoints of one robot."""

    def __init__(self, spec: ActionSpec, profile: RobotProfile, kinematics: Kinematics):
        if spec.kind not in KINDS:
            raise ProfileError(f"unknown action kind '{spec.kind}'; known: {', '.join(KINDS)}")
        self._spec, self._profile, self._kinematics = spec, profile, kinematics
        self._arm_index = np.array([k for k, name in enumerate(spec.names) if name != "gripper"])
        self._gripper_index = spec.names.index("gripper") if "gripper" in spec.names else None
        wanted = ("x", "y", "z") if spec.kind == "ee_delta_pos" else profile.arm_joints
        got = tuple(spec.names[k] for k in self._arm_index)
        if got != wanted:
            raise ProfileError(f"actions of kind '{spec.kind}' must be named {wanted}, got {got}")

    def decode(self, plan: Plan, observation: Observation) -> Waypoints:
        """Waypoints of `plan`, starting from the measured joints of `observation`.

        Displacements add up from the measured state: waypoint k = measured + sum of actions 0..k,
        where the tip does not leave the box of the spec on the way.
        """
        measured = self._arm_position(observation)
        moves = plan.actions[:, self._arm_index]
        if self._spec.kind == "ee_delta_pos":
            arm, reason = self._follow_tip(moves, measured, observation.poses["tip"])
        else:
            absolute = self._spec.kind == "joint_position"
            arm = moves if absolute else measured + moves.cumsum(axis=0)
            arm = np.minimum(np.maximum(arm, self._profile.lower), self._profile.upper)
            reason = Reason.OK
        return Waypoints(arm, self._gripper(plan), self._kinematics.tip_positions(arm), reason)

    def _arm_position(self, observation: Observation) -> FloatArray:
        index = [observation.joint_names.index(name) for name in self._profile.arm_joints]
        return observation.position[index]

    def _follow_tip(
        self, moves: FloatArray, measured: FloatArray, tip: FloatArray
    ) -> tuple[FloatArray, Reason]:
        orientation = self._spec.tip_orientation
        quaternion = tip[3:] if orientation is None else np.array(orientation)
        waypoints: list[FloatArray] = []
        targets = np.array(self._targets(tip[:3].tolist(), moves.tolist())).reshape(-1, 3)
        for found in self._kinematics.follow(targets, quaternion, measured):
            if not found.converged:
                return np.array(waypoints).reshape(-1, len(measured)), Reason.IK_FAILED
            waypoints.append(found.position)
        return np.array(waypoints), Reason.OK

    def _targets(self, tip: list[float], moves: list[list[float]]) -> list[list[float]]:
        """Where the tip should be after each move; of a tip outside the box, no farther out."""
        low, high = self._spec.tip_low, self._spec.tip_high
        if low is None or high is None:
            sums = accumulate(moves, lambda moved, move: list(map(add, moved, move)))
            return [list(map(add, tip, moved)) for moved in sums]
        targets, at = [], tip
        for move in moves:
            wanted = zip(at, move, low, high, strict=True)
            at = [min(max(x + dx, min(a, x)), max(b, x)) for x, dx, a, b in wanted]
            targets.append(at)
        return targets

    def _gripper(self, plan: Plan) -> FloatArray | None:
        gripper = self._profile.gripper
        if gripper is None or self._gripper_index is None:
            return None
        wanted = plan.actions[:, self._gripper_index]
        opening = (np.minimum(np.maximum(wanted, -1.0), 1.0) + 1.0) / 2.0
        return gripper.closed + opening * (gripper.open - gripper.closed)
