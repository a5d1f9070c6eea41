# SPDX-License-Identifier: MIT
"""The policy's control loop, from an observation to a plan that the guard is asked to carry out.

`loop` runs it, `pipeline` makes a trajectory from an observation, `planner_thread` keeps the
solver from blocking it, `open_policy` opens checkpoints and scripts, `start_gate` and
`fault_latch` decide when nothing may move.
"""
