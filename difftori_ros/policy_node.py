# SPDX-License-Identifier: MIT
"""The lifecycle node: messages in, plans out. It wires the stages together and holds no maths."""

from __future__ import annotations

import sys
import threading
from collections import deque
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path as PathMessage
from rclpy.clock import Clock, ClockType, JumpThreshold, TimeJump
from rclpy.duration import Duration
from sensor_msgs.msg import JointState as JointStateMessage
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from difftori_models.checkpoint import CheckpointError
from difftori_models.planner import BasePlanner, Planner
from difftori_ros import codecs, codecs_vision
from difftori_ros.base_node import (
    COMMAND_QOS,
    LATCHED_QOS,
    SENSOR_QOS,
    STATUS_QOS,
    GuardedLifecycleNode,
    StartupError,
    declare,
    diagnostics,
    nobody_publishes,
    run,
    status_message,
    trajectory_message,
)
from difftori_ros.bringup import find_checkpoint
from difftori_ros.driver import Driver, Motion
from difftori_ros.frames import FrameError, FrameTree, decode_transforms
from difftori_ros.health import Health
from difftori_ros.kinematics import Kinematics
from difftori_ros.observe import Observation, Observer, Refusal
from difftori_ros.parameters import POLICY
from difftori_ros.robot import ProfileError, load_profile
from difftori_ros.summary import summary_table
from difftori_ros.types import Level, Reason

HEARTBEAT_S = 0.1
"""Period of `~/status` when nothing else happens [s, steady clock]; the guard listens to it."""
ASK_AGAIN_S = 0.2
"""Time between two questions to the graph about a missing stream [s, steady clock]."""
HANGING_S = 1.0
"""Time after which a plan that is still being made is reported [s, steady clock]."""
FOREVER_NS = 2**62
"""A time after every stamp."""
MESSAGES: dict[str, tuple[Any, Any]] = {
    "joint_states": (JointStateMessage, codecs.decode_joint_state),
    "points": (PointCloud2, codecs_vision.decode_cloud),
}
"""Message type and decoder of every stream that is not a pose."""


class PolicyNode(GuardedLifecycleNode):
    """Drives one robot with one checkpoint.

    Callbacks run in the executor's thread and only decode and store; planning runs in its own
    thread.
    """

    def __init__(self, **options: Any):
        super().__init__("policy_node", **options)
        self._values = declare(self, POLICY)
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._health = Health()
        self._health.set(Reason.STOPPED, self._steady_s(), level=Level.OK)
        self._status = self.create_publisher(DiagnosticStatus, "~/status", STATUS_QOS)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", STATUS_QOS)
        self.create_timer(HEARTBEAT_S, self._heartbeat, clock=self._steady)
        threshold = JumpThreshold(
            min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True
        )
        self._jump = self.get_clock().create_jump_callback(threshold, post_callback=self._on_jump)
        self._worker: threading.Thread | None = None
        self._stop, self._wake = threading.Event(), threading.Event()
        self._reset_wanted, self._forget_wanted = threading.Event(), threading.Event()
        self._refusals: deque[int] = deque(maxlen=16)
        self._last_ns = 0
        self._asked_s = 0.0
        self._planning_since_s: float | None = None
        self._started = False
        self.finished: int | None = None

    def step(self) -> None:
        """Between two spins: bring the node up once when `autostart` is set."""
        if self._started or not self._values["autostart"]:
            return
        self._started = True
        self.trigger_configure()
        if self.failure is None:
            self.trigger_activate()
        if self.failure is not None:
            self.finished = 1

    def stop(self) -> None:
        """Deactivate before the process ends."""
        self.deactivate()

    # lifecycle -----------------------------------------------------------------------------------

    def configure(self) -> None:
        """Load and check everything, warm up, and print what this node will do."""
        values = self._values
        try:
            profile = load_profile(values["robot"])
            folder = find_checkpoint(values["checkpoint"])
            planner = Planner(folder, values["device"], values["threads"], values["backend"])
            kinematics = Kinematics(profile)
            used = planner if values["refine"] else BasePlanner(planner)
            self._driver = Driver(used, profile, kinematics)
            self._frames = FrameTree()
            if values["camera_frame"]:
                pose = np.array(values["camera_pose"])
                self._frames.set_static_pose(profile.base_frame, values["camera_frame"], pose)
        except (CheckpointError, ProfileError, FrameError, FileNotFoundError) as error:
            raise StartupError(str(error)) from error
        self._profile, self._card = profile, planner.card
        ages = {
            name: values[f"{name if name in MESSAGES else 'pose'}_max_age_s"]
            for name in self._card.observation.streams
        }
        self._observer = Observer(
            planner.card.observation, profile, kinematics, self._frames, ages
        )
        planner.warm_up()
        self._driver.reset(values["seed"])
        self._plan = self.create_publisher(JointTrajectory, "~/plan", COMMAND_QOS)
        self._actions = self.create_publisher(JointTrajectory, "~/actions", STATUS_QOS)
        self._path = self.create_publisher(PathMessage, "~/path", STATUS_QOS)
        self._table = self.create_publisher(String, "~/summary", LATCHED_QOS)
        self._inputs = [self._subscribe(name) for name in self._card.observation.streams]
        self._inputs += [
            self.create_subscription(
                DiagnosticStatus, "guard_node/status", self._on_guard, STATUS_QOS
            ),
            *self._subscribe_transforms(),
        ]
        self._reset_service = self.create_service(Trigger, "~/reset", self._on_reset)
        table = summary_table(self._card, profile, values, self._topics(), folder, planner.backend)
        self._table.publish(String(data=table))
        self.get_logger().info("configured\n" + table)

    def activate(self) -> None:
        """Start planning."""
        self._stop.clear()
        self._observer.clear()
        self._reset_wanted.set()
        self._health.set(Reason.WAITING, self._steady_s())
        self._worker = threading.Thread(target=self._loop, name="planner", daemon=True)
        self._worker.start()

    def deactivate(self) -> None:
        """Stop planning; when this returns no further plan is published."""
        self._stop.set()
        self._wake.set()
        if self._worker is not None:
            self._worker.join()
            self._worker = None
        self._health.set(Reason.STOPPED, self._steady_s(), level=Level.OK)
        self._publish_status()

    def cleanup(self) -> None:
        """Free the network and every subscription."""
        if not hasattr(self, "_driver"):
            return  # never configured
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        for publisher in (self._plan, self._actions, self._path, self._table):
            self.destroy_publisher(publisher)
        self.destroy_service(self._reset_service)
        self._inputs = []
        del self._driver, self._observer

    # callbacks: decode and store -----------------------------------------------------------------

    def _subscribe(self, stream: str) -> Any:
        kind, decode = MESSAGES.get(stream, (PoseStamped, codecs.decode_pose))

        def callback(message: Any) -> None:
            try:
                sample = decode(message)
            except codecs.CodecError as error:
                self._health.count(f"dropped_{stream}")
                self._observer.dropped(stream, str(error))
                self.get_logger().warning(
                    f"{Reason.BAD_MESSAGE.value}: '{stream}': {error}", throttle_duration_sec=2.0
                )
                return
            self._health.event(stream, self._steady_s())
            self._observer.push(stream, sample, self._arrival_ns(sample.stamp_ns))
            self._wake.set()

        return self.create_subscription(kind, stream, callback, SENSOR_QOS)

    def _subscribe_transforms(self) -> list[Any]:
        try:
            from tf2_msgs.msg import TFMessage
        except ImportError:
            return []

        def on_transforms(message: Any, static: bool) -> None:
            try:
                for parent, child, stamp_ns, matrix in decode_transforms(message):
                    if static:
                        self._frames.set_static(parent, child, matrix)
                    else:
                        self._frames.push(parent, child, stamp_ns, matrix)
            except (codecs.CodecError, FrameError) as error:
                self.get_logger().warning(f"/tf: {error}", throttle_duration_sec=2.0)

        return [
            self.create_subscription(TFMessage, "/tf", lambda m: on_transforms(m, False), 100),
            self.create_subscription(
                TFMessage, "/tf_static", lambda m: on_transforms(m, True), LATCHED_QOS
            ),
        ]

    def _on_guard(self, message: DiagnosticStatus) -> None:
        values = {pair.key: pair.value for pair in message.values}
        if values.get("state") in ("BRAKE", "FAULT"):
            self._forget_wanted.set()
        elif values.get("verdict") == "refused":
            self._refusals.append(int(values["verdict_stamp_ns"]))

    def _on_reset(self, request: Any, response: Any) -> Any:
        self._observer.clear()
        self._reset_wanted.set()
        self._wake.set()
        response.success, response.message = True, "the next plan starts from the measured joints"
        return response

    def _on_jump(self, jump: TimeJump) -> None:
        if hasattr(self, "_observer"):
            self._observer.clear()
        self._last_ns = 0
        self._reset_wanted.set()

    # the loop ------------------------------------------------------------------------------------

    def _loop(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(0.005)
            self._wake.clear()
            try:
                self._turn()
            except Exception as error:  # the loop must survive to brake and to tell
                self._health.set(Reason.NO_PLAN, self._steady_s(), detail=repr(error))
                self.get_logger().error(f"planning failed: {error!r}", throttle_duration_sec=1.0)
                self._publish_status()

    def _turn(self) -> None:
        if self._reset_wanted.is_set():
            self._reset_wanted.clear()
            self._driver.reset(self._values["seed"])
        time_ns = self._time_to_plan()
        if time_ns is None:
            self._watch()
            return
        observation = self._observer.observe(time_ns)
        if isinstance(observation, Refusal):
            self._refuse(observation)
            return
        if observation.stamp_ns <= self._last_ns:
            return
        self._last_ns = observation.stamp_ns
        while self._refusals:
            self._driver.refused(self._refusals.popleft())
        if self._forget_wanted.is_set():
            self._forget_wanted.clear()
            self._driver.forget()
        deadline = self._values["deadline_s"] or None
        lead_ns = round(self._values["lead_s"] * 1e9)
        self._planning_since_s = self._steady_s()
        try:
            motion = self._driver.drive(observation, self._now_ns, deadline, lead_ns)
        finally:
            self._planning_since_s = None
        if not self._stop.is_set() and not self._reset_wanted.is_set():
            self._publish(observation, motion)
        if self._values["dry_run"]:
            self._driver.forget()  # nothing was sent, so nothing is under way

    def _watch(self) -> None:
        """Between two plans: say so when a stream has gone missing or old."""
        now_ns = self._now_ns()
        lacking = self._observer.lacking(now_ns) if now_ns else None
        if lacking is not None:
            self._refuse(lacking)

    def _time_to_plan(self) -> int | None:
        if self._values["trigger"] == "observation":
            common = self._observer.newest_common_ns()
            if common is None or common <= self._last_ns:
                return None
            return max(self._now_ns(), common)
        now_ns = self._now_ns()
        period_ns = round(self._card.action.plan_period_s * 1e9)
        return now_ns if now_ns - self._last_ns >= period_ns else None

    def _publish(self, observation: Observation, motion: Motion) -> None:
        steady = self._steady_s()
        ages = self._observer.ages_s(max(self._now_ns(), observation.stamp_ns))
        self._health.plan(motion.plan.elapsed_s, steady)
        self._health.note(
            stamp_ns=str(observation.stamp_ns),
            plan_ms=f"{motion.plan.elapsed_s * 1e3:.2f}",
            iterations=str(motion.plan.iterations),
            value_before=f"{motion.plan.value_before:.4f}",
            value_after=f"{motion.plan.value_after:.4f}",
            plan=motion.plan.status.name,
            **{f"age_{name}": f"{age:.3f}" for name, age in ages.items()},
        )
        self._health.set(
            motion.reason,
            steady,
            level=Level.OK if motion.reason is Reason.OK else Level.WARN,
            detail=motion.plan.status.value,
        )
        self._actions.publish(trajectory_message(motion.actions(self._card.action)))
        if motion.waypoints is not None:
            self._path.publish(self._path_message(motion))
        if motion.trajectory is not None and not self._values["dry_run"]:
            self._plan.publish(trajectory_message(motion.trajectory))
        self._publish_status()

    def _path_message(self, motion: Motion) -> PathMessage:
        assert motion.waypoints is not None
        path = PathMessage()
        frame = self._profile.base_frame
        codecs.encode_path(motion.waypoints.tip, motion.plan.stamp_ns, frame, path, PoseStamped)
        return path

    # status --------------------------------------------------------------------------------------

    def _heartbeat(self) -> None:
        since_s, now_s = self._planning_since_s, self._steady_s()
        if since_s is not None and now_s - since_s > HANGING_S:
            detail = f"one plan has taken {now_s - since_s:.1f} s so far"
            self._health.set(Reason.NO_PLAN, now_s, detail=detail)
        self._publish_status()

    def _publish_status(self) -> None:
        report = self._health.status(self._steady_s())
        message = status_message(
            f"{self.get_name()}", report.level, report.text, {"code": report.code, **report.values}
        )
        self._status.publish(message)
        self._diagnostics.publish(diagnostics(self, [message]))

    def _refuse(self, refusal: Refusal) -> None:
        """Report why there is no plan; of a missing stream, whether anybody publishes it."""
        now_s = self._steady_s()
        if refusal.reason is not Reason.MISSING:
            self._health.set(refusal.reason, now_s, detail=refusal.detail)
        elif now_s - self._asked_s > ASK_AGAIN_S:
            self._asked_s = now_s
            detail = refusal.detail
            for name, stream in self._observer.streams.items():
                if stream.latest_before(FOREVER_NS) is None:
                    kind = MESSAGES.get(name, (PoseStamped, None))[0]
                    detail = nobody_publishes(self, name, kind) or detail
            self._health.set(refusal.reason, now_s, detail=detail)

    def _topics(self) -> dict[str, str]:
        return {name: self.resolve_topic_name(name) for name in self._card.observation.streams}

    def _now_ns(self) -> int:
        return self.get_clock().now().nanoseconds

    def _arrival_ns(self, stamp_ns: int) -> int:
        # With simulated time /clock and the stamps have one source, and /clock may arrive later.
        simulated = self.get_parameter("use_sim_time").value
        return max(self._now_ns(), stamp_ns) if simulated else self._now_ns()

    def _steady_s(self) -> float:
        return self._steady.now().nanoseconds * 1e-9


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM."""
    return run(PolicyNode, args)


if __name__ == "__main__":
    sys.exit(main())
