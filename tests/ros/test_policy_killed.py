# SPDX-License-Identifier: MIT
"""When the policy's process dies the arm comes to rest by itself (P3), and is told why (P4)."""

import signal
import time

import numpy as np
import pytest
from sensor_msgs.msg import JointState

from difftori_ros import codecs
from difftori_ros.nodes.node_base import STATUS_QOS
from difftori_ros.types import GuardState, Reason
from difftori_sim.arm.tasks import TEST_SEEDS
from difftori_sim.ros.process_operator import Operator
from tests.support.promises import assert_promises

pytestmark = [pytest.mark.real_time, pytest.mark.vulkan, pytest.mark.timeout(300)]

MOVING = 0.2
"""Joint speed above which the arm is in mid-motion [rad/s]."""
REST = 0.02
"""Joint speed below which the simulated arm counts as at rest [rad/s]."""
NAMED = (Reason.POLICY_LOST, Reason.NOT_FOLLOWING)
"""What the guard may name: on a busy machine the simulated arm lags behind before that."""
BRAKE_S = 0.5
"""Longest braking from full speed at the profile's accelerations, and the drives' settling [s]."""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_arm_rests_within_horizon_and_brake_time_when_the_policy_dies_in_mid_motion(
    request, number
):
    measured, published_ns = [], []

    def measure(message, info):
        measured.append(codecs.decode_joint_state(message))
        published_ns.append(info["source_timestamp"])

    with Operator(
        "pick_cube_state", clock="wall", bridge_parameters={"max_time_s": 60.0}
    ) as stand:
        stand.node.create_subscription(JointState, "joint_states", measure, STATUS_QOS)
        stand.begin(TEST_SEEDS.start + 1)
        measured.clear()
        recorder = stand.recorder
        accepted = recorder.guard.accepted

        def speed():
            return float(np.abs(measured[-1].velocity[:7]).max()) if measured else 0.0

        stand.wait(
            lambda: speed() > MOVING and recorder.guard.accepted > accepted,
            30.0,
            "the arm to move",
        )
        policy = stand.processes.pop("policy_node")
        request.addfinalizer(policy.wait)
        request.addfinalizer(policy.kill)
        policy.send_signal(number)
        signalled_ns = time.time_ns()
        stand.wait(lambda: published_ns[-1] > signalled_ns, 10.0, "a measurement after that")
        killed_ns = measured[-1].stamp_ns
        horizon_s = 4 * 0.05
        limit_ns = killed_ns + round((horizon_s + BRAKE_S) * 1e9)
        stand.wait(
            lambda: measured[-1].stamp_ns > limit_ns + 1_000_000_000, 60.0, "another second"
        )
        after = [state for state in measured if state.stamp_ns > limit_ns]
        moving_s = [
            (state.stamp_ns - killed_ns) * 1e-9
            for state in after
            if np.abs(state.velocity[:7]).max() >= REST
        ]
        assert not moving_s, (
            f"in motion {moving_s[0]:.2f} to {moving_s[-1]:.2f} s after the signal"
        )
        stand.wait(lambda: recorder.guard.reason in NAMED, 30.0, "the guard to name it")
        assert recorder.guard.state is GuardState.FAULT
        assert recorder.guard.sentence.startswith(recorder.guard.reason.value)
        assert recorder.current is not None
        heard, begun_ns = recorder.current, int(recorder.bridge["start_ns"])
        # the world's clock leaps to where an episode begins
        told = [
            (command, at_ns)
            for command, at_ns in zip(heard.commands, heard.command_times_ns, strict=True)
            if command.stamp_ns >= begun_ns
        ]
        assert told
        assert_promises(
            *zip(*told, strict=True),
            heard.guard_reports,
            stand.profile,
        )
