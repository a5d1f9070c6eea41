# SPDX-License-Identifier: MIT
"""What the policy node says: how it is, the plan, its actions, its path, what it saw."""

from __future__ import annotations

from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path as PathMessage
from rclpy.node import Node
from std_msgs.msg import Float32MultiArray, MultiArrayDimension, String
from trajectory_msgs.msg import JointTrajectory

from difftori_models.contract.specs import ActionSpec, Plan
from difftori_ros import codecs
from difftori_ros.codecs.serialized_trajectory import write_trajectory
from difftori_ros.observation import StreamSet
from difftori_ros.policy.interfaces import Clocks, PlanEvent
from difftori_ros.policy.pipeline import PlannedMotion
from difftori_ros.status.health import Health

from .node_base import COMMAND_QOS, LATCHED_QOS, PASSIVE_NODES, STATUS_QOS, trajectory_message
from .status_publisher import StatusPublisher


class PolicyStatus:
    """`~/status`: what health and streams say. Any thread may publish it.

    Attributes:
        streams: What the observer has received; None before there is one.
    """

    def __init__(self, node: Node, health: Health, clocks: Clocks):
        """Nothing has been said yet."""
        self._health, self._clocks = health, clocks
        self._publisher = StatusPublisher(node, STATUS_QOS)
        self.streams: StreamSet | None = None

    def publish(self) -> None:
        """Say how it is now."""
        steady_s, streams = self._clocks.steady_s(), self.streams
        report = self._health.status(steady_s)
        received = {} if streams is None else streams.report(self._clocks.now_ns())
        values = {"code": report.code, **report.values, **received}
        self._publisher.publish(report.level, report.text, values, steady_s)

    def silent_s(self) -> float:
        """Time since the last status [s]."""
        return self._publisher.silent_s(self._clocks.steady_s())


class PolicyOutputs:
    """Publishers of the policy node, from the first to `close`; the sink of its loop."""

    def __init__(self, node: Node, action: ActionSpec, base_frame: str, status: PolicyStatus):
        """Nothing has been published yet.

        Args:
            node: The node.
            action: What the actions of a plan are.
            base_frame: Frame of the path.
            status: Is published with every event.
        """
        self._node, self._status = node, status
        self._action, self._base_frame = action, base_frame
        publisher = node.create_publisher
        self._plan = publisher(JointTrajectory, "~/plan", COMMAND_QOS)
        self._actions = publisher(JointTrajectory, "~/actions", STATUS_QOS)
        self._path = publisher(PathMessage, "~/path", STATUS_QOS)
        self._latent = publisher(Float32MultiArray, "~/latent", STATUS_QOS)
        self._summary = publisher(String, "~/summary", LATCHED_QOS)

    def close(self) -> None:
        """Nothing is published any more."""
        for publisher in (self._plan, self._actions, self._path, self._latent, self._summary):
            self._node.destroy_publisher(publisher)

    def summary(self, text: str) -> None:
        """The table of this configuration."""
        self._summary.publish(String(data=text))

    def no_subscriber(self) -> str | None:
        """The sentence that says that no node takes the plans; None when one does."""
        # the graph knows a subscriber some time before it is matched and can hear
        listeners = self._node.get_subscriptions_info_by_topic(self._plan.topic_name)
        onlookers = sum(other.node_name in PASSIVE_NODES for other in listeners)
        if self._plan.get_subscription_count() > onlookers:
            return None
        return (
            f"nobody listens to '{self._plan.topic_name}': start guard_node, or set dry_run to "
            "plan without sending"
        )

    def publish_latent(self) -> bool:
        """See `PlanSink`: whether a node listens to `~/latent`."""
        return self._latent.get_subscription_count() > 0

    def publish(self, event: PlanEvent) -> None:
        """See `PlanSink`: the plan first, then the status."""
        if event.motion is not None:
            self._publish_motion(event.motion, event.send)
        if event.error:
            self._node.get_logger().error(event.error)
        self._status.publish()

    def _publish_motion(self, motion: PlannedMotion, send: bool) -> None:
        """One plan; its trajectory only with `send`. What nobody listens to is not built."""
        if motion.trajectory is not None and send:
            self._plan.publish(write_trajectory(motion.trajectory))
        if self._actions.get_subscription_count():
            self._actions.publish(trajectory_message(motion.actions(self._action)))
        if motion.waypoints is not None and self._path.get_subscription_count():
            path, tip = PathMessage(), motion.waypoints.tip
            codecs.encode_path(tip, motion.plan.stamp_ns, self._base_frame, path, PoseStamped)
            self._path.publish(path)
        if motion.plan.context is not None:
            self._latent.publish(_latent_message(motion.plan))


def _latent_message(plan: Plan) -> Float32MultiArray:
    """The encoded observation; the label of its one dimension is the stamp [ns]."""
    message = Float32MultiArray()
    assert plan.context is not None
    size = len(plan.context)
    label = str(plan.stamp_ns)
    message.layout.dim = [MultiArrayDimension(label=label, size=size, stride=size)]
    message.data = plan.context.tolist()
    return message
