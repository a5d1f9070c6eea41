# SPDX-License-Identifier: MIT
"""A fault or a pause of the guard outlives its process in a file, and only an order ends it."""

import os
from pathlib import Path

import pytest

from difftori_ros.guard.latch_file import LatchFile, latch_path
from difftori_ros.guard.verdict import Latched
from difftori_ros.types import Reason

HELD = Latched(Reason.SECOND_COMMANDER, "/other publishes 'arm'")


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "home" / "difftori" / "guard_node.json"


def test_nothing_is_held_at_first_and_no_file_is_made(path):
    latch = LatchFile(path)
    assert latch.read() is None
    assert latch.keep(None) is None
    assert not path.parent.exists()


@pytest.mark.parametrize(
    "held", [HELD, Latched(None, paused=True), Latched(Reason.ESTOP, "", paused=True)]
)
def test_what_is_kept_is_read_by_the_next_process_and_gone_once_it_is_ended(path, held):
    assert LatchFile(path).keep(held) is None
    after = LatchFile(path)
    assert after.read() == held
    assert after.keep(None) is None
    assert LatchFile(path).read() is None
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"fault": "NO_SUCH_CODE", "detail": "", "paused": false}',
        b'{"fault": "ESTOP"}',
        b'{"fault": "", "detail": "", "paused": false}',
        b'{"fault": "OK", "detail": "", "paused": false}',
        b'{"fault": "ESTOP", "detail": "", "paused": null}',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_a_file_that_cannot_be_read_counts_as_a_fault_that_names_it(path, content):
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    latch = LatchFile(path)
    held = latch.read()
    assert held.fault is Reason.FAULT_LATCHED
    assert str(path) in held.detail
    assert latch.keep(None) is None
    assert LatchFile(path).read() is None


def test_a_folder_in_place_of_the_file_counts_as_a_fault(path):
    path.mkdir(parents=True)
    held = LatchFile(path).read()
    assert held.fault is Reason.FAULT_LATCHED
    assert "cannot be read" in held.detail


def test_a_place_that_cannot_be_written_is_told_in_a_sentence_and_tried_again(tmp_path):
    (tmp_path / "file").write_text("")
    latch = LatchFile(tmp_path / "file" / "guard_node.json")
    assert "would not outlive this process" in latch.keep(HELD)
    (tmp_path / "file").unlink()
    assert latch.keep(HELD) is None
    assert LatchFile(latch.path).read() == HELD


def test_guards_of_two_namespaces_keep_two_files(monkeypatch, tmp_path):
    monkeypatch.setenv("ROS_HOME", str(tmp_path))
    assert latch_path("/", "guard_node") == tmp_path / "difftori" / "guard_node.json"
    assert latch_path("/left/arm", "guard_node").name == "left.arm.guard_node.json"


def test_without_ros_home_it_lies_below_the_users_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("ROS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert latch_path("/", "guard_node").is_relative_to(Path(os.environ["HOME"]) / ".ros")
