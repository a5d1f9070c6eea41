# SPDX-License-Identifier: MIT
"""What the learning side and the robot side agree on, as plain data: no torch, no ROS.

`specs` are the dataclasses, `card` reads and checks a checkpoint's card, `features` and
`input_statistics` are the numbers that a network takes of an observation.
"""

from .specs import (
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
