# SPDX-License-Identifier: MIT
"""Commands for people with a robot or a bag: inspect, show a recording, make demonstrations.

No simulator is needed. `inspect_node` is the only module here that imports rclpy.
"""
