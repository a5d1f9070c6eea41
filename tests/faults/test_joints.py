# SPDX-License-Identifier: MIT
"""Rows 3 and 4: joint states that are not finite, of other joints, or from two sides."""

import numpy as np
import pytest
from sensor_msgs.msg import JointState

from difftori_models.checkpoint import load_card
from difftori_models.contract.specs import Observation
from difftori_ros import codecs
from difftori_ros.config.paths import find_checkpoint
from difftori_ros.observation import Observer
from difftori_ros.observation.frame_tree import FrameTree
from difftori_ros.robot.kinematics import Kinematics
from difftori_ros.types import JointState as Joints
from difftori_ros.types import Pose
from difftori_sim.ros.fault_injection import FaultInjector, parse
from tests.support.fake_robot import HOME, PROFILE
from tests.support.promises import REST_WITHIN_S
from tests.support.virtual.fault_arm import STREAMS
from tests.support.virtual.fault_harness import assert_within, virtual_harness

JOINT_TIMEOUT_S = 0.15
"""The guard's patience with joint states: less than a plan lasts, so that it must brake [s]."""
TICK_S = 0.025
"""The guard's period, and what it takes to think and to send [s]."""


@pytest.fixture
def harness():
    yield from virtual_harness(guard={"joint_timeout_s": JOINT_TIMEOUT_S})


def assert_brakes_to_a_fault(harness, code, begin_ns, words=()):
    """Brake and fault within the guard's patience, named; latched until the operator's reset."""
    harness.until(lambda: harness.guard() == "FAULT")
    assert harness.guard("code") == code
    for word in words:
        assert word in harness.guard("message")
    braked_ns = harness.first("guard_node", "code", code, begin_ns)
    assert_within(JOINT_TIMEOUT_S + TICK_S, begin_ns, braked_ns)
    harness.assert_rests(begin_ns, JOINT_TIMEOUT_S + REST_WITHIN_S)
    harness.arm.clear_faults()
    commands = len(harness.commands)
    harness.run(0.5)
    assert harness.guard() == "FAULT", "a fault must not go away by itself"
    assert len(harness.commands) == commands


# 3 -----------------------------------------------------------------------------------------------


def test_row_03_single_joint_state_with_nan_is_dropped_and_the_motion_goes_on(moving):
    before, begin_ns = moving.dropped("joint_states"), moving.arm.now_ns()
    for _ in range(20):  # only those that are needed are ever read
        moving.arm.inject("joint_states:nan:0:0.01:0.2")
        moving.run(0.037)
    assert moving.dropped("joint_states") > before
    moving.moving(moving.arm.now_ns())
    assert "BRAKE" not in moving.told("guard_node", "state", begin_ns)
    assert not {"FAULT_LATCHED", "BAD_JOINT_STATE"} & set(moving.codes("guard_node", begin_ns))


@pytest.mark.parametrize(
    ("kind", "word"), [("nan", "finite"), ("inf", "finite"), ("truncate", "velocity")]
)
def test_row_03_joint_states_that_stay_bad_brake_the_arm_to_a_fault(moving, kind, word):
    begin_ns = moving.arm.now_ns()
    moving.arm.inject(f"joint_states:{kind}:0:60:0.5")
    moving.until(lambda: word in moving.policy("message"))
    assert moving.policy() == "STALE"
    assert_brakes_to_a_fault(moving, "BAD_JOINT_STATE", begin_ns)


# 4 -----------------------------------------------------------------------------------------------


def test_row_04_permuted_and_extra_joints_give_the_same_observation_bit_by_bit():
    spec = load_card(find_checkpoint("pick_cube_state")).observation

    def seen(*faults: str) -> Observation:
        observer = Observer(spec, PROFILE, Kinematics(PROFILE), FrameTree())
        state = JointState()
        joints = Joints(10**9, PROFILE.joint_names, HOME + 0.01, 0.1 * HOME)
        codecs.encode_joint_state(joints, state)
        line = FaultInjector([parse(text, STREAMS) for text in faults], seed=1)
        ((_, message),) = line.apply("joint_states", state, 0.0)
        observer.streams.push("joint_states", codecs.decode_joint_state(message), 10**9)
        for name in spec.poses:
            pose = np.array([0.5, 0.0, 0.1, 0.0, 0.0, 0.0, 1.0])
            observer.streams.push(name, Pose(10**9, PROFILE.base_frame, pose), 10**9)
        observation = observer.observe(10**9)
        assert isinstance(observation, Observation), observation
        return observation

    plain = seen()
    odd = seen("joint_states:permute:0:1", "joint_states:extra:0:1:7.0")
    assert odd.position.tobytes() == plain.position.tobytes()
    assert odd.velocity.tobytes() == plain.velocity.tobytes()
    assert odd.poses["tip"].tobytes() == plain.poses["tip"].tobytes()


def test_row_04_permuted_and_extra_joints_do_not_disturb_the_motion(moving):
    begin_ns = moving.arm.now_ns()
    moving.arm.inject("joint_states:permute:0:60")
    moving.arm.inject("joint_states:extra:0:60:7.0")
    enough = int(moving.guard("accepted")) + 8
    moving.until(lambda: int(moving.guard("accepted")) > enough)
    assert moving.codes("guard_node", begin_ns) == ["OK"]
    assert moving.codes("policy_node", begin_ns) == ["OK"]
    assert moving.arm.speed > 0


def test_row_04_missing_joint_brakes_the_arm_to_a_fault_that_names_it(moving):
    begin_ns = moving.arm.now_ns()
    moving.arm.inject("joint_states:missing:0:60:2")
    moving.until(lambda: moving.policy() == "BAD_JOINT_STATE")
    assert "panda_joint3" in moving.policy("message")
    assert_brakes_to_a_fault(moving, "BAD_JOINT_STATE", begin_ns, ["panda_joint3"])


def test_row_04_joint_given_twice_brakes_the_arm_to_a_fault_that_names_it(moving):
    begin_ns = moving.arm.now_ns()
    moving.arm.inject("joint_states:twice:0:60")
    moving.until(lambda: "twice: panda_joint2" in moving.policy("message"))
    assert_brakes_to_a_fault(moving, "BAD_JOINT_STATE", begin_ns, ["panda_joint2"])


def test_row_04_second_publisher_of_joint_states_stops_the_arm_by_name(moving):
    def lie():
        message = JointState()
        joints = Joints(moving.arm.now_ns(), PROFILE.joint_names, HOME + 0.4, np.zeros(len(HOME)))
        codecs.encode_joint_state(joints, message)
        moving.arm.publish("joint_states", message)

    moving.until(lambda: moving.guard() == "FAULT", each=lie)
    assert moving.guard("code") in {"NOT_FOLLOWING", "START_MISMATCH", "DISCONTINUOUS"}
    moving.assert_rests(moving.arm.now_ns())
    moving.follows = False  # where the arm is measured to be is not where it is
