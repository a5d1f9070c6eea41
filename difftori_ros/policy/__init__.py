# SPDX-License-Identifier: MIT
"""The policy's control loop, from an observation to a plan that the guard is asked to carry out.

`runner` starts and stops `loop`, whose turns run in the `planner_thread`; `mailbox` keeps what
other threads want of it, `interfaces` says what it needs and gives. `pipeline` makes a trajectory
from an observation, `open_policy` opens checkpoints and scripts, `start_gate` and `fault_latch`
decide when nothing may move.
"""
