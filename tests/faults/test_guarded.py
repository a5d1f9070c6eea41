# SPDX-License-Identifier: MIT
"""Row 16: plans beyond the limits, from a policy that sends what it likes."""

import numpy as np
import pytest

from difftori_ros.codecs.serialized_trajectory import write_trajectory
from difftori_ros.nodes.node_base import status_message
from difftori_ros.robot.kinematics import Kinematics
from difftori_ros.types import Trajectory
from tests.support.fake_robot import HOME, PROFILE
from tests.support.promises import state_at
from tests.support.virtual.fault_harness import VirtualHarness, virtual_harness

LOWEST_M = 0.15
"""Floor of the workspace box [m]."""
PERIOD_S = 0.1
LEAD_S = 0.04
"""Time a plan has to arrive: what has begun cannot be slowed down any more [s]."""


class Wild:
    """Sends plans of its own, from the measured pose to anywhere."""

    def __init__(self, harness: VirtualHarness):
        self._stand = harness
        self._sent_ns = 0
        self.sent: list[Trajectory] = []

    def beat(self):
        """Its heartbeat, if that is due; True when it is."""
        now_ns = self._stand.arm.now_ns()
        if now_ns - self._sent_ns <= PERIOD_S * 1e9:
            return False
        self._sent_ns = now_ns
        status = status_message("policy_node", 0, "", {"code": "OK"})
        self._stand.world.to_guard("plans", "policy_node/status", status)
        return True

    def publish(self, plan):
        """A plan, whatever it is."""
        self._stand.world.judge.planned(plan)
        self._stand.world.to_guard("plans", "policy_node/plan", write_trajectory(plan))

    def send(self, target, duration_s):
        """From rest where the arm is to rest at `target` (8,), as a cubic; only at rest."""
        arm = self._stand.arm
        if not self.beat() or arm.speed > 0:
            return
        times = np.linspace(0.0, duration_s, 21)
        phase = (times / duration_s)[:, None]
        times = times + LEAD_S
        here = arm.history[-1].position
        gap = np.asarray(target) - here
        positions = here + gap * (3 * phase**2 - 2 * phase**3)
        velocities = gap * (6 * phase - 6 * phase**2) / duration_s
        stamp_ns = arm.history[-1].stamp_ns
        plan = Trajectory(stamp_ns, PROFILE.joint_names, times, positions, velocities)
        self.sent.append(plan)
        self.publish(plan)


@pytest.fixture
def harness():
    guard = {"workspace_lower": [-2.0, -2.0, LOWEST_M], "heartbeat_timeout_s": 3.0}
    yield from virtual_harness("", guard=guard, rest_within_s=5.0)  # slowed down plans last longer


@pytest.fixture
def wild(harness):
    made = Wild(harness)
    harness.until(lambda: harness.guard() == "TRACKING", each=made.beat)
    harness.run(0.2)
    harness.forget()
    yield made
    harness.check()


def moved(joint, by):
    target = HOME.copy()
    target[joint] += by
    return target


def same_path(a: Trajectory, b: Trajectory) -> bool:
    """Whether the arm's columns of both pass through the same points, whatever the time."""
    along = np.array([state_at(a, a.stamp_ns + round(t * 1e9))[0][:7] for t in a.times])
    start, end = b.positions[0, :7], b.positions[-1, :7]
    gap = end - start
    share = (along - start) @ gap / (gap @ gap)
    return bool(np.abs(along - start - share[:, None] * gap).max() < 1e-3)


@pytest.mark.parametrize(
    ("target", "duration_s"),
    [(moved(0, 0.6), 0.35), (moved(6, 0.3), 0.2)],
    ids=["velocity", "acceleration"],
)
def test_row_16_plan_beyond_a_limit_is_slowed_down_along_its_path_and_the_amount_is_told(
    harness, wild, target, duration_s
):
    begin_ns = harness.arm.now_ns()
    harness.until(
        lambda: harness.first("guard_node", "verdict_code", "GUARD_ACTIVE", begin_ns),
        each=lambda: wild.send(target, duration_s),
    )
    received = [one.values for one in harness.world.received["guard_node"]]
    values = next(one for one in received if one["code"] == "GUARD_ACTIVE")
    assert 0.0 < float(values["amount"]) <= 1.0
    assert values["verdict"] == "accepted"
    arm = next(c for c in harness.commands if len(c.joint_names) == 7)
    plan = next(p for p in wild.sent if p.stamp_ns == arm.stamp_ns)
    assert same_path(arm, plan), "the joints must keep their ratio"


def test_row_16_plan_that_leaves_the_workspace_is_cut_or_refused_by_name(harness, wild):
    begin_ns = harness.arm.now_ns()
    down = HOME.copy()
    down[1] += 0.6  # leans forward, to the table
    harness.until(
        lambda: (
            {"WORKSPACE", "GUARD_ACTIVE"}
            & set(harness.told("guard_node", "verdict_code", begin_ns))
        ),
        each=lambda: wild.send(down, 1.5),
    )
    harness.run(2.0)
    kinematics = Kinematics(PROFILE)
    tips = [kinematics.tip_pose(state.position[:7])[2] for state in harness.arm.history]
    assert min(tips) > LOWEST_M - 0.01


def test_row_16_plan_that_folds_the_arm_into_itself_is_cut_or_refused_by_name(harness, wild):
    begin_ns = harness.arm.now_ns()
    folded = np.append([0.0, -1.2, 0.0, -3.0, 0.0, 0.3, 0.785], HOME[7])
    named = {"SELF_COLLISION", "WORKSPACE", "GUARD_ACTIVE"}
    harness.until(
        lambda: named & set(harness.told("guard_node", "verdict_code", begin_ns)),
        each=lambda: wild.send(folded, 3.0),
    )
    told = " ".join(harness.told("guard_node", "message"))
    assert "overlap" in told
    assert "stopped after" in told


def test_row_16_plan_that_starts_elsewhere_than_measured_is_refused_by_name(harness, wild):
    begin_ns, commands = harness.arm.now_ns(), len(harness.commands)
    harness.follows = False
    harness.arm.pushed[2] = 0.3
    harness.run(0.2)  # by then the guard has heard where the arm is

    def lie():
        if wild.beat():
            positions = np.tile(HOME, (2, 1))
            plan = Trajectory(
                harness.arm.history[-1].stamp_ns,
                PROFILE.joint_names,
                np.array([0.0, 0.2]),
                positions,
                np.zeros_like(positions),
            )
            wild.publish(plan)

    harness.until(
        lambda: harness.first("guard_node", "verdict_code", "START_MISMATCH", begin_ns), each=lie
    )
    assert "panda_joint3" in harness.guard("verdict_detail")
    assert len(harness.commands) == commands
    harness.arm.clear_faults()


def test_row_16_plans_that_ask_too_much_for_a_second_are_a_fault(harness, wild):
    begin_ns = harness.arm.now_ns()
    targets = [moved(0, 0.5), moved(0, -0.5)]
    harness.until(
        lambda: harness.guard() == "FAULT",
        each=lambda: wild.send(targets[len(wild.sent) % 2], 0.1),
    )
    assert harness.guard("code") == "GUARD_ACTIVE"
    assert "by more than 50%" in harness.guard("message")
    assert (harness.arm.now_ns() - begin_ns) * 1e-9 > 1.0
