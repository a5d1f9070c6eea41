# SPDX-License-Identifier: MIT
"""The guard: it alone decides what reaches the controller. No ROS, no threads, no clock.

`guard` is the state machine. A plan is judged by itself (`plan_checks`, `workspace`, `retiming`),
then joined to what the arm follows in the moment of sending (`continuity_checks`); `plan_judge`
does both. `watchdog` and `stall_watch` say when something has gone silent; `soft_start` slows the
first plans; `latch_file` keeps a fault across restarts; `verdict` holds what is said.
"""

from .config import GuardConfig
from .guard import Guard
from .plan_checks import RefusedError
from .verdict import GuardStatus, Verdict

__all__ = ["Guard", "GuardConfig", "GuardStatus", "RefusedError", "Verdict"]
