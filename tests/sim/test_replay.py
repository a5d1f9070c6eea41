# SPDX-License-Identifier: MIT
"""`difftori replay` shows what led to a fault, and says plainly what it cannot show."""

import io
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from mcap.writer import Writer
from rclpy.serialization import serialize_message
from rich.console import Console
from sensor_msgs.msg import JointState as JointStateMessage
from trajectory_msgs.msg import JointTrajectory

from difftori_ros import codecs
from difftori_ros.nodes.node_base import status_message, trajectory_message
from difftori_ros.recording.mcap_file import Channel, Heard, definition, save, type_name
from difftori_ros.status.guard_report import GuardReport
from difftori_ros.tools.show_recording import read, replay
from difftori_ros.types import GuardState, JointState, Level, Reason, Trajectory
from difftori_sim.cli.main import main

S = 10**9
FAULT_NS = 100 * S
"""Steady time of the fault; the stamps of the data run from another zero."""
STAMP_NS = 5_000 * S
NAMES = ("a", "b")
TYPES = {
    "joint_states": JointStateMessage,
    "command/arm": JointTrajectory,
    "policy_node/status": DiagnosticStatus,
    "guard_node/status": DiagnosticStatus,
}
NOTE = {
    "code": "POLICY_LOST",
    "source": "guard_node",
    "sentence": "the policy process has gone silent [for 0.52 s]",
    "time_ns": str(1_800_000_000 * S),
    "checkpoint": "pick_cube_state",
    "robot": "panda",
}


def joints(time_s: float) -> JointStateMessage:
    """Joint `a` moves by 0.1 rad/s and lags 0.01 rad behind its command; `b` stands still."""
    message = JointStateMessage()
    position, velocity = np.array([0.1 * (time_s + 2.0) - 0.01, 1.0]), np.array([0.1, 0.0])
    stamp_ns = STAMP_NS + round(time_s * 1e9)
    codecs.encode_joint_state(JointState(stamp_ns, NAMES, position, velocity), message)
    return message


def command() -> JointTrajectory:
    times = np.array([0.0, 3.0])
    positions, velocities = np.array([[0.0, 1.0], [0.3, 1.0]]), np.array([[0.1, 0.0], [0.1, 0.0]])
    return trajectory_message(Trajectory(STAMP_NS - 2 * S, NAMES, times, positions, velocities))


def guard(state: GuardState, reason: Reason, level: Level) -> DiagnosticStatus:
    return status_message("guard_node", *GuardReport(state, reason, level).to_status())


def recorded() -> list[tuple[float, str, object]]:
    """Two seconds before a fault and a half after it."""
    policy = status_message(
        "policy_node",
        0,
        "",
        {"code": "OK", "plan_ms": "12.34", "age_joint_states": "0.004", "age_goal": "0.120"},
    )
    found: list[tuple[float, str, object]] = [(-2.0, "command/arm", command())]
    found += [(k / 50, "joint_states", joints(k / 50)) for k in range(-99, 25)]
    found += [(-1.5 + k / 10, "policy_node/status", policy) for k in range(10)]
    found += [(-1.0, "guard_node/status", guard(GuardState.TRACKING, Reason.OK, Level.OK))]
    found += [(0.0, "guard_node/status", guard(GuardState.BRAKE, Reason.POLICY_LOST, Level.ERROR))]
    found += [
        (0.31, "guard_node/status", guard(GuardState.FAULT, Reason.POLICY_LOST, Level.ERROR))
    ]
    return sorted(found, key=lambda item: item[0])


def write(folder: Path, heard, types=TYPES) -> Path:
    channels = [
        Channel(role, f"/{role}", type_name(kind), definition(kind))
        for role, kind in types.items()
    ]
    messages = [
        Heard(
            FAULT_NS + round(time_s * 1e9),
            role,
            message if isinstance(message, bytes) else serialize_message(message),
        )
        for time_s, role, message in heard
    ]
    return save(
        folder,
        channels,
        messages,
        now_ns=1_800_000_001 * S,
        steady_ns=FAULT_NS + S,
        note=NOTE,
        max_files=100,
    )


def shown(path: Path, png: Path | None = None) -> list[str]:
    screen = io.StringIO()
    replay(path, Console(file=screen, width=120), png)
    return screen.getvalue().splitlines()


def cells(line: str) -> list[str]:
    return [part.strip() for part in line.strip("│").split("│")]


def test_table_says_what_the_arm_the_policy_and_the_guard_did_at_every_time(tmp_path):
    lines = shown(write(tmp_path, recorded()))
    rows = {cells(line)[0]: cells(line)[1:] for line in lines if line.startswith("│ ")}
    assert rows["-2.00"] == ["-", "-", "-", "-", "-", "-", "-"]
    assert rows["-0.50"] == [
        *("OK", "TRACKING", "OK", "12.34"),
        *("0.100", "0.010", "0.120 goal"),
    ]
    assert rows["+0.00"][1:3] == ["BRAKE", "POLICY_LOST"]
    assert rows["+0.31"] == ["-", "FAULT", "POLICY_LOST", "-", "0.100", "0.010", "-"]
    assert lines[0] == "2027-01-15 08:00:00 UTC, panda, pick_cube_state"
    assert lines[-1] == "guard_node: POLICY_LOST: the policy process has gone silent [for 0.52 s]"


def test_rows_are_few_and_no_change_is_left_out(tmp_path):
    samples = read(write(tmp_path, recorded())).samples()
    assert len(samples) < 12
    states = [m.guard and m.guard.state.name for m in samples]
    assert [s for k, s in enumerate(states) if not k or s != states[k - 1]] == [
        *(None, "TRACKING", "BRAKE", "FAULT")
    ]


def test_command_shows_it_and_draws_it(tmp_path, capsys):
    path, png = write(tmp_path, recorded()), tmp_path / "new" / "picture.png"
    assert main(["replay", str(path), "--png", str(png)]) == 0
    assert "POLICY_LOST" in capsys.readouterr().out
    assert png.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    matplotlib = pytest.importorskip("matplotlib.image")
    picture = matplotlib.imread(png)
    reds = (picture[..., 0] > 0.8) & (picture[..., 1] < 0.2) & (picture[..., 2] < 0.2)
    assert reds[picture.shape[0] * 3 // 4 :].sum() > 500  # the guard's band after the fault


@pytest.mark.parametrize("gone", TYPES)
def test_topic_that_was_silent_leaves_its_columns_empty(tmp_path, gone):
    heard = [item for item in recorded() if item[1] != gone]
    path = write(tmp_path, heard)
    lines = shown(path, tmp_path / "picture.png")
    assert any("POLICY_LOST" in line for line in lines)


def test_message_that_cannot_be_read_is_named_and_the_others_are_shown(tmp_path):
    bad = joints(-0.4)
    bad.position[0] = float("nan")
    heard = [*recorded(), *[(0.6, "joint_states", b"\x00\x01rubbish")] * 9]
    heard = sorted([*heard, (-0.4, "joint_states", bad)], key=lambda item: item[0])
    lines = shown(write(tmp_path, heard))
    named = [line for line in lines if line.startswith("unreadable: ")]
    assert named[0].startswith("unreadable: joint_states at -0.400 s: ")
    assert len(named) == 5
    assert "and 5 more unreadable messages" in lines


def failing(capsys, *arguments: str) -> str:
    """The one sentence of a command that fails."""
    assert main(["replay", *arguments]) == 1
    heard = capsys.readouterr()
    assert heard.err.startswith("difftori: ")
    assert "Traceback" not in heard.err
    return heard.err


def test_file_that_is_not_there_is_named(tmp_path, capsys):
    assert "nothing.mcap" in failing(capsys, str(tmp_path / "nothing.mcap"))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"", "is empty"), (b"PK\x03\x04 something else", "is no MCAP file")],
)
def test_file_that_is_no_recording_is_refused(tmp_path, capsys, content, sentence):
    path = tmp_path / "file.mcap"
    path.write_bytes(content)
    assert f"{path} {sentence}" in failing(capsys, str(path))


def test_truncated_file_is_refused(tmp_path, capsys):
    path = write(tmp_path, recorded())
    path.write_bytes(path.read_bytes()[:-200])
    assert "is truncated or damaged" in failing(capsys, str(path))


def test_recording_of_somebody_else_is_refused_with_its_topics(tmp_path, capsys):
    path = tmp_path / "other.mcap"
    with path.open("wb") as stream:
        writer = Writer(stream)
        writer.start(profile="ros2")
        schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data")
        writer.register_channel("/chatter", "cdr", schema)
        writer.finish()
    told = failing(capsys, str(path))
    assert "was not written by blackbox_node; its topics: /chatter" in told


def test_recording_without_the_topics_to_show_names_them(tmp_path, capsys):
    path = write(tmp_path, [(0.0, "points", b"x")], {"points": JointStateMessage})
    told = failing(capsys, str(path))
    assert "holds no messages of joint_states, policy_node/status" in told
    assert "it holds points" in told


def test_picture_that_cannot_be_written_is_one_sentence(tmp_path, capsys):
    path = write(tmp_path, recorded())
    (tmp_path / "file").write_text("in the way")
    assert "file" in failing(capsys, str(path), "--png", str(tmp_path / "file" / "a.png"))


def test_recording_in_which_nothing_can_be_read_is_refused(tmp_path, capsys):
    path = write(tmp_path, [(0.0, "joint_states", b"rubbish")])
    assert "holds nothing readable: joint_states at +0.000 s" in failing(capsys, str(path))
