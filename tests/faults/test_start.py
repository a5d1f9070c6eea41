# SPDX-License-Identifier: MIT
"""Rows 10 to 13 and 18: what is refused at the start, and orders that come at the wrong time."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from geometry_msgs.msg import PoseStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import ParameterType

from difftori_models.checkpoint import CheckpointError, load_card
from difftori_models.inference.planner import Planner
from difftori_ros.config.paths import find_checkpoint
from difftori_ros.policy.compatibility import check_card
from difftori_ros.robot.profile import ProfileError, load_profile
from tests.support.harness import PATIENT, Harness, running

pytestmark = [pytest.mark.real_time, pytest.mark.timeout(120)]

CYCLES = 10
LEAK_MB = 20.0
"""What the node may grow by in the second half of `CYCLES` [MB]."""


# 10 ----------------------------------------------------------------------------------------------


def test_row_10_device_that_is_not_there_is_refused_in_a_sentence():
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has the device")
    with pytest.raises(CheckpointError, match=r"cuda"):
        Planner(find_checkpoint("pick_cube_state"), device="cuda", backend="eager")


# 11 ----------------------------------------------------------------------------------------------


@pytest.fixture
def copied(tmp_path) -> Path:
    return Path(shutil.copytree(find_checkpoint("pick_cube_state"), tmp_path / "copied"))


def change_card(folder: Path, **entries) -> None:
    path = folder / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data[: len(data) // 2], "bytes"),
        (lambda data: data[:-7] + bytes([data[-7] ^ 1]) + data[-6:], "sha256|hash"),
        (lambda data: b"\x80\x04cos\nsystem\n" + data, "pickle"),
        (lambda data: b"PK\x03\x04" + data, "zip|pickle"),
        (lambda data: (2**60).to_bytes(8, "little") + data[8:], "header"),
        (lambda data: b"", "empty|bytes|header"),
    ],
    ids=["truncated", "bit flipped", "pickle", "torch zip", "giant header", "empty"],
)
def test_row_11_weights_that_are_damaged_or_no_weights_are_refused_unopened(copied, damage, words):
    path = copied / "weights.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=f"(?i){words}"):
        Planner(copied, backend="eager")


@pytest.mark.parametrize(
    ("entries", "words"),
    [({"schema": 99}, "schema"), ({"name": "../../etc/passwd"}, "name")],
    ids=["schema", "path"],
)
def test_row_11_card_of_another_schema_or_with_a_path_for_a_name_is_refused(
    copied, entries, words
):
    change_card(copied, **entries)
    with pytest.raises(CheckpointError, match=words):
        Planner(copied, backend="eager")


# 12 ----------------------------------------------------------------------------------------------


def test_row_12_checkpoint_that_does_not_fit_the_robot_is_refused_in_two_columns():
    card, panda = load_card(find_checkpoint("pick_cube_state")), load_profile("panda")
    names = card.observation.joint_names
    others = {
        "joints": replace(card.observation, joint_names=(names[1], names[0], *names[2:])),
        "base frame": replace(card.observation, frame="world"),
    }
    for row, observation in others.items():
        with pytest.raises(ProfileError) as caught:
            check_card(replace(card, observation=observation), panda)
        header, *rows = str(caught.value).splitlines()[1:]
        assert header.split() == ["checkpoint", "robot", "profile"]
        assert [line.strip().startswith(row) for line in rows] == [True]
    with pytest.raises(ProfileError, match=r"robot +panda +xarm7"):
        check_card(card, load_profile("xarm7"))


# 13 ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    yield from running(tmp_path_factory.mktemp("start"), guard=PATIENT)


def test_row_13_parameter_out_of_range_of_another_type_or_fixed_is_refused_with_a_reason(moving):
    double, text = ParameterType.PARAMETER_DOUBLE, ParameterType.PARAMETER_STRING
    for name, value in (
        ("deadline_s", {"type": double, "double_value": 99.0}),
        ("deadline_s", {"type": text, "string_value": "soon"}),
        ("checkpoint", {"type": text, "string_value": "push_cube_state"}),
        ("no_such_thing", {"type": double, "double_value": 1.0}),
    ):
        result = moving.set("policy_node", name, **value)
        assert not result.successful, name
        assert result.reason, name
    moving.moving(moving.arm.now_ns())


def test_row_13_hundreds_of_settings_in_motion_disturb_nothing(moving):
    begin_ns = moving.arm.now_ns()
    for k in range(200):
        value = 0.02 + 0.001 * (k % 30)
        wanted = {"type": ParameterType.PARAMETER_DOUBLE, "double_value": value}
        assert moving.set("policy_node", "deadline_s", **wanted).successful
    moving.moving(moving.arm.now_ns())
    assert "EXCEPTION" not in moving.codes("policy_node", begin_ns)
    assert "FAULT" not in {values["state"] for _, values in moving.received["guard_node"]}
    back = {"type": ParameterType.PARAMETER_DOUBLE, "double_value": 0.05}
    assert moving.set("policy_node", "deadline_s", **back).successful


# 18 ----------------------------------------------------------------------------------------------


def change(harness: Harness, transition: int) -> bool:
    request = ChangeState.Request(transition=Transition(id=transition))
    return harness.call(ChangeState, "policy_node/change_state", request, 20.0).success


def memory_mb(harness: Harness) -> float:
    """Resident memory of the policy process."""
    status = Path(f"/proc/{harness.processes['policy_node'].pid}/status").read_text()
    return float(status.split("VmRSS:")[1].split()[0]) / 1024


def test_row_18_no_command_comes_after_deactivation_in_the_middle_of_a_plan(moving):
    moving.inject("slow")
    moving.run(0.4)  # now it thinks
    assert change(moving, Transition.TRANSITION_DEACTIVATE)
    received, plans = len(moving.commands), len(moving.plans)
    begin_ns = moving.arm.now_ns()
    moving.assert_rests(begin_ns)
    assert (len(moving.plans), len(moving.commands)) == (plans, received)
    assert moving.policy() == "STOPPED"
    assert moving.guard() != "FAULT", "its silence was announced, and is no fault"
    moving.inject("")
    assert change(moving, Transition.TRANSITION_ACTIVATE)
    moving.moving(moving.arm.now_ns())


def test_row_18_activation_without_a_sensor_is_refused_with_what_is_missing(moving):
    assert change(moving, Transition.TRANSITION_DEACTIVATE)
    moving.node.destroy_publisher(moving.arm._out.pop("object"))
    try:
        moving.arm.inject("object:silence:0:60")
        for _ in range(10):  # until the policy has heard as well that nobody publishes it
            refused = not change(moving, Transition.TRANSITION_ACTIVATE)
            if refused:
                break
            assert change(moving, Transition.TRANSITION_DEACTIVATE)
            moving.run(0.2)
        assert refused
        assert "nobody publishes '/object'" in moving.log("policy_node")
        plans = len(moving.plans)
        moving.run(0.3)
        assert len(moving.plans) == plans
    finally:
        moving.arm._out["object"] = moving.node.create_publisher(PoseStamped, "object", 100)
        moving.arm.clear_faults()
    moving.run(0.5)
    assert change(moving, Transition.TRANSITION_ACTIVATE)
    moving.moving(moving.arm.now_ns())


def test_row_18_impossible_transitions_are_refused_and_many_cycles_leave_no_memory(moving):
    assert not change(moving, Transition.TRANSITION_CONFIGURE), "it is active"
    assert change(moving, Transition.TRANSITION_DEACTIVATE)
    grown = []
    for _ in range(CYCLES):
        assert change(moving, Transition.TRANSITION_CLEANUP)
        assert change(moving, Transition.TRANSITION_CONFIGURE)
        grown.append(memory_mb(moving))
    assert grown[-1] - grown[CYCLES // 2] < LEAK_MB, grown
    state = moving.call(GetState, "policy_node/get_state", GetState.Request())
    assert state.current_state.label == "inactive"
    assert change(moving, Transition.TRANSITION_ACTIVATE)
    moving.moving(moving.arm.now_ns())
