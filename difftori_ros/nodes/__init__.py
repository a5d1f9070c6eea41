# SPDX-License-Identifier: MIT
"""ROS 2 nodes and what they are built from; the one package here that imports rclpy.

Processes: `guard_node`, `policy_node`, `blackbox_node`. `policy_inputs`, `policy_outputs`,
`controller_outputs`, `guard_publisher` and `status_publisher` are their topics; `node_base`,
`spin`, `polled_subscription` and `realtime` are what they have in common.
"""
