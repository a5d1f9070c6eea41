# SPDX-License-Identifier: MIT
"""Plans become joint motion: tip targets by inverse kinematics, timed by Ruckig, joined and split.

`action_decoder` turns a plan's actions into waypoints (and loads Pinocchio), `trajectory` times
and joins them, `ruckig_path` keeps velocity, acceleration and jerk within the limits.
"""

from .trajectory import brake, hold, schedule, split

__all__ = [
    "brake",
    "hold",
    "schedule",
    "split",
]
