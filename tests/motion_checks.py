# SPDX-License-Identifier: MIT
"""States and checks for the tests of trajectories."""

import numpy as np

from difftori_ros.timing import Reference
from difftori_ros.types import Trajectory

STILL = np.zeros(7)


def at_rest(position) -> Reference:
    return Reference(np.array(position, dtype=float), STILL, STILL)


def ends_at_rest_where(trajectory: Trajectory):
    assert (trajectory.velocities[-1] == 0).all()
    return trajectory.positions[-1]
