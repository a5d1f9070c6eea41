# SPDX-License-Identifier: MIT
"""The robot side as processes in front of a kinematic fake arm, and all that they publish."""

import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParameters
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from difftori_ros import bringup, codecs
from difftori_ros.nodes.node_base import COMMAND_QOS
from difftori_ros.status.guard_report import GuardReport
from difftori_ros.types import GuardState, JointState, Trajectory
from difftori_sim.ros.service_retry import RetriedRequest
from tests.conftest import ROOT, next_domain
from tests.ros.conftest import Graph, values_of
from tests.support.fake_arm import FakeArm, SimulatedTime, steady_at
from tests.support.fake_robot import PROFILE
from tests.support.injected_faults import FAULT_VARIABLE, send_signal, write_mode
from tests.support.promises import REST_WITHIN_S, assert_promises

MOVING = 0.05
"""Joint speed above which the arm is in mid-motion [rad/s]."""
PATIENT = {"max_recoveries": 1000, "heartbeat_timeout_s": 3.0}
"""A guard that forgives that a shared machine stalls now and then, where that is not the test."""
TRANSPORT = {"FASTDDS_BUILTIN_TRANSPORTS": "UDPv4"}
"""Killed processes leave shared memory behind, in which messages to their successors get lost."""
ASK_AGAIN_S = 1.0
FRESH_NS = 50_000_000
"""A measured joint state older than this does not tell where the arm is [ns]."""
UNAWARE_NS = 20_000_000
"""Time in which a node may not have heard yet that the simulated clock has jumped [ns]."""
SLACK_S = 0.15
"""What a shared machine of two cores may add to a bound [s]."""


class TooLateError(AssertionError):
    """A bound on time was missed, by a defect or by a shared machine that stalled."""


class NotInTimeError(AssertionError):
    """What was waited for has not come, though every process lives."""


def assert_within(within_s: float, since_ns: int, told_ns: int) -> None:
    """What was told at a time was told no later than that after another [ns]."""
    assert told_ns, "never told"
    took_s = (told_ns - since_ns) * 1e-9
    if took_s >= within_s + SLACK_S:
        raise TooLateError(f"wanted within {within_s:.3f} s and {SLACK_S} s, took {took_s:.3f} s")


class Harness(Graph):
    """Guard and policy in front of a `FakeArm`; P1 to P4 are checked on all that it hears."""

    def __init__(
        self,
        folder: Path,
        checkpoint: str = "pick_cube_state",
        *,
        simulated: bool = False,
        policy: dict | None = None,
        guard: dict | None = None,
    ):
        self._fault_file = folder / "planner_fault"
        self.inject("")
        environment = (
            dict(os.environ)
            | {
                "ROS_DOMAIN_ID": next_domain(),
                "ROS_LOG_DIR": str(folder / "ros_log"),
                "ROS_HOME": str(folder / "ros_home"),
                FAULT_VARIABLE: str(self._fault_file),
            }
            | TRANSPORT
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(*next(iter(TRANSPORT.items())))
            super().__init__(environment, folder)
        self.received: dict[str, list[tuple[int, dict[str, str]]]] = {}
        self._said_s: dict[str, list[float]] = {}
        for name in ("policy_node", "guard_node"):
            self.received[name], self._said_s[name] = [], []
            self.node.create_subscription(
                DiagnosticStatus, f"{name}/status", self._listener(name), 100
            )
        self._measured: list[JointState | None] = []
        self._simulated = simulated
        self._forgotten_ns = 0
        self._clients: dict[str, Any] = {}
        self._doomed: set[str] = set()
        self.measured_is_known = True
        listeners = list(self.node.subscriptions)
        # one that knows when a plan was published
        for one in listeners:
            if one.topic_name.endswith("policy_node/plan"):
                self.node.destroy_subscription(one)
        self.node.create_subscription(
            JointTrajectory, "policy_node/plan", self._on_plan, COMMAND_QOS
        )
        self.arm = self._make_arm("points" in checkpoint, simulated)
        common = {"use_sim_time": True} if simulated else {}
        self.specs = {
            spec.name: spec
            for spec in bringup.policy_specs(
                checkpoint,
                "panda",
                parameters=common | dict(policy or {}),
                guard_parameters=common | dict(guard or {}),
            )
        }
        faulty = replace(self.specs["policy_node"], module="tests.support.faulty_policy_node")
        self.specs["policy_node"] = faulty

    def _make_arm(self, cloud: bool, simulated: bool) -> Any:
        return FakeArm(self.node, cloud=cloud, simulated=SimulatedTime() if simulated else None)

    def _listener(self, name: str):
        def listen(message: DiagnosticStatus, info: dict[str, int]) -> None:
            published_ns = info["source_timestamp"]
            # simulated time may stand still; the test's own delay in hearing is not the node's
            said_ns = self.arm.now_ns() if self._simulated else published_ns
            self.received[name].append((said_ns, values_of(message)))
            self._said_s[name].append(steady_at(published_ns) * 1e-9)

        return listen

    def _on_plan(self, message: JointTrajectory, info: dict[str, int]) -> None:
        if info["source_timestamp"] >= self._forgotten_ns:
            self.plans.append(message)

    def _on_command(self, message: JointTrajectory, info: dict[str, int]) -> None:
        if info["source_timestamp"] < self._forgotten_ns:
            return
        self.commands.append(message)
        self.published_ns.append(self.arm.at_ns(info["source_timestamp"]))
        self._measured.append(self._state_at(self.published_ns[-1]))

    def _state_at(self, time_ns: int) -> JointState | None:
        """Where the arm was then; None when that is not known."""
        newest = next((s for s in reversed(self.arm.history) if s.stamp_ns <= time_ns), None)
        return newest if newest and time_ns - newest.stamp_ns <= FRESH_NS else None

    # processes -----------------------------------------------------------------------------------

    def up(self, *names: str) -> None:
        """Start what does not run."""
        for name in names or ("guard_node", "policy_node"):
            process = self.processes.get(name)
            if process is None or process.poll() is not None:
                self._doomed.discard(name)
                with (self._folder / f"{name}.log").open("ab") as log:
                    self.processes[name] = bringup.start(
                        self.specs[name],
                        self.environment,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                        cwd=ROOT,
                    )

    def send_signal(self, name: str, kind: str) -> int:
        """Send a process a signal; returns the time right before [ns]."""
        sent_ns = self.arm.now_ns()
        send_signal(self.processes, name, kind)
        self._doomed.add(name)
        return sent_ns

    def inject(self, mode: str) -> None:
        """The planner has the fault of that mode from now on; "" for none."""
        write_mode(self._fault_file, mode)

    # time ----------------------------------------------------------------------------------------

    def spin(self) -> None:
        """What has come, then one turn of the arm."""
        self._executor.spin_once(timeout_sec=0.002)
        for _ in range(8):
            self._executor.spin_once(timeout_sec=0.0)
        self.arm.step()

    def until(self, done, limit_s: float = 10.0, each=None) -> None:
        """Run until `done()`; fail with the logs when it does not come true in time."""
        end = time.monotonic() + limit_s
        while not done():
            self.spin()
            if each is not None:
                each()
            alive = all(
                process.poll() is None or name in self._doomed
                for name, process in self.processes.items()
            )
            if time.monotonic() > end or not alive:
                told = [f"{name}: {self.newest(name)}" for name in self.received]
                logs = [f"--- {name}\n{self.log(name)[-2500:]}" for name in self.processes]
                kind = NotInTimeError if alive else AssertionError
                why = f"not within {limit_s} s" if alive else "a process has ended"
                raise kind("\n".join([why, *told, *logs]))

    def run(self, seconds: float) -> None:
        """Let time pass on the arm's side, as 100 joint states a second."""
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() > end, seconds + 30.0)

    def exit_status(self, name: str, limit_s: float = 60.0) -> int:
        """Exit status of a process that ends within that time, while the arm goes on."""
        process = self.processes[name]
        self.until(lambda: process.poll() is not None, limit_s)
        return process.returncode

    # asking --------------------------------------------------------------------------------------

    def call(self, kind, name: str, request, limit_s: float = 10.0):
        if name not in self._clients:
            self._clients[name] = self.node.create_client(kind, name)
        client = self._clients[name]
        self.until(client.service_is_ready, limit_s)
        pending = RetriedRequest(client, request, ASK_AGAIN_S)
        self.until(pending.done, limit_s)
        return pending.result()

    def set(self, node: str, name: str, **value):
        """Set a parameter at run time; returns the result."""
        parameter = Parameter(name=name, value=ParameterValue(**value))
        request = SetParameters.Request(parameters=[parameter])
        return self.call(SetParameters, f"{node}/set_parameters", request).results[0]

    def newest(self, name: str) -> dict[str, str]:
        """Values of the newest status of a node, with its sentence under `message`."""
        return self.received[name][-1][1] if self.received[name] else {}

    def guard(self, key: str = "state") -> str:
        return self.newest("guard_node").get(key, "")

    def policy(self, key: str = "code") -> str:
        return self.newest("policy_node").get(key, "")

    def codes(self, name: str, since_ns: int = 0) -> list[str]:
        """The codes that a node has told since then, each once, in order."""
        told = [values["code"] for said_ns, values in self.received[name] if said_ns >= since_ns]
        return list(dict.fromkeys(told))

    def first(self, name: str, key: str, value: str, since_ns: int = 0) -> int:
        """When a node first told that, whenever it was heard [ns]; 0 when it has not."""
        return next(
            (
                said_ns
                for said_ns, values in self.received[name]
                if said_ns >= since_ns and values.get(key) == value
            ),
            0,
        )

    def said_s(self, name: str, key: str, values: tuple[str, ...], since_s: float) -> float:
        """As `first`, of several values, by the steady clock [s]; it must have been heard."""
        said = zip(self._said_s[name], self.received[name], strict=True)
        return next(at for at, (_, v) in said if at >= since_s and v.get(key) in values)

    def forget_words(self, name: str) -> None:
        """What a node has said so far is forgotten."""
        self.received[name].clear()
        self._said_s[name].clear()

    # beginning and end ---------------------------------------------------------------------------

    def begin(self, forgets: bool = True) -> None:
        """Everything well, nothing latched, the arm in motion, and if wanted nothing heard yet."""
        self.inject("")
        self.arm.clear_faults()
        self.up()
        self.until(lambda: self.policy() not in ("", "STOPPED"), 60.0)
        self.go_on("policy_node", "guard_node", forgets=forgets)

    def go_on(self, *nodes: str, forgets: bool) -> None:
        """As an operator would: reset the nodes until plans are accepted and the arm moves."""
        for _ in range(5):  # a shared machine may stall for longer than the guard's patience
            for node in nodes:
                self.reset(node)
            if forgets:
                self.forget()
            began_ns = self.arm.now_ns()
            self.until(
                lambda began_ns=began_ns: (
                    self.moves(began_ns) or self.first("guard_node", "state", "FAULT", began_ns)
                )
            )
            if self.guard() == "TRACKING":
                return
        raise NotInTimeError(f"the arm does not begin to move: {self.newest('guard_node')}")

    def reset(self, node: str) -> None:
        """Nothing is latched any more in that node."""
        answer = self.call(Trigger, f"{node}/reset", Trigger.Request())
        assert answer.success, answer.message

    def moving(self, since_ns: int) -> None:
        """Until it `moves`."""
        self.until(lambda: self.moves(since_ns))

    def moves(self, since_ns: int) -> bool:
        """Whether plans made after that are accepted and the arm is in mid-motion."""
        if not self.status["guard_node"] or self.arm.speed <= MOVING:
            return False
        report = GuardReport.from_status(self.status["guard_node"][-1])
        return report.state is GuardState.TRACKING and (report.accepted_ns or 0) > since_ns

    def forget(self) -> None:
        """What was heard is forgotten, and what was published until now is not heard any more."""
        self.measured_is_known = True
        self._forgotten_ns = time.time_ns() + (UNAWARE_NS if self._simulated else 0)
        for received in (self.commands, self.published_ns, self._measured, self.plans):
            received.clear()
        for name in self.received:
            del self.received[name][:-1], self._said_s[name][:-1], self.status[name][:]

    def assert_rests(self, since_ns: int, within_s: float = REST_WITHIN_S) -> None:
        """P3: from `within_s` after `since_ns` on the arm stands still, for half a second."""
        end_ns = since_ns + round((within_s + SLACK_S) * 1e9)
        self.until(lambda: self.arm.now_ns() > end_ns + 500_000_000)
        later = [state for state in self.arm.history if state.stamp_ns > end_ns]
        assert later
        assert max(float(np.abs(state.velocity[:7]).max()) for state in later) < 1e-6

    def check(self) -> None:
        """P1 to P4 hold for everything that was heard since `begin`."""
        assert_promises(
            self.trajectories(),
            self.published_ns,
            self.reports(),
            PROFILE,
            rest_within_s=self.rest_within_s,
            measured=self._measured if self.measured_is_known else None,
        )

    def trajectories(self) -> list[Trajectory]:
        return [codecs.decode_trajectory(message) for message in self.commands]


def running(folder: Path, *given, **named) -> Iterator[Harness]:
    """A harness for a module: started, and stopped with every process ending by itself."""
    made = Harness(folder, *given, **named)
    try:
        made.up()
        yield made
    finally:
        made.close()
