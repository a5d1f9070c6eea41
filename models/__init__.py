# SPDX-License-Identifier: MIT
"""The learning side of DiffTORI: encoders, policies, the solver, training. Never imports ROS."""
