# SPDX-License-Identifier: MIT
"""The robot side of DiffTORI on ROS 2: messages in, guarded joint commands out.

Data flows one way: `codecs` turn messages into the dataclasses of `types`, `observation` makes of
them what the policy sees, `policy` plans, `motion` times the plan, and `guard` alone commands the
controller. Only `nodes` and one module of `tools` import rclpy.
"""
