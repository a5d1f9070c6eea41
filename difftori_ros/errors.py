# SPDX-License-Identifier: MIT
"""The base of the errors of the robot side and of the simulated robots.

The learning side has a base of its own, `difftori_models.errors.LearningError`: the guard's
process loads nothing of that package, and that package nothing of ROS.
"""


class DifftoriError(Exception):
    """Something that was given cannot be used; the message says what was wanted and what came."""
