# SPDX-License-Identifier: MIT
"""States and checks for the tests of trajectories."""

import numpy as np
from hypothesis import strategies as st

from difftori_ros.motion.trajectory import Reference
from difftori_ros.robot.profile import load_profile
from difftori_ros.types import Trajectory

STAMP = 5_000_000_000
MS = 1_000_000
DT = 0.05
PROFILES = {name: load_profile(name) for name in ("panda", "xarm7")}
PANDA = PROFILES["panda"]
GRIPPER = PANDA.gripper
STILL = np.zeros(7)
TIGHT = {"position_tolerance": 1e-4, "velocity_factor": 1.001, "acceleration_factor": 1.15}

# speed for the machine's sake: what hypothesis draws is a seed and the few choices that matter
seeds = st.integers(0, 2**32 - 1)


def at_rest(position) -> Reference:
    return Reference(np.array(position, dtype=float), STILL, STILL)


def ends_at_rest_where(trajectory: Trajectory):
    assert (trajectory.velocities[-1] == 0).all()
    return trajectory.positions[-1]
