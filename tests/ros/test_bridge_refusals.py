# SPDX-License-Identifier: MIT
"""A misspelt fault is refused before the simulated robot's world is loaded."""

import subprocess

import pytest
import rclpy
from rclpy.context import Context

from difftori_ros import bringup
from difftori_ros.nodes.node_base import StartupError
from difftori_sim.ros import bridge_node
from tests.conftest import next_domain


def test_unknown_fault_is_refused_before_the_world_is_loaded(monkeypatch):
    monkeypatch.setattr(bridge_node, "World", lambda *_: pytest.fail("the world was loaded"))
    context = Context()
    rclpy.init(context=context, domain_id=int(next_domain()))
    faults = rclpy.Parameter("faults", value=["wrist_camera/image_raw:silence:0:1"])
    try:
        with pytest.raises(StartupError, match=r"no stream 'wrist_camera/image_raw'; there are "):
            bridge_node.SimBridge(context=context, parameter_overrides=[faults])
    finally:
        context.try_shutdown()


def test_unknown_fault_is_refused_with_those_that_exist(tmp_path):
    faults = ["points:silense:0:1"]
    spec = bringup.bridge_spec("pick_cube_state", "panda", "wall", {"faults": faults})
    log = tmp_path / "log"
    environment = {"ROS_DOMAIN_ID": next_domain(), "ROS_LOG_DIR": str(tmp_path)}
    with log.open("wb") as out:
        process = bringup.start(spec, environment, stdout=out, stderr=subprocess.STDOUT)
    assert process.wait(60) == 1
    assert "unknown fault 'silense'; there are silence" in log.read_text()
    assert "Traceback" not in log.read_text()
