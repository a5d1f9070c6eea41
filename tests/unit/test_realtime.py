# SPDX-License-Identifier: MIT
"""Real-time wishes are granted or refused in one sentence each; the process goes on either way."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
import json, os, resource, sys, threading
from difftori_ros.nodes.realtime import apply_realtime
priority, cpus, lock, drop = json.loads(sys.argv[1])
resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))
if drop and os.geteuid() == 0:
    os.setuid(65534)
stay = threading.Event()
threading.Thread(target=stay.wait, daemon=True).start()
said = apply_realtime(priority, cpus, lock)
tasks = [int(task) for task in os.listdir("/proc/self/task")]
print(json.dumps({
    "said": said,
    "policies": [os.sched_getscheduler(task) for task in tasks],
    "cpus": [sorted(os.sched_getaffinity(task)) for task in tasks],
    "buffer": len(bytearray(50_000_000)),
}))
"""


def ask(priority=0, cpus=(), lock=False, drop=True):
    arguments = json.dumps([priority, list(cpus), lock, drop])
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_nothing_wanted_changes_nothing():
    answer = ask(cpus=(-1,))
    assert answer["said"] == []
    assert set(answer["policies"]) == {os.SCHED_OTHER}


def test_priority_that_is_not_permitted_is_refused_with_the_line_that_permits_it():
    (said,) = ask(priority=80)["said"]
    assert "realtime_priority 80 was refused" in said
    assert "may use up to 0" in said
    assert "- rtprio 80' to /etc/security/limits.conf" in said


def test_memory_is_not_locked_under_a_limit_that_would_make_allocations_fail():
    answer = ask(lock=True)
    (said,) = answer["said"]
    assert "lock_memory was refused" in said
    assert "may lock 64 kB" in said
    assert "- memlock unlimited' to /etc/security/limits.conf" in said
    assert answer["buffer"] == 50_000_000


def test_core_that_does_not_exist_is_refused_with_those_that_do():
    (said,) = ask(cpus=(4095,))["said"]
    assert "cpu_affinity [4095] was refused" in said
    assert f"cores {', '.join(map(str, sorted(os.sched_getaffinity(0))))}" in said


def test_all_threads_run_on_the_wanted_core():
    core = min(os.sched_getaffinity(0))
    answer = ask(cpus=(core,))
    assert answer["said"] == []
    assert answer["cpus"] == [[core]] * 2


def test_every_wish_is_answered_for_itself():
    assert len(ask(priority=10, cpus=(4095,), lock=True)["said"]) == 3


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change scheduling everywhere")
def test_priority_that_is_permitted_reaches_all_threads():
    answer = ask(priority=1, drop=False)
    if answer["said"]:
        assert "realtime_priority 1 was refused" in answer["said"][0]
        pytest.skip("this container does not permit real-time scheduling")
    assert set(answer["policies"]) == {os.SCHED_FIFO}
