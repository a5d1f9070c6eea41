# SPDX-License-Identifier: MIT
"""The black box writes what led to a fault, of the real guard, and commands nothing."""

import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from std_msgs.msg import Float32MultiArray
from std_srvs.srv import Trigger

from difftori_ros import codecs
from difftori_ros.bringup.node_specs import policy_specs
from difftori_ros.nodes.blackbox_node import decode
from difftori_ros.nodes.node_base import STATUS_QOS
from difftori_ros.recording.mcap_file import Entry, load
from difftori_ros.status.guard_report import GuardReport
from difftori_ros.tools.show_recording import read
from difftori_ros.types import GuardState, Reason
from tests.ros.conftest import values_of
from tests.support.fake_policy import FakePolicy
from tests.support.fake_robot import PROFILE, FakeRobot
from tests.unit.test_import_rules import loaded_after


class Stand:
    """Guard and black box as processes; robot and policy in the test."""

    def __init__(self, graph, folder: Path, **parameters):
        self.graph, self.folder = graph, folder
        self.status: list[DiagnosticStatus] = []
        graph.node.create_subscription(
            DiagnosticStatus, "blackbox_node/status", self.status.append, STATUS_QOS
        )
        self._latent = graph.node.create_publisher(
            Float32MultiArray, "policy_node/latent", STATUS_QOS
        )
        guard, _, blackbox = policy_specs("pick_cube_state", "panda", blackbox=True)
        settings = {"folder": str(folder), "after_s": 0.3} | parameters
        graph.start(replace(blackbox, parameters={**blackbox.parameters, **settings}))
        graph.start(guard)
        self.robot, self.policy = FakeRobot(graph.node), FakePolicy(graph)
        graph.until(
            lambda: bool(self.status) and bool(graph.status["guard_node"]), each=self.alive
        )

    @property
    def newest(self) -> dict[str, str]:
        return values_of(self.status[-1])

    def alive(self) -> None:
        self.robot.publish(cloud=False)
        self.policy.beat()

    def move(self) -> None:
        self.alive()
        self._latent.publish(Float32MultiArray(data=[0.25, -1.0]))
        self.policy.send(self.robot.publish(cloud=False))

    def until_moving(self) -> int:
        """Send plans until the box has heard a command; return how many the test has heard."""
        self.graph.until(lambda: "command/arm" in self.newest["heard"].split(), each=self.move)
        heard = len(self.graph.commands)
        self.graph.until(lambda: len(self.graph.commands) >= heard + 4, each=self.move)
        return heard

    def files(self) -> list[Path]:
        return sorted(self.folder.glob("*.mcap"))

    def call_save(self):
        return self.graph.ask(Trigger, "blackbox_node/save", Trigger.Request(), self.alive)


def of(entries: list[Entry], role: str) -> list:
    return [decode(e.type_name, e.data) for e in entries if e.role == role]


def test_silent_policy_leaves_one_file_with_everything_that_led_to_it(graph, tmp_path):
    stand = Stand(graph, tmp_path / "box")
    before = stand.until_moving()
    heard = [codecs.decode_trajectory(message) for message in graph.commands[before:]]
    graph.until(lambda: bool(stand.files()), each=lambda: stand.robot.publish(cloud=False))
    graph.until(lambda: stand.newest.get("files") == "1")
    [path] = stand.files()
    assert stand.newest["file"] == str(path)
    assert path.stem.endswith("_POLICY_LOST")

    note, entries = load(path)
    assert note["code"] == "POLICY_LOST"
    assert note["source"] == "guard_node"
    assert note["checkpoint"] == "pick_cube_state"
    arm = [codecs.decode_trajectory(m) for m in of(entries, "command/arm")]
    wanted = [t for t in heard if t.joint_names == PROFILE.arm_joints]
    recorded = {t.stamp_ns: t for t in arm}
    for command in wanted:
        np.testing.assert_array_equal(recorded[command.stamp_ns].positions, command.positions)
    assert of(entries, "policy_node/latent")[0].data.tolist() == [0.25, -1.0]
    for role in ("joint_states", "goal", "object", "policy_node/plan", "command/gripper"):
        assert of(entries, role), role
    measured = [entry for entry in entries if entry.role == "joint_states"]
    late_s = [
        (entry.time_ns - codecs.stamp_to_ns(message.header.stamp)) * 1e-9
        for entry, message in zip(measured, of(entries, "joint_states"), strict=True)
    ]
    assert float(np.median(late_s)) < 0.02  # when they came, not when they were taken
    assert min(late_s) > -0.02
    reports = [GuardReport.from_status(m) for m in of(entries, "guard_node/status")]
    assert GuardState.TRACKING in [report.state for report in reports]
    assert reports[-1].state.has_stopped_the_arm

    timeline = read(path)
    assert [command.stamp_ns for _, command in timeline.commands] == [t.stamp_ns for t in arm]
    before = [m for m in timeline.samples() if m.time_s < 0]
    after = [m for m in timeline.samples() if m.time_s > 0]
    assert before[-1].guard.state is GuardState.TRACKING
    assert after
    assert {m.guard.reason for m in after} == {Reason.POLICY_LOST}
    assert before[-1].off_plan < 0.1


def test_killed_guard_is_a_fault_with_a_file_although_it_says_nothing(graph, tmp_path):
    stand = Stand(graph, tmp_path / "box")
    stand.until_moving()
    graph.processes["guard_node"].kill()
    graph.until(lambda: bool(stand.files()), each=stand.alive)
    [path] = stand.files()
    assert load(path)[0]["code"] == "GUARD_LOST"


def test_guard_that_is_ended_properly_is_no_fault(graph, tmp_path):
    stand = Stand(graph, tmp_path / "box")
    graph.until(lambda: "guard_node/status" in stand.newest["heard"].split(), each=stand.alive)
    graph.processes["guard_node"].send_signal(signal.SIGINT)
    assert graph.exit_status("guard_node") == 0
    ends = len(stand.status) + 5  # of two a second: silence counts after one
    graph.until(lambda: len(stand.status) >= ends, each=stand.alive)
    assert stand.files() == []


def test_file_is_written_on_demand_and_when_the_process_ends_before_its_time(graph, tmp_path):
    stand = Stand(graph, tmp_path / "box", after_s=60.0)
    answer = stand.call_save()
    assert answer.success
    [path] = stand.files()
    assert answer.message == f"wrote {path}"
    assert load(path)[0]["code"] == "SAVED"
    stand.until_moving()
    graph.until(
        lambda: graph.newest("guard_node")["code"] == "POLICY_LOST",
        each=lambda: stand.robot.publish(cloud=False),
    )
    graph.processes["blackbox_node"].send_signal(signal.SIGINT)
    assert graph.exit_status("blackbox_node") == 0
    codes = {load(path)[0]["code"] for path in stand.files()}
    assert codes == {"SAVED", "POLICY_LOST"}


def test_folder_that_cannot_be_written_is_named_and_ends_nothing(graph, tmp_path):
    blocked = tmp_path / "box"
    blocked.write_text("a file where the folder should be")
    stand = Stand(graph, blocked)
    assert stand.newest["code"] == "DISK_ERROR"
    assert str(blocked) in stand.newest["message"]
    answer = stand.call_save()
    assert not answer.success
    assert str(blocked) in answer.message
    blocked.unlink()
    assert stand.call_save().success
    graph.until(lambda: stand.newest["code"] == "RECORDING", each=stand.alive)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"checkpoint": "nope"}, "no checkpoint 'nope'"),
        ({"robot": "nope"}, "no robot profile 'nope'"),
        ({"max_files": 0}, "max_files"),
    ],
)
def test_wrong_setting_ends_it_with_one_sentence(graph, setting, sentence):
    *_, blackbox = policy_specs("pick_cube_state", "panda", blackbox=True)
    graph.start(replace(blackbox, parameters={**blackbox.parameters, **setting}))
    assert graph.exit_status("blackbox_node") == 1
    assert sentence in graph.log("blackbox_node")
    assert "Traceback" not in graph.log("blackbox_node")


def test_its_process_never_loads_torch():
    assert "torch" not in loaded_after(["difftori_ros.nodes.blackbox_node"])
