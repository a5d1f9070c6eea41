# SPDX-License-Identifier: MIT
"""What every node does alike: parameters, quality of service, status, and a clean end."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.duration import Duration
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from difftori_ros.codecs.trajectory import encode_trajectory
from difftori_ros.config.environment import PARENT_VARIABLE
from difftori_ros.config.parameter import Parameter
from difftori_ros.errors import DifftoriError
from difftori_ros.types import Trajectory

from .spin import Signals, lacks_executor, leave_memory_alone, make_executor

SENSOR_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
"""For subscribers: best effort matches every publisher (REP 2003)."""
COMMAND_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
STATUS_QOS = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
LATCHED_QOS = QoSProfile(
    depth=1,
    history=HistoryPolicy.KEEP_LAST,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)

PASSIVE_NODES = ("blackbox_node",)
"""Nodes that subscribe plans and commands without acting on them."""
SWITCH_S = 0.0005
"""Longest time for which one Python thread keeps another waiting [s]. Python's own 5 ms would be
added whenever the planner computes while a message comes in, and the other way round."""
FLUSH_S = 0.5
"""Time that subscribers have to take what a node says at its end [s, steady clock]."""


class StartupError(DifftoriError, RuntimeError):
    """The node cannot do its work; the message is the one sentence that says why."""


def declare(
    node: Node, parameters: Sequence[Parameter], extra: Sequence[str] = ()
) -> dict[str, Any]:
    """Declare `parameters`, read-only but for the live ones, and return their values.

    Args:
        node: The node.
        parameters: What to declare.
        extra: Names that the node declares itself.

    Raises:
        StartupError: A value is out of range or of the wrong type, or a given name is not
            declared.
    """
    known = {parameter.name for parameter in parameters} | set(extra)
    unknown = sorted(
        name
        for name in node._parameter_overrides
        if name not in known and name != "use_sim_time" and not name.startswith("qos_overrides.")
    )
    if unknown:
        raise StartupError(
            f"unknown parameter '{unknown[0]}' for {node.get_name()}; "
            f"it has {', '.join(sorted(known))}"
        )
    values: dict[str, Any] = {}
    for parameter in parameters:
        descriptor = ParameterDescriptor(
            description=parameter.description, read_only=not parameter.live
        )
        if parameter.choices:
            descriptor.additional_constraints = "one of " + ", ".join(parameter.choices)
        if parameter.low is not None and parameter.high is not None:
            low, high = parameter.low, parameter.high
            if isinstance(parameter.default, float):
                bounds = FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)
                descriptor.floating_point_range = [bounds]
            elif isinstance(parameter.default, int):
                bounds = IntegerRange(from_value=int(low), to_value=int(high), step=1)
                descriptor.integer_range = [bounds]
        try:
            declared = node.declare_parameter(parameter.name, parameter.default, descriptor)
        except (
            InvalidParameterTypeException,
            InvalidParameterValueException,
        ) as error:
            raise StartupError(f"parameter '{parameter.name}': {error}") from error
        value: Any = declared.value
        value = list(value) if isinstance(parameter.default, list) else value
        if complaint := parameter.check(value):
            raise StartupError(complaint)
        values[parameter.name] = value
    return values


def let_change(
    node: Node, parameters: Sequence[Parameter], apply: Callable[[str, Any], None]
) -> None:
    """Call `apply` with name and value whenever a live parameter has been set to a valid value.

    Read-only parameters and wrong types are refused by rclpy, wrong values here.
    """
    known = {parameter.name: parameter for parameter in parameters}

    def judge(given: Sequence[Any]) -> SetParametersResult:
        for one in given:
            complaint = known[one.name].check(one.value) if one.name in known else None
            if complaint:
                return SetParametersResult(successful=False, reason=complaint)
        return SetParametersResult(successful=True)

    def changed(given: Sequence[Any]) -> None:
        for one in given:
            if one.name in known:
                apply(one.name, one.value)

    node.add_on_set_parameters_callback(judge)
    node.add_post_set_parameters_callback(changed)


def status_message(
    name: str, level: int, message: str, values: Mapping[str, str]
) -> DiagnosticStatus:
    """A DiagnosticStatus; the values hold the stable code under `code`."""
    status = DiagnosticStatus(level=bytes([level]), name=name, message=message, hardware_id="")
    status.values = [KeyValue(key=key, value=value) for key, value in values.items()]
    return status


def trajectory_message(trajectory: Trajectory) -> JointTrajectory:
    """The trajectory as a message."""
    message = JointTrajectory()
    encode_trajectory(trajectory, message, JointTrajectoryPoint)
    return message


def message_class(name: str) -> Any:
    """The class of `sensor_msgs/msg/JointState`.

    Raises:
        ImportError, AttributeError, ValueError: There is none.
    """
    package, _, short = name.split("/")
    return getattr(importlib.import_module(f"{package}.msg"), short)


def nobody_publishes(node: Node, name: str, kind: type) -> str | None:
    """The sentence that says so and names the topics of that type; None when somebody does."""
    topic = node.resolve_topic_name(name)
    if node.count_publishers(topic):
        return None
    wanted = f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"
    others = [
        other
        for other, types in node.get_topic_names_and_types()
        if wanted in types and node.count_publishers(other)
    ]
    have = ", ".join(sorted(others)) or "none"
    return f"nobody publishes '{topic}' ({wanted}); published topics of that type: {have}"


class GuardedLifecycleNode(LifecycleNode):
    """A lifecycle node that answers every request and names every failure.

    On Jazzy an invalid transition request ends the process (ros2/rclpy#1209) and what a transition
    callback raises is swallowed; both are caught here. Subclasses write `configure`, `activate`,
    `deactivate` and `cleanup`, which may raise.
    """

    failure: str | None = None
    """The sentence of the last failed transition."""

    def configure(self) -> None:
        """Make ready to run."""

    def activate(self) -> None:
        """Start running."""

    def deactivate(self) -> None:
        """Stop running."""

    def cleanup(self) -> None:
        """Free what `configure` made."""

    def _attempt(self, action: Callable[[], None]) -> TransitionCallbackReturn:
        self.failure = None
        try:
            action()
        except Exception as error:
            self.failure = str(error) or repr(error)
            self.get_logger().error(self.failure)
            if not isinstance(error, StartupError | ValueError | LookupError | OSError):
                self.get_logger().error(traceback.format_exc())
            return TransitionCallbackReturn.FAILURE
        return TransitionCallbackReturn.SUCCESS

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `configure`; a failure leaves the node unconfigured and is logged."""
        return self._attempt(self.configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `activate`."""
        super().on_activate(state)
        return self._attempt(self.activate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `deactivate`."""
        result = self._attempt(self.deactivate)
        super().on_deactivate(state)
        return result

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `cleanup`."""
        return self._attempt(self.cleanup)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Deactivate and clean up."""
        self._attempt(self.deactivate)
        return self._attempt(self.cleanup)

    def _LifecycleNodeMixin__on_change_state(self, request, response):  # noqa: N802
        available = {t[0]: t[1] for t in self._state_machine.available_transitions}
        wanted = request.transition
        known = wanted.label in available.values() if wanted.label else wanted.id in available
        if not known:
            self.get_logger().warning(
                f"transition '{wanted.label or wanted.id}' refused; possible now: "
                + ", ".join(available.values())
            )
            response.success = False
            return response
        return super()._LifecycleNodeMixin__on_change_state(request, response)  # type: ignore[misc]


def flush_publishers(node: Node) -> None:
    """What was said last is not lost with the process; a subscriber that hangs is not waited for.

    The guard would take the silence after a lost STOPPED for a dead policy.
    """
    end_s = time.monotonic() + FLUSH_S
    for publisher in node.publishers:
        left_s = max(0.0, end_s - time.monotonic())
        publisher.wait_for_all_acked(Duration(seconds=left_s))


def run(make: Callable[[], Any], args: Sequence[str] | None = None) -> int:
    """Make a node and spin it until it is told to end; return the exit status of the process.

    SIGINT, SIGTERM and SIGHUP call the node's `stop`, at once when it waits. A node may have
    `step()`, called between spins, at least every `idle_s`; `finished`, which ends the loop with
    its exit status once it is set; and `on_exception(error)`, called when a callback or `step` has
    raised, instead of ending.
    """
    rclpy.init(
        args=list(args) if args is not None else None,
        signal_handler_options=SignalHandlerOptions.NO,
    )
    sys.setswitchinterval(SWITCH_S)
    executor = make_executor()
    signals = Signals(lambda: executor.create_task(_nothing))
    try:
        node = make()
    except StartupError as error:
        get_logger("difftori_ros").error(str(error))
        signals.close()
        rclpy.try_shutdown()
        return 1
    if complaint := lacks_executor():
        node.get_logger().warning(complaint)
    executor.add_node(node)
    step = getattr(node, "step", None)
    parent = int(os.environ.get(PARENT_VARIABLE, "0"))
    leave_memory_alone()
    try:
        while not signals.come() and getattr(node, "finished", None) is None:
            if parent and os.getppid() != parent:
                break
            try:
                executor.spin_once(timeout_sec=getattr(node, "idle_s", 0.05))
                if step is not None:
                    step()
            except Exception as error:  # whoever can say so goes on living, to say so
                survive = getattr(node, "on_exception", None)
                if survive is None:
                    raise
                node.get_logger().error(f"{error!r}\n{traceback.format_exc()}")
                survive(error)
    finally:
        node.stop()
        flush_publishers(node)
        signals.close()
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
        logging.shutdown()
    return getattr(node, "finished", None) or 0


def _nothing() -> None:
    """Something for an executor to do, so that its wait ends."""
