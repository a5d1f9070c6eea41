# SPDX-License-Identifier: MIT
"""The robot side of DiffTORI on ROS 2: messages in, guarded joint commands out."""
