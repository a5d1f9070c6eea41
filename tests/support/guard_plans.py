# SPDX-License-Identifier: MIT
"""Plans, joint states and guards for the tests of the guard."""

from dataclasses import replace

import numpy as np

from difftori_ros.guard.guard import Guard, GuardConfig
from difftori_ros.motion.trajectory import (
    Reference,
    gripper_ramp,
    hold,
    join,
    reference_at,
    schedule,
    split,
)
from difftori_ros.robot.profile import load_profile
from difftori_ros.types import JointState, Reason, Trajectory
from tests.support.promises import assert_valid

PANDA, XARM = load_profile("panda"), load_profile("xarm7")
GRIPPER = PANDA.gripper
NOW = 5_000_000_000
MS = 1_000_000
DT = 0.05
STILL = np.zeros(7)
NAMES = PANDA.joint_names


def joint_state(
    stamp_ns=NOW, position=PANDA.home, velocity=STILL, names=PANDA.arm_joints
) -> JointState:
    return JointState(stamp_ns, names, np.array(position), np.array(velocity))


def ready(profile=PANDA, **config) -> Guard:
    """An active guard that knows where the arm is and that the policy lives."""
    guard = Guard(profile, GuardConfig(**config))
    guard.start(0)
    guard.joints(joint_state(names=profile.arm_joints, position=profile.home), 100.0)
    guard.heartbeat(100.0)
    return guard


def plan(
    stamp_ns=NOW, step=0.01, start=None, start_ns=None, gripper=True, horizon=4
) -> Trajectory:
    """A plan that moves every joint by `step` [rad] per action, and the gripper by 1 cm."""
    start = start or Reference(PANDA.home, STILL, STILL)
    start_ns = stamp_ns if start_ns is None else start_ns
    waypoints = start.position + step * np.arange(1, horizon + 1)[:, None]
    arm = schedule(PANDA, stamp_ns, waypoints, DT, start, start_ns)
    assert arm is not None
    if not gripper:
        return arm
    ramp = gripper_ramp(GRIPPER, stamp_ns, 0.04, np.full(horizon, 0.03), DT, start_ns)
    return join(arm, ramp)


def two_points(**changes) -> Trajectory:
    """A plan that stays at home, with some of its arrays replaced."""
    still = hold(NAMES, NOW, np.append(PANDA.home, 0.04), NOW, 0.1)
    return replace(still, **changes)


def accepted(guard: Guard, made: Trajectory, now_ns=NOW, after=None):
    """Have a plan accepted; what comes out keeps P1."""
    verdict = guard.check(made, now_ns)
    assert verdict.accepted, verdict
    assert verdict.reason is Reason.OK
    for k, channel in enumerate(verdict.channels):
        assert_valid(channel, PANDA, after=None if k else after, at_ns=now_ns)
    return verdict


def refused(guard: Guard, made: Trajectory, reason: Reason, sentence: str, now_ns=NOW):
    """Have a plan refused, for this reason, with these words; nothing comes out."""
    before = guard.status
    verdict = guard.check(made, now_ns)
    assert not verdict.accepted
    assert verdict.reason is reason
    assert sentence in verdict.detail
    assert verdict.channels == ()
    assert guard.status.refused == before.refused + 1
    assert guard.status.accepted == before.accepted


# plans that pass


def moving_guard(**config) -> tuple[Guard, Trajectory]:
    guard, made = ready(**config), plan(step=0.03)
    accepted(guard, made)
    assert guard.tick(NOW, 100.0) is None
    return guard, made


def assert_brakes(command: Trajectory | None, made: Trajectory, at_ns: int) -> Trajectory:
    """The command stops the arm at once, out of the motion under way."""
    assert command is not None
    assert command.joint_names == PANDA.arm_joints
    tight = (1e-9, 1e-9)
    arm = split(made, PANDA.arm_joints)
    assert_valid(command, PANDA, after=arm, at_ns=at_ns, continuity=tight)
    assert command.stamp_ns == at_ns
    assert command.end_ns - at_ns < 400 * MS
    return command


# a long motion under way

AT = NOW + 400 * MS


def measure(guard, motion, stamp_ns):
    """The arm is measured where the motion is at that time, and the policy is heard."""
    position, velocity = motion.sample(stamp_ns)
    steady_s = 100.0 + (stamp_ns - NOW) * 1e-9
    guard.joints(joint_state(stamp_ns, position, velocity), steady_s)
    guard.heartbeat(steady_s)
    return Reference(position, velocity, STILL)


def long_motion(guard, step=0.08):
    """A plan of a second is under way; the arm is measured on it at `AT`."""
    made = plan(step=step, horizon=20, gripper=False)
    accepted(guard, made)
    measure(guard, made, AT)
    return made


def leaving(motion, at_ns, step=0.06):
    """A plan that leaves a motion at a time, from inputs of that time."""
    return plan(at_ns, step, reference_at(motion, at_ns), at_ns, gripper=False)


def with_gripper(stamp_ns, start_at, target):
    still = Reference(PANDA.home, STILL, STILL)
    arm = plan(stamp_ns, 0.0, still, stamp_ns, gripper=False)
    return join(arm, gripper_ramp(GRIPPER, stamp_ns, start_at, np.full(4, target), DT, stamp_ns))


def hand(stamp_ns, width):
    return joint_state(stamp_ns, np.append(PANDA.home, width), np.zeros(8), NAMES)
