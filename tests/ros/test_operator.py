# SPDX-License-Identifier: MIT
"""However a demonstration ends, it takes its processes along, and no other robot ever hears it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from difftori_ros.bringup.node_specs import policy_specs
from difftori_ros.bringup.processes import start, stop
from difftori_sim.arm.tasks import TEST_SEEDS
from difftori_sim.ros.process_operator import Operator, OperatorError
from tests.support.fake_robot import FakeRobot

pytestmark = [pytest.mark.vulkan, pytest.mark.timeout(300)]


def children_of(parent: int) -> list[int]:
    """Processes that a process started and that still run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == parent and fields[0] != "Z":
            found.append(int(folder.name))
    return found


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def until(done, limit_s=60.0):
    end = time.monotonic() + limit_s
    while not done():
        assert time.monotonic() < end
        os.sched_yield()


def demo(tmp_path):
    command = [sys.executable, "-m", "difftori_sim.cli.main", "demo", "--no-video"]
    command += ["--checkpoint", "pick_cube_state", "--episodes", "50", "--out", str(tmp_path)]
    return subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
        signal.SIGKILL,
    ],
)
def test_whatever_ends_the_demo_leaves_no_process_behind(tmp_path, number):
    running = demo(tmp_path)
    until(lambda: len(children_of(running.pid)) == 3)
    children = children_of(running.pid)
    until(lambda: (tmp_path / "logs" / "policy_node.log").stat().st_size > 0)
    running.send_signal(number)
    _, said = running.communicate(timeout=60)
    until(lambda: not any(map(alive, children)))
    if number is not signal.SIGKILL:
        assert running.returncode == 130
        assert "difftori: stopped" in said
    assert "Traceback" not in said


def test_demo_is_never_on_the_callers_own_domain(monkeypatch):
    monkeypatch.setenv("ROS_DOMAIN_ID", "91")
    monkeypatch.setattr("difftori_sim.ros.isolated_domain.DOMAINS", range(91, 93))
    domains = set()
    for _ in range(5):
        monkeypatch.setenv("ROS_DOMAIN_ID", "91")
        stand = Operator("pick_cube_state")
        domains.add(stand.domain)
        assert os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
        stand.close()
    assert "91" not in domains


def test_domain_that_others_use_is_not_drawn(monkeypatch):
    monkeypatch.setattr("difftori_sim.ros.isolated_domain.DOMAINS", range(93, 95))
    monkeypatch.setenv("ROS_DOMAIN_ID", "91")
    first = Operator("pick_cube_state")
    second = Operator("pick_cube_state")
    assert {first.domain, second.domain} == {"93", "94"}
    second.close()
    first.close()


def test_node_that_is_killed_is_named_with_the_signal():
    with Operator("pick_cube_state") as stand:
        stand.begin(TEST_SEEDS.start)
        stand.processes["policy_node"].kill()
        with pytest.raises(OperatorError, match="policy_node was killed by SIGKILL"):
            stand.wait(lambda: False, 30.0, "nothing")


def test_guard_outlives_a_killed_policy_and_names_it(graph):
    guard, policy = policy_specs("pick_cube_state", "panda")
    graph.start(guard)
    graph.start(policy)
    robot = FakeRobot(graph.node)
    # a plan that was passed on proves that the guard has heard the policy
    graph.until(lambda: len(graph.commands) >= 2, each=robot.publish)
    graph.processes["policy_node"].kill()
    graph.until(
        lambda: graph.newest("guard_node").get("code") == "POLICY_LOST", each=robot.publish
    )
    assert graph.newest("guard_node")["state"] == "FAULT"


def test_processes_are_stopped_in_the_end(ros_env):
    guard, _ = policy_specs("pick_cube_state", "panda")
    process = start(guard, ros_env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stop([process])
    assert process.returncode is not None
