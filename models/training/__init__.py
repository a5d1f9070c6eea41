# SPDX-License-Identifier: MIT
"""Training from demonstrations: takes data, never a simulator."""
