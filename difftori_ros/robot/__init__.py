# SPDX-License-Identifier: MIT
"""The arm: its profile (joints, limits, frames, controllers) and its kinematics.

`Kinematics` is in `kinematics`, imported by itself because it loads Pinocchio.
"""

from .profile import Gripper, ProfileError, RobotProfile, available_robots, load_profile

__all__ = [
    "Gripper",
    "ProfileError",
    "RobotProfile",
    "available_robots",
    "load_profile",
]
