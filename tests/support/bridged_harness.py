# SPDX-License-Identifier: MIT
"""Guard and policy as processes in front of the simulated robot, on the clock of its world."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
from rcl_interfaces.msg import ParameterType
from sensor_msgs.msg import JointState as JointStateMessage
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from difftori_ros import bringup, codecs
from difftori_ros.nodes.node_base import STATUS_QOS
from difftori_ros.types import JointState
from tests.support.fake_robot import HOME
from tests.support.harness import Harness
from tests.support.world_clock import WorldClock


class BridgedArm:
    """The simulated robot as its joint states tell it: what `FakeArm` is to a harness."""

    def __init__(self, node: Any) -> None:
        self.history: deque[JointState] = deque(maxlen=3000)
        self.position, self.pushed = HOME.copy(), np.zeros(len(HOME))
        self.taken = ()  # who takes the commands, and when, is not known here
        self._clock = WorldClock()
        node.create_subscription(JointStateMessage, "joint_states", self._on_joints, STATUS_QOS)

    def _on_joints(self, message: JointStateMessage, info: dict[str, int]) -> None:
        state = codecs.decode_joint_state(message)
        self.position = state.position
        self._clock.add(info["source_timestamp"], state.stamp_ns)
        self.history.append(state)

    def forget_world(self) -> None:
        """The world is gone, and its clock with it."""
        self.history.clear()
        self._clock.forget()

    def now_ns(self) -> int:
        """The world's clock, as far as it is known [ns]."""
        return self.history[-1].stamp_ns if self.history else 0

    def at_ns(self, wall_ns: int) -> int:
        """The world's clock at a time of the wall clock, as far as it is known [ns]."""
        return self._clock.at_ns(wall_ns)

    @property
    def speed(self) -> float:
        """Greatest speed of the arm's joints [rad/s]."""
        return float(np.abs(self.history[-1].velocity[:7]).max()) if self.history else 0.0

    def step(self) -> None:
        """It moves by itself."""

    def clear_faults(self) -> None:
        """Nothing on its wires is ever wrong."""


class BridgedHarness(Harness):
    """Guard and policy in front of the simulated robot, on the world's clock."""

    def __init__(self, folder: Path, checkpoint: str, **named: Any) -> None:
        self._sent_wall_ns: list[int] = []
        super().__init__(folder, checkpoint, simulated=True, **named)
        world = {"max_time_s": 1000.0, "cloud": False}
        self.specs["sim_bridge"] = bringup.bridge_spec(checkpoint, "panda", "wall", world)

    def _make_arm(self, cloud: bool, simulated: bool) -> BridgedArm:
        return BridgedArm(self.node)

    def _on_command(self, message: JointTrajectory, info: dict[str, int]) -> None:
        before = len(self.commands)
        super()._on_command(message, info)
        self._sent_wall_ns += [info["source_timestamp"]] * (len(self.commands) - before)

    def check(self) -> None:
        """As ever; when a command was sent is known once the joint states around it are here."""
        self.published_ns[:] = [self.arm.at_ns(wall_ns) for wall_ns in self._sent_wall_ns]
        super().check()

    def forget(self) -> None:
        """Where the arm was when a command came is not known here: it was heard at other times."""
        super().forget()
        self._sent_wall_ns.clear()
        self.measured_is_known = False

    def new_episode(self, seed: int) -> None:
        """The task anew, in the same world: there is something to reach for."""
        self.up("sim_bridge")
        kind = ParameterType.PARAMETER_INTEGER
        assert self.set("sim_bridge", "seed", type=kind, integer_value=seed).successful
        assert self.call(Trigger, "sim_bridge/reset", Trigger.Request(), 60.0).success
        self.arm.history.clear()  # where the arm was in the old episode does not count
        self.until(lambda: bool(self.arm.history))

    def fresh_world(self) -> None:
        """The world was killed; what it has shown is judged, and another one starts."""
        self.check()
        self.forget()
        self.arm.forget_world()
        self.up("sim_bridge")
        self.until(lambda: len(self.arm.history) > 100, 120.0)
