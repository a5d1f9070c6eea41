# SPDX-License-Identifier: MIT
"""An arm at rest does not jump to where a plan starts that was built upon lost ones."""

import numpy as np

from difftori_ros.motion.trajectory import Reference
from difftori_ros.types import Reason
from tests.support.guard_plans import (
    MS,
    NOW,
    PANDA,
    STILL,
    accepted,
    joint_state,
    plan,
    ready,
    refused,
)

AWAY = 0.1 * np.eye(7)[2]
"""Nearer to the measured joints than `start_tolerance_rad`."""


def test_a_plan_that_starts_away_from_an_arm_at_rest_is_refused():
    refused(
        ready(),
        plan(start=Reference(PANDA.home + AWAY, STILL, STILL)),
        Reason.START_MISMATCH,
        "panda_joint3 at 0.1000 instead of 0.0000 rad, allowed are 0.02 rad",
    )


def test_a_plan_that_starts_away_from_where_the_last_motion_has_ended_is_refused():
    guard, made = ready(), plan()
    accepted(guard, made)
    later, rest = made.end_ns + 10 * MS, made.positions[-1, :7]
    guard.joints(joint_state(later, rest), 101.0)
    away = plan(later, start=Reference(rest + AWAY, STILL, STILL))
    refused(guard, away, Reason.START_MISMATCH, "allowed are 0.02 rad", later)


def test_a_plan_may_start_where_the_last_motion_has_ended_though_the_arm_hangs_below():
    guard, made = ready(), plan()
    accepted(guard, made)
    later, rest = made.end_ns + 10 * MS, made.positions[-1, :7]
    guard.joints(joint_state(later, rest - AWAY), 101.0)
    accepted(guard, plan(later, start=Reference(rest, STILL, STILL)), later)


def test_an_arm_that_moves_while_nobody_knows_why_must_come_to_rest_first():
    guard, speed = ready(), np.full(7, 0.4)
    guard.joints(joint_state(NOW, PANDA.home, speed), 100.0)
    made = plan(start=Reference(PANDA.home, speed, STILL))
    refused(guard, made, Reason.START_MISMATCH, "at 0.4000 instead of 0.0000 rad/s")


def test_a_slow_arm_uses_up_the_tolerance_that_it_may_have_moved_since():
    for away, fits in ((0.012, True), (0.018, False)):
        guard = ready()
        guard.joints(joint_state(NOW - 90 * MS, PANDA.home, np.full(7, 0.08)), 100.0)
        made = plan(start=Reference(PANDA.home + away, STILL, STILL))
        assert guard.check(made, NOW).accepted == fits


def test_an_arm_that_settles_after_its_motion_is_joined_where_it_is_measured():
    guard, made = ready(), plan(gripper=False)
    accepted(guard, made)
    later, rest = made.end_ns + 10 * MS, made.positions[-1]
    guard.joints(joint_state(later, rest - 0.05, np.full(7, 0.3)), 101.0)
    start = Reference(rest - 0.05, np.full(7, 0.3), STILL)
    accepted(guard, plan(later, start=start, gripper=False), later)
