# SPDX-License-Identifier: MIT
"""From an observation to a plan under a deadline, by PyTorch or by exported graphs.

`Planner` is what the robot side calls. `export` makes graphs of a checkpoint, `graph_cache` keeps
them; `backends` run them.
"""

from .planner import BasePlanner, Planner

__all__ = [
    "BasePlanner",
    "Planner",
]
