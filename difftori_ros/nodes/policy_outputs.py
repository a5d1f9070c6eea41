# SPDX-License-Identifier: MIT
"""What the policy node says about its plans: the plan, its actions, its path, what it saw."""

from __future__ import annotations

from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path as PathMessage
from rclpy.node import Node
from std_msgs.msg import Float32MultiArray, MultiArrayDimension, String
from trajectory_msgs.msg import JointTrajectory

from difftori_models.contract.specs import ActionSpec, Plan
from difftori_ros import codecs
from difftori_ros.codecs.serialized_trajectory import write_trajectory
from difftori_ros.policy.pipeline import PlannedMotion

from .node_base import COMMAND_QOS, LATCHED_QOS, PASSIVE_NODES, STATUS_QOS, trajectory_message


class Outputs:
    """Publishers of the policy node, from the first to `close`."""

    def __init__(self, node: Node, action: ActionSpec, base_frame: str):
        self._node, self._action, self._base_frame = node, action, base_frame
        publisher = node.create_publisher
        self._plan = publisher(JointTrajectory, "~/plan", COMMAND_QOS)
        self._actions = publisher(JointTrajectory, "~/actions", STATUS_QOS)
        self._path = publisher(PathMessage, "~/path", STATUS_QOS)
        self._latent = publisher(Float32MultiArray, "~/latent", STATUS_QOS)
        self._summary = publisher(String, "~/summary", LATCHED_QOS)

    def close(self) -> None:
        """Nothing is said any more."""
        for publisher in (self._plan, self._actions, self._path, self._latent, self._summary):
            self._node.destroy_publisher(publisher)

    def summary(self, text: str) -> None:
        """The table of this configuration."""
        self._summary.publish(String(data=text))

    def no_subscriber(self) -> str | None:
        """The sentence that says that nobody listens to the plans; None when somebody does."""
        # the graph knows a subscriber some time before it is matched and can hear
        listeners = self._node.get_subscriptions_info_by_topic(self._plan.topic_name)
        onlookers = sum(other.node_name in PASSIVE_NODES for other in listeners)
        if self._plan.get_subscription_count() > onlookers:
            return None
        return (
            f"nobody listens to '{self._plan.topic_name}': start guard_node, or set dry_run to "
            "plan without sending"
        )

    def latent_is_wanted(self) -> bool:
        """True when somebody listens to `~/latent`."""
        return self._latent.get_subscription_count() > 0

    def deliver(self, motion: PlannedMotion, send: bool) -> None:
        """One plan; its trajectory only with `send`. What nobody listens to is not built."""
        if motion.trajectory is not None and send:
            self._plan.publish(write_trajectory(motion.trajectory))
        if self._actions.get_subscription_count():
            self._actions.publish(trajectory_message(motion.actions(self._action)))
        if motion.waypoints is not None and self._path.get_subscription_count():
            path, tip = PathMessage(), motion.waypoints.tip
            codecs.encode_path(tip, motion.plan.stamp_ns, self._base_frame, path, PoseStamped)
            self._path.publish(path)
        if motion.plan.context is not None and self.latent_is_wanted():
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
