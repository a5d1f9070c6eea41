# SPDX-License-Identifier: MIT
"""Success over fixed seeds: in one process, through the ROS processes, or in a suite."""
