# SPDX-License-Identifier: MIT
"""The simulated arm: its world in ManiSkill, the tasks, the experts, the loop without ROS."""
