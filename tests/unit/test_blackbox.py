# SPDX-License-Identifier: MIT
"""The black box keeps the last seconds within its bytes, knows a fault, and writes whole files."""

import os
from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from hypothesis import given
from hypothesis import strategies as st
from mcap.reader import make_reader
from sensor_msgs.msg import CameraInfo, JointState, PointCloud2
from std_msgs.msg import Float32MultiArray
from trajectory_msgs.msg import JointTrajectory

from difftori_ros.recording import mcap_file
from difftori_ros.recording.mcap_file import (
    Channel,
    Heard,
    RecordingError,
    definition,
    load,
    save,
    type_name,
)
from difftori_ros.recording.ring_buffer import OVERHEAD, FaultWatch, Ring
from difftori_ros.status.guard_report import GuardReport
from difftori_ros.types import GuardState, Reason

S = 10**9
TYPES = (
    *(JointState, PointCloud2, PoseStamped, JointTrajectory, Float32MultiArray),
    *(DiagnosticStatus, CameraInfo),
)
CHANNELS = [
    Channel("joint_states", "/left/joint_states", "sensor_msgs/msg/JointState", "string name\n"),
    Channel("points", "/camera/points", "sensor_msgs/msg/PointCloud2", "uint8[] data\n"),
]


# the ring ------------------------------------------------------------------------------------


def test_what_is_older_than_the_span_is_forgotten_also_on_topics_that_are_silent():
    ring = Ring(10.0, 10**6)
    ring.push(Heard(0, "points", b"old"))
    ring.push(Heard(1, "joint_states", b"at the edge"))
    ring.push(Heard(10 * S + 1, "joint_states", b"new"))
    assert [heard.data for heard in ring.messages()] == [b"at the edge", b"new"]
    ring.forget(30 * S)
    assert (ring.messages(), ring.size) == ([], 0)


def test_clouds_give_way_to_one_another_and_never_push_out_commands():
    ring = Ring(10.0, 100_000)
    for k in range(100):
        ring.push(Heard(2 * k, "command", b"c" * 100))
        ring.push(Heard(2 * k + 1, "points", bytes(20_000)))
    roles = [heard.role for heard in ring.messages()]
    assert roles.count("command") == 100
    assert roles.count("points") == 3
    assert ring.messages()[-1].role == "points"


@given(
    st.lists(
        st.tuples(st.integers(0, 3 * S), st.sampled_from("abc"), st.integers(0, 2000)), max_size=60
    ),
    st.integers(0, 10_000),
)
def test_bytes_never_exceed_the_limit_and_the_rest_is_the_newest_in_order(given, limit):
    ring, now_ns, pushed = Ring(1.0, limit), 0, []
    for step_ns, role, size in given:
        now_ns += step_ns
        pushed.append(Heard(now_ns, role, bytes(size)))
        ring.push(pushed[-1])
        assert ring.size <= limit
    kept = ring.messages()
    assert ring.size == sum(len(heard.data) + OVERHEAD for heard in kept)
    assert [heard.steady_ns for heard in kept] == sorted(heard.steady_ns for heard in kept)
    for role in "abc":
        mine = [heard for heard in kept if heard.role == role]
        all_of_it = [heard for heard in pushed if heard.role == role]
        assert mine == all_of_it[len(all_of_it) - len(mine) :]


# faults --------------------------------------------------------------------------------------


def guard(state: str, code: str) -> GuardReport:
    return GuardReport(GuardState[state], Reason[code])


def test_fault_begins_once_and_again_only_after_its_end():
    watch = FaultWatch()
    heard = [
        guard("TRACKING", "OK"),
        guard("BRAKE", "POLICY_LOST"),
        guard("FAULT", "POLICY_LOST"),
        guard("TRACKING", "WAITING"),
        guard("FAULT", "NOT_FOLLOWING"),
    ]
    begun = [watch.guard_fails(report, k) for k, report in enumerate(heard)]
    assert begun == [False, True, False, False, True]


@pytest.mark.parametrize("state", ["BRAKE", "FAULT"])
def test_braking_because_the_operator_wants_it_is_no_fault(state):
    assert not FaultWatch().guard_fails(guard(state, "PAUSED"), 0)


@pytest.mark.parametrize("code", ["DIVERGED", "DEADLINE", "DEVICE_LOST", "EXCEPTION"])
def test_policy_that_gives_up_is_a_fault(code):
    assert FaultWatch().policy_fails(code)


@pytest.mark.parametrize("code", ["MISSING", "STALE", "WAITING", "STOPPED", "OK"])
def test_policy_that_waits_is_no_fault(code):
    assert not FaultWatch().policy_fails(code)


def test_guard_that_falls_silent_is_a_fault_once_until_it_is_back():
    watch = FaultWatch()
    assert not watch.guard_lost(100 * S)  # never heard: not started yet
    watch.guard_fails(guard("TRACKING", "OK"), 100 * S)
    assert not watch.guard_lost(101 * S)
    assert watch.guard_lost(101 * S + 1)
    assert not watch.guard_lost(105 * S)
    watch.guard_fails(guard("TRACKING", "WAITING"), 106 * S)
    assert watch.guard_lost(108 * S)


@pytest.mark.parametrize("state", ["INACTIVE", "FAULT"])
def test_guard_that_commands_nothing_may_be_silent(state):
    watch = FaultWatch()
    watch.guard_fails(guard("TRACKING", "OK"), 0)
    watch.guard_fails(guard(state, "STOPPED"), 0)
    assert not watch.guard_lost(100 * S)


# message definitions -------------------------------------------------------------------------


def fields(text: str) -> dict[str, list[str]]:
    """Fields by type of a definition with its parts, without comments, constants and defaults."""
    found: dict[str, list[str]] = {}
    name = ""
    for raw in text.splitlines():
        line = raw.split("#")[0].strip()
        if line.startswith("MSG: "):
            name = line[5:]
        elif line and not line.startswith("===") and "=" not in line.replace("<=", ""):
            kind, field = line.split()[:2]
            found.setdefault(name, []).append(f"{kind} {field}")
    return found


def installed(kind) -> Path | None:
    """The .msg file of a type, where ROS has installed one."""
    package, _, name = type_name(kind).split("/")
    module = Path(__import__(package).__file__).resolve()
    tried = [parent / "share" / package / "msg" / f"{name}.msg" for parent in module.parents]
    return next((path for path in tried if path.is_file()), None)


@pytest.mark.parametrize("kind", TYPES, ids=type_name)
def test_definition_has_the_fields_of_the_installed_file_in_its_order(kind):
    path = installed(kind)
    if path is None:
        pytest.skip("ROS has no .msg files installed here")
    made = fields(definition(kind))[""]
    text = fields(path.read_text())[""]
    package = type_name(kind).split("/")[0]

    def full(field: str) -> str:  # a file may leave its own package out, and Header's
        kind, name = field.split()
        if "/" not in kind and kind[0].isupper():
            kind = f"{'std_msgs' if kind == 'Header' else package}/{kind}"
        return f"{kind} {name}"

    assert made == [full(field) for field in text]


def test_every_part_of_a_definition_is_defined_once():
    text = definition(JointTrajectory)
    parts = [line[5:] for line in text.splitlines() if line.startswith("MSG: ")]
    assert sorted(parts) == [
        "builtin_interfaces/Duration",
        "builtin_interfaces/Time",
        "std_msgs/Header",
        "trajectory_msgs/JointTrajectoryPoint",
    ]


@pytest.mark.parametrize(
    ("idl", "text"),
    [
        ("octet", "byte"),
        ("double[36]", "float64[36]"),
        ("sequence<float, 7>", "float32[<=7]"),
        ("string<12>", "string<=12"),
        ("sequence<string<12>, 3>", "string<=12[<=3]"),
        ("sequence<geometry_msgs/Point>", "geometry_msgs/Point[]"),
    ],
)
def test_field_types_become_those_of_msg_files(idl, text):
    assert mcap_file._field(idl)[1] == text


# files ---------------------------------------------------------------------------------------


def write(folder: Path, *, code="POLICY_LOST", now_s=1_800_000_000, messages=(), max_files=20):
    return save(
        folder,
        CHANNELS,
        messages,
        now_ns=now_s * S,
        steady_ns=50 * S,
        note={"code": code, "time_ns": "7"},
        max_files=max_files,
    )


def test_file_holds_what_was_heard_with_the_time_of_the_clock_on_the_wall(tmp_path):
    messages = [Heard(49 * S, "joint_states", b"one"), Heard(50 * S, "points", b"two")]
    path = write(tmp_path / "new", messages=messages)
    assert path.name == "difftori_20270115-080000_POLICY_LOST.mcap"
    note, entries = load(path)
    assert note == {"code": "POLICY_LOST", "time_ns": "7"}
    assert [(e.time_ns, e.role, e.type_name, e.data) for e in entries] == [
        (1_799_999_999 * S, "joint_states", "sensor_msgs/msg/JointState", b"one"),
        (1_800_000_000 * S, "points", "sensor_msgs/msg/PointCloud2", b"two"),
    ]


def test_file_is_what_ros_and_foxglove_read(tmp_path):
    with write(tmp_path, messages=[Heard(0, "points", b"x")]).open("rb") as stream:
        reader = make_reader(stream)
        assert reader.get_header().profile == "ros2"
        [(schema, channel, _)] = reader.iter_messages()
    assert (schema.encoding, channel.message_encoding) == ("ros2msg", "cdr")
    assert (schema.name, channel.topic) == ("sensor_msgs/msg/PointCloud2", "/camera/points")


def test_file_of_the_same_second_gets_a_name_of_its_own(tmp_path):
    first = write(tmp_path, messages=[Heard(0, "points", b"first")])
    kept = first.read_bytes()
    names = [write(tmp_path).name for _ in range(2)]
    assert [name.split("POLICY_LOST")[1] for name in names] == ["-2.mcap", "-3.mcap"]
    assert first.read_bytes() == kept


def test_oldest_files_go_and_those_of_others_stay(tmp_path):
    other = tmp_path / "mine.mcap"
    other.write_text("not yours")
    paths = [write(tmp_path, now_s=1_800_000_000 + k, max_files=3) for k in range(5)]
    assert sorted(tmp_path.iterdir()) == sorted([*paths[2:], other])


def test_newest_file_stays_although_the_clock_was_set_back(tmp_path):
    write(tmp_path, now_s=1_800_000_000)
    newest = write(tmp_path, now_s=1_700_000_000, max_files=1)
    assert list(tmp_path.iterdir()) == [newest]


def test_unfinished_file_of_a_crash_is_not_overwritten_and_removed_when_it_is_old(tmp_path):
    left = tmp_path / "difftori_20270115-080000_POLICY_LOST.part"
    left.write_bytes(b"half")
    os.utime(left, (1_800_000_000, 1_800_000_000))
    assert write(tmp_path).name == "difftori_20270115-080000_POLICY_LOST-2.mcap"
    assert left.read_bytes() == b"half"
    write(tmp_path, now_s=1_800_004_000)
    assert not left.exists()


def test_disk_that_gives_up_half_way_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_every_file_cut_short_is_refused_by_name(tmp_path):
    messages = [Heard(k, "joint_states", os.urandom(100)) for k in range(20)]
    whole = write(tmp_path, messages=messages).read_bytes()
    cut = tmp_path / "cut.mcap"
    for length in range(0, len(whole), 97):
        cut.write_bytes(whole[:length])
        with pytest.raises(RecordingError, match=r"cut.mcap (is|was)"):
            load(cut)


def test_every_flipped_bit_of_the_messages_is_noticed(tmp_path):
    messages = [Heard(k, "joint_states", os.urandom(100)) for k in range(20)]
    path = write(tmp_path, messages=messages)
    whole, expected = path.read_bytes(), load(path)
    for place in range(8, len(whole), 53):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        try:
            found = load(path)
        except RecordingError:
            continue
        assert [e.data for e in found[1]] == [e.data for e in expected[1]], place


def test_damaged_index_is_noticed_or_harms_no_message(tmp_path):
    path = write(tmp_path, messages=[Heard(k, "joint_states", b"x" * 100) for k in range(20)])
    whole, expected = path.read_bytes(), load(path)
    noticed = 0
    for place in range(len(whole) - 800, len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x80]) + whole[place + 1 :])
        try:
            found = load(path)
        except RecordingError:
            noticed += 1
            continue
        assert len(found[1]) <= len(expected[1])
    assert noticed > 100
