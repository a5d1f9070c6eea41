# SPDX-License-Identifier: MIT
"""The simulated arm behind a robot's topics, an operator for it, and faults put into it."""
