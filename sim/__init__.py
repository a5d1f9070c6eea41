# SPDX-License-Identifier: MIT
"""Simulated robots behind the robot's own topics, demonstrations, and evaluation."""
