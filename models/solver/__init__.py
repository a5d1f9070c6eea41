# SPDX-License-Identifier: MIT
"""Solvers that climb a value of actions inside a box."""
