# SPDX-License-Identifier: MIT
"""What the learning side and the robot side agree on, as plain data: no torch, no ROS.

`specs` are the dataclasses, `network_settings` and `world_model_settings` those of a card's
networks and solver; `features` and `input_statistics` are the numbers that a network takes of an
observation; `strict_json` turns dataclasses into JSON and back.
"""

from .network_settings import Network, Solver
from .specs import (
    GRIPPER,
    ActionSpec,
    Card,
    FloatArray,
    ImageSpec,
    Observation,
    ObservationSpec,
    Plan,
    PlanStatus,
    PointSpec,
)
from .world_model_settings import WorldSolver

__all__ = [
    "GRIPPER",
    "ActionSpec",
    "Card",
    "FloatArray",
    "ImageSpec",
    "Network",
    "Observation",
    "ObservationSpec",
    "Plan",
    "PlanStatus",
    "PointSpec",
    "Solver",
    "WorldSolver",
]
