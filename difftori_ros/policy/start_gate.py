# SPDX-License-Identifier: MIT
"""The pose an arm must be in before the first plan of an episode."""

from __future__ import annotations

import numpy as np

from difftori_models.contract.specs import Observation
from difftori_ros.observation.stream_set import Refusal
from difftori_ros.types import FloatArray, Reason


class StartGate:
    """Closed until the arm has been near enough to a pose once; closed again by `reset`.

    Attributes:
        after_stops: The motion must begin at its beginning, also after the guard has stopped it.
    """

    def __init__(
        self,
        joints: tuple[str, ...],
        wanted: FloatArray | None,
        tolerance_rad: float,
        what: str,
        *,
        after_stops: bool = False,
    ):
        """Wait for a pose.

        Args:
            joints: The arm's joints.
            wanted: Their positions (n,) [rad]; None for a gate that is always open.
            tolerance_rad: Largest distance of each joint [rad]; 0 for a gate that is always open.
            what: Name of the pose.
            after_stops: The arm must also be there again after the guard has stopped it.
        """
        self._joints, self._wanted = joints, wanted
        self._tolerance_rad, self._what = tolerance_rad, what
        self.after_stops = after_stops
        self.reset()

    def reset(self) -> None:
        """The arm must be there again."""
        self._open = self._wanted is None or self._tolerance_rad <= 0.0

    def stopped(self) -> None:
        """The guard has stopped the arm."""
        if self.after_stops:
            self.reset()

    def check(self, observation: Observation, heard: bool = True) -> Refusal | None:
        """Why there may be no plan yet; None when there may.

        Args:
            observation: What is seen.
            heard: False while nobody would carry out a plan. A motion that must begin at its
                beginning (`after_stops`) then waits: else its time would run without the arm.
        """
        if self._open:
            return None
        if self.after_stops and not heard:
            return Refusal(Reason.WAITING, "guard_node does not say that it is at work")
        assert self._wanted is not None
        order = [observation.joint_names.index(name) for name in self._joints]
        gap = np.abs(observation.position[order] - self._wanted)
        k = int(np.argmax(gap))
        if gap[k] <= self._tolerance_rad:
            self._open = True
            return None
        detail = (
            f"{self._joints[k]} is {gap[k]:.3f} rad away from the {self._what}, "
            f"allowed are {self._tolerance_rad:g} rad; move the arm there first"
        )
        return Refusal(Reason.START_POSE, detail)
