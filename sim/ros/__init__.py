# SPDX-License-Identifier: MIT
"""The simulated arm behind a robot's topics, and an operator for it; imports rclpy.

`bridge_node` lets time go on in the world and takes commands; `robot_topics` and `camera_messages`
are what it publishes. `fault_injection` spoils that on purpose, by the kinds of `fault_kinds`.
`process_operator` starts bridge, guard and policy on a domain of their own (`isolated_domain`),
and runs and records episodes; `service_retry` repeats its requests.
"""
