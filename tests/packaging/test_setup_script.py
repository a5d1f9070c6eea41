# SPDX-License-Identifier: MIT
"""`./scripts/setup` does nothing twice, and what it made for the demo is not taken for all."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SETUP = ROOT / "scripts" / "setup"
INPUTS = (SETUP, *sorted((ROOT / "scripts/lib").glob("*.sh")))


@pytest.fixture
def folder(tmp_path):
    """An environment's folder, with an interpreter."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    return tmp_path


def run(folder, *words) -> subprocess.CompletedProcess:
    """The script, where no Python fits the ROS 2 that is said to be sourced."""
    stubs = folder / "stubs"
    stubs.mkdir(exist_ok=True)
    for name in ("python3", "python3.12", "python3.11", "python3.10"):
        (stubs / name).write_text("#!/bin/sh\nexit 1\n")
        (stubs / name).chmod(0o755)
    environment = {
        "PATH": f"{stubs}:/usr/bin:/bin",
        "HOME": os.environ.get("HOME", "/"),
        "ROS_DISTRO": "nowhere",
        "DIFFTORI_VENV": str(folder),
    }
    command = [str(SETUP), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def fingerprint(folder) -> str:
    content = b"".join(path.read_bytes() for path in INPUTS)
    content += (ROOT / "constraints.txt").read_bytes() + (ROOT / "setup.py").read_bytes()
    content += f"{ROOT} {folder} nowhere \n".encode()
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("words", [(), ("demo",)])
def test_what_is_there_is_not_made_again(folder, words):
    (folder / "setup.all").write_text(fingerprint(folder))
    done = run(folder, *words)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_was_made_for_the_demo_will_do_for_the_demo_and_not_for_the_tests(folder):
    (folder / "setup.demo").write_text(fingerprint(folder))
    assert run(folder, "demo").returncode == 0
    done = run(folder)
    assert done.returncode == 1
    assert "no Python 3.10, 3.11 or 3.12 here can import its rclpy" in done.stderr


def test_what_was_made_by_other_files_is_made_again(folder):
    (folder / "setup.all").write_text("another fingerprint")
    assert run(folder, "demo").returncode == 1


def test_other_words_are_refused(folder):
    done = run(folder, "tests")
    assert done.returncode == 2
    assert done.stderr == "setup: wanted nothing or 'demo', got 'tests'\n"


def test_the_demo_is_set_up_by_what_it_needs_and_the_tests_by_everything():
    assert '/scripts/setup" demo\n' in (ROOT / "scripts" / "demo").read_text()
    assert "./scripts/setup\n" in (ROOT / "scripts" / "test").read_text()
