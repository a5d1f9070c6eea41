# SPDX-License-Identifier: MIT
"""Learning from demonstrations: the base policy's loss, and the loss through the solver."""
