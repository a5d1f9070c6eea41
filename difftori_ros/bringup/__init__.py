# SPDX-License-Identifier: MIT
"""What runs: node specs, the processes and launch actions made of them, and the starter.

`policy_specs` and `sim_specs` are the one list of nodes behind `policy.launch.py`,
`sim.launch.py`, `difftori-ros-bringup` and the demo.
"""

from .node_specs import NodeSpec, bridge_spec, policy_specs, sim_policy_settings, sim_specs
from .processes import (
    command_line,
    how_it_ended,
    interrupt_on_termination,
    start,
    stop,
    what_goes_on,
)

__all__ = [
    "NodeSpec",
    "bridge_spec",
    "command_line",
    "how_it_ended",
    "interrupt_on_termination",
    "policy_specs",
    "sim_policy_settings",
    "sim_specs",
    "start",
    "stop",
    "what_goes_on",
]
