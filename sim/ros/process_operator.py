# SPDX-License-Identifier: MIT
"""Operates a simulated robot: starts its processes, and runs and records episodes by seed."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import rclpy
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from std_srvs.srv import Trigger

from difftori_ros import bringup
from difftori_ros.errors import DifftoriError
from difftori_ros.robot.profile import load_profile

from .episode_recorder import EpisodeRecorder, RosEpisode
from .isolated_domain import isolate_domain
from .service_retry import RetriedRequest

START_S = 120.0
"""Time the processes get to come up: loading, rendering for the first time, warming up [s]."""
ANSWER_S = 60.0
"""Time a service may take to be there, and to answer [s]."""
USABLE = ("OK", "STOPPED", "WAITING", "MISSING", "IK_FAILED")
"""Codes of a policy that has, or will soon have, a usable observation."""
PATIENCE_S = 15.0
"""Time the policy may go without a usable observation before that is an error [s]."""
EPISODE_S = 300.0
"""Time an episode may take [s, steady clock]."""


class OperatorError(DifftoriError, RuntimeError):
    """The processes do not do their work; the message says which one and what it said last."""


class Operator:
    """Runs the simulated robot and the robot side as processes; use as a context manager."""

    def __init__(
        self,
        checkpoint: str,
        robot: str = "panda",
        clock: str = "lockstep",
        *,
        policy_parameters: Mapping[str, Any] | None = None,
        bridge_parameters: Mapping[str, Any] | None = None,
        remaps: Mapping[str, str] | None = None,
        logs: Path | None = None,
        domain: int | None = None,
    ):
        isolate_domain(domain)
        self.domain = os.environ["ROS_DOMAIN_ID"]
        self._logs = logs or Path(tempfile.mkdtemp(prefix="difftori_logs_"))
        self._logs.mkdir(parents=True, exist_ok=True)
        # what a guard holds outlives it, but not a simulated robot
        self._home = tempfile.TemporaryDirectory(prefix="difftori_home_")
        self._specs = bringup.sim_specs(
            checkpoint,
            robot,
            clock,
            parameters={"start": False} | dict(bridge_parameters or {}),
            policy_parameters=policy_parameters,
            remaps=remaps,
        )
        self.profile = load_profile(robot)
        self.processes: dict[str, subprocess.Popen[Any]] = {}
        self._context = Context()
        rclpy.init(context=self._context)
        self.node = rclpy.create_node("operator", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.recorder = EpisodeRecorder(self.node, self.profile, clock == "lockstep")
        self._clients: dict[str, Any] = {}

    def __enter__(self) -> Operator:
        """Start the processes and wait until the policy is active."""
        try:
            for spec in self._specs:
                with (self._logs / f"{spec.name}.log").open("wb") as log:
                    self.processes[spec.name] = bringup.start(
                        spec,
                        {"ROS_HOME": self._home.name},
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
            self.wait(
                lambda: (
                    self.recorder.policy.get("code", "STOPPED") != "STOPPED"
                    and self.recorder.guard is not None
                    and bool(self.recorder.bridge)
                ),
                START_S,
                "the processes to come up",
            )
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> list[int]:
        """End every process; return their exit statuses in the order they were started."""
        codes = bringup.stop(list(self.processes.values()))
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()
        self._home.cleanup()
        return codes

    def run(self, seed: int, view: bool = False) -> RosEpisode:
        """Run the episode of `seed` to its end.

        Raises:
            OperatorError: A process ended, or the episode took too long.
        """
        episode, recorder = self.begin(seed, view), self.recorder
        self.wait(
            lambda: recorder.bridge.get("state") in ("success", "failed"), EPISODE_S, "the episode"
        )
        # what was sent before the end may be handled after it: topics are not ordered
        channels = 2 if self.profile.gripper else 1
        followed = int(recorder.bridge["commands"])
        self.wait(
            lambda: (
                len(episode.commands) >= followed
                and min(len(episode.actions), len(episode.statuses)) * channels >= followed
            ),
            10.0,
            "the last messages of the episode",
        )
        episode.success = recorder.bridge["state"] == "success"
        return episode

    def begin(self, seed: int, view: bool = False) -> RosEpisode:
        """Start the episode of `seed` and return its record at once."""
        self.trigger("policy_node/reset")
        self.trigger("guard_node/reset")
        self.set_bridge(seed=seed, view=view)
        episode, recorder = self.recorder.begin(seed), self.recorder
        before = recorder.bridge.get("start_ns")
        # requested once, or the episode would begin twice; that it has begun is the answer
        self._client(Trigger, "sim_bridge/reset").call_async(Trigger.Request())
        self.wait(
            lambda: recorder.bridge["start_ns"] != before and recorder.bridge["seed"] == str(seed),
            ANSWER_S,
            "the episode to start",
        )
        return episode

    def wait(self, done: Callable[[], bool], limit_s: float, what: str) -> None:
        """Spin until `done()`.

        Raises:
            OperatorError: It did not come true in time, or a process ended.
        """
        recorder, deadline = self.recorder, time.monotonic() + limit_s
        usable_s = time.monotonic()
        while not done():
            self.spin()
            if recorder.policy.get("code", "OK") in USABLE:
                usable_s = time.monotonic()
            elif time.monotonic() - usable_s > PATIENCE_S:
                raise OperatorError(f"policy_node: {recorder.policy['message']}")
            for name, process in self.processes.items():
                if process.poll() is not None:
                    raise OperatorError(self.last_error(name))
            if time.monotonic() > deadline:
                guard = recorder.guard.reason.name if recorder.guard else None
                raise OperatorError(
                    f"waited {limit_s:g} s for {what}; policy: {recorder.policy.get('code')}, "
                    f"guard: {guard}, episode: {recorder.bridge.get('state')}"
                )

    def spin(self, timeout_s: float = 0.05) -> None:
        """Handle what has arrived."""
        self._executor.spin_once(timeout_sec=timeout_s)

    def last_error(self, name: str) -> str:
        """The last error that a process logged, as one sentence."""
        lines = (self._logs / f"{name}.log").read_text(errors="replace").splitlines()
        errors = [k for k, line in enumerate(lines) if "[ERROR]" in line]
        if errors:
            text = [lines[errors[-1]].split("]: ", 1)[-1]]
            for line in lines[errors[-1] + 1 :]:
                if line.startswith("[") or line.startswith("Traceback"):
                    break
                text.append(line)
            return "\n".join(text)
        how = bringup.how_it_ended(self.processes[name].returncode)
        return f"{name} {how}; its log: {self._logs / name}.log"

    # services ------------------------------------------------------------------------------------

    def trigger(self, service: str) -> str:
        """Call a Trigger service and return its message."""
        return self._call(Trigger, service, Trigger.Request()).message

    def set_bridge(self, **values: int | bool) -> None:
        """Set live parameters of the bridge."""
        parameters: list[Parameter] = []
        for name, value in values.items():
            boolean = isinstance(value, bool)
            kind = ParameterType.PARAMETER_BOOL if boolean else ParameterType.PARAMETER_INTEGER
            given = ParameterValue(type=kind)
            if boolean:
                given.bool_value = bool(value)
            else:
                given.integer_value = int(value)
            parameters.append(Parameter(name=name, value=given))
        request = SetParameters.Request(parameters=parameters)
        for result in self._call(SetParameters, "sim_bridge/set_parameters", request).results:
            if not result.successful:
                raise OperatorError(f"sim_bridge refused {values}: {result.reason}")

    def _client(self, kind: Any, service: str) -> Any:
        """The client of a service that is ready; it stays, so that it is discovered once."""
        if service not in self._clients:
            self._clients[service] = self.node.create_client(kind, service)
        client = self._clients[service]
        self.wait(client.service_is_ready, ANSWER_S, f"service {service}")
        return client

    def _call(self, kind: Any, service: str, request: Any) -> Any:
        pending = RetriedRequest(self._client(kind, service), request)
        self.wait(pending.done, ANSWER_S, f"an answer from {service}")
        return pending.result()
