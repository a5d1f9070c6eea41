# SPDX-License-Identifier: MIT
"""Environment variables that processes of this package tell each other something by."""

PARENT_VARIABLE = "DIFFTORI_PARENT_PID"
"""Tells a node which process started it: it ends when that one has, however that came about."""
