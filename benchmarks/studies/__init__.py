# SPDX-License-Identifier: MIT
"""Grids of training and evaluation whose results stand in docs/results."""
