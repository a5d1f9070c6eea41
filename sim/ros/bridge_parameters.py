# SPDX-License-Identifier: MIT
"""The parameters of the simulated robot; `seed` and `view` are live and the bridge's own."""

from __future__ import annotations

from dataclasses import dataclass

from difftori_ros.config.parameter import parameter, parameters_of
from difftori_ros.config.parameters import ROBOT


@dataclass(frozen=True)
class BridgeParameters:
    """What is simulated, how its time goes on, and what is published of it."""

    task: str = parameter("pick_cube", "The simulated task.")
    robot: str = parameter("panda", ROBOT)
    clock: str = parameter(
        "lockstep",
        "'lockstep': the world waits for every plan; 'wall': it runs on with the wall clock.",
        choices=("lockstep", "wall"),
    )
    start: bool = parameter(True, "Start the first episode without being asked.")
    period_s: float = parameter(
        0.1, "Time that passes for one plan in lockstep.", unit="s", low=0.01, high=1.0
    )
    max_time_s: float = parameter(
        5.0, "World time after which an episode has failed.", unit="s", low=0.1, high=1000.0
    )
    lockstep_timeout_s: float = parameter(
        10.0, "Silence after which time goes on all the same.", unit="s", low=0.1, high=600.0
    )
    cloud: bool = parameter(True, "Render and publish the camera: image, camera_info and points.")
    camera_hz: float = parameter(
        10.0, "Rate of the camera in wall mode.", unit="Hz", low=0.1, high=100.0
    )
    image_size: int = parameter(
        128, "Width and height of the camera.", unit="px", low=16, high=1024
    )
    faults: tuple[str, ...] = parameter(
        ("",),
        "What goes wrong with what is published: stream:kind:start_s:duration_s[:amount], where "
        "the times count from the episode's start on the world's clock.",
    )
    view_size: int = parameter(
        384, "Width and height of the picture for people.", unit="px", low=64, high=2048
    )


BRIDGE = parameters_of(BridgeParameters)
