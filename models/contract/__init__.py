# SPDX-License-Identifier: MIT
"""What the learning side and the robot side agree on, as plain data: no torch, no ROS.

`specs` are the dataclasses, `network_settings` and `world_model_settings` those of a card's
networks and solver; `features` and `input_statistics` are the numbers that a network takes of an
observation; `strict_json` turns dataclasses into JSON and back.
"""

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

__all__ = [
    "GRIPPER",
    "ActionSpec",
    "Card",
    "FloatArray",
    "ImageSpec",
    "Observation",
    "ObservationSpec",
    "Plan",
    "PlanStatus",
    "PointSpec",
]
