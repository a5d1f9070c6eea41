# SPDX-License-Identifier: MIT
"""Training: `imitation` from demonstrations, `rl` by reward; takes data, never a simulator."""
