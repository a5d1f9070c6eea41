# SPDX-License-Identifier: MIT
"""The networks that propose and refine chunks of actions."""
