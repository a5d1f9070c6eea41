# SPDX-License-Identifier: MIT
"""Model-based reinforcement learning: TD-MPC, and DiffTORI on the same networks and replay."""
