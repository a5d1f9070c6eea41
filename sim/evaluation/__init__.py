# SPDX-License-Identifier: MIT
"""Success over fixed seeds.

`direct` runs a checkpoint in one process, `through_ros` in the processes of a robot, `suite` in an
environment of a suite; `results` holds what was measured, with its interval.
"""
