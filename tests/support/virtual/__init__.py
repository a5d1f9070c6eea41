# SPDX-License-Identifier: MIT
"""The robot side on one virtual clock: the real guard and policy loop before an exact arm."""
