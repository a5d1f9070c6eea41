# SPDX-License-Identifier: MIT
"""Row 16: plans beyond the limits, from a policy that sends what it likes."""

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from trajectory_msgs.msg import JointTrajectory

from difftori_ros.base_node import (
    COMMAND_QOS,
    STATUS_QOS,
    status_message,
    trajectory_message,
)
from difftori_ros.types import Trajectory
from tests.faults.stand import SLACK_S, Stand
from tests.promises import REST_WITHIN_S, state_at
from tests.ros.fake_robot import HOME, PROFILE

pytestmark = pytest.mark.timeout(120)

LOWEST_M = 0.15
"""Floor of the workspace box [m]."""
PERIOD_S = 0.1
LEAD_S = 0.04
"""Time a plan has to arrive: what has begun cannot be slowed down any more [s]."""


class Wild:
    """Sends plans of its own, from the measured pose to anywhere."""

    def __init__(self, stand: Stand):
        self._stand = stand
        self._plans = stand.node.create_publisher(JointTrajectory, "policy_node/plan", COMMAND_QOS)
        self._status = stand.node.create_publisher(
            DiagnosticStatus, "policy_node/status", STATUS_QOS
        )
        self._sent_ns = 0
        self.sent: list[Trajectory] = []

    def beat(self):
        now_ns = self._stand.arm.now_ns()
        if now_ns - self._sent_ns > PERIOD_S * 1e9:
            self._sent_ns = now_ns
            self._status.publish(status_message("policy_node", 0, "", {"code": "OK"}))
            return True
        return False

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
        self._plans.publish(trajectory_message(plan))


@pytest.fixture(scope="module")
def stand(tmp_path_factory):
    made = Stand(
        tmp_path_factory.mktemp("guarded"),
        guard={"workspace_lower": [-2.0, -2.0, LOWEST_M], "heartbeat_timeout_s": 3.0},
    )
    made.rest_within_s = 5.0  # slowed down plans last longer
    try:
        made.up("guard_node")
        made.until(lambda: made.guard() != "")
        yield made
    finally:
        made.close()


@pytest.fixture
def wild(stand):
    made = Wild(stand)
    stand.wake_guard(made.beat)
    yield made
    stand.check()
    stand.node.destroy_publisher(made._plans)
    stand.node.destroy_publisher(made._status)


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
    stand, wild, target, duration_s
):
    begin_ns = stand.arm.now_ns()
    stand.until(
        lambda: stand.first("guard_node", "verdict_code", "GUARD_ACTIVE", begin_ns),
        each=lambda: wild.send(target, duration_s),
    )
    values = next(v for _, v in stand.heard["guard_node"] if v["code"] == "GUARD_ACTIVE")
    assert 0.0 < float(values["amount"]) <= 1.0
    assert values["verdict"] == "accepted"
    arm = next(c for c in stand.trajectories() if len(c.joint_names) == 7)
    plan = next(p for p in wild.sent if p.stamp_ns == arm.stamp_ns)
    assert same_path(arm, plan), "the joints must keep their ratio"


def test_row_16_plan_that_leaves_the_workspace_is_cut_or_refused_by_name(stand, wild):
    begin_ns = stand.arm.now_ns()
    down = HOME.copy()
    down[1] += 0.6  # leans forward, to the table
    stand.until(
        lambda: any(
            values.get("verdict_code") in ("WORKSPACE", "GUARD_ACTIVE")
            for heard_ns, values in stand.heard["guard_node"]
            if heard_ns > begin_ns
        ),
        each=lambda: wild.send(down, 1.5),
    )
    stand.run(2.0)
    tips = [stand.tip(state.position[:7])[2] for state in stand.arm.history]
    assert min(tips) > LOWEST_M - 0.01


def test_row_16_plan_that_folds_the_arm_into_itself_is_cut_or_refused_by_name(stand, wild):
    begin_ns = stand.arm.now_ns()
    folded = np.append([0.0, -1.2, 0.0, -3.0, 0.0, 0.3, 0.785], HOME[7])
    named = ("SELF_COLLISION", "WORKSPACE", "GUARD_ACTIVE")
    stand.until(
        lambda: any(
            values.get("verdict_code") in named
            for heard_ns, values in stand.heard["guard_node"]
            if heard_ns > begin_ns
        ),
        each=lambda: wild.send(folded, 3.0),
    )
    told = " ".join(values["message"] for _, values in stand.heard["guard_node"])
    assert "overlap" in told
    assert "stopped after" in told


def test_row_16_plan_that_starts_elsewhere_than_measured_is_refused_by_name(stand, wild):
    stand.run(REST_WITHIN_S)  # nothing is under way any more that the arm would have to follow
    stand.arm.go_home()  # where the last of it may have led away from
    begin_ns, commands = stand.arm.now_ns(), len(stand.commands)
    stand.measured_is_known = False
    stand.arm.pushed[2] = 0.3
    stand.run(0.2)  # by then the guard has heard where the arm is

    def lie():
        if wild.beat():
            positions = np.tile(HOME, (2, 1))
            plan = Trajectory(
                stand.arm.history[-1].stamp_ns,
                PROFILE.joint_names,
                np.array([0.0, 0.2]),
                positions,
                np.zeros_like(positions),
            )
            wild._plans.publish(trajectory_message(plan))

    stand.until(
        lambda: stand.first("guard_node", "verdict_code", "START_MISMATCH", begin_ns), each=lie
    )
    assert "panda_joint3" in stand.guard("verdict_detail")
    assert len(stand.commands) == commands
    stand.arm.heal()


def test_row_16_plans_that_ask_too_much_for_a_second_are_a_fault(stand, wild):
    begin_ns = stand.arm.now_ns()
    targets = [moved(0, 0.5), moved(0, -0.5)]
    stand.until(
        lambda: stand.guard() == "FAULT",
        each=lambda: wild.send(targets[len(wild.sent) % 2], 0.1),
    )
    assert stand.guard("code") == "GUARD_ACTIVE"
    assert "by more than 50%" in stand.guard("message")
    assert (stand.arm.now_ns() - begin_ns) * 1e-9 > 1.0 - SLACK_S
