# SPDX-License-Identifier: MIT
"""The base of the errors of the learning side.

The robot side has a base of its own, `difftori_ros.errors.DifftoriError`: the guard's process
loads nothing of this package, and this package nothing of ROS.
"""


class LearningError(Exception):
    """Something that the learning side was given cannot be used; the message says what and why."""
