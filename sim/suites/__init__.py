# SPDX-License-Identifier: MIT
"""Environments of others: their robots are not behind our driver, policies act on them directly.

`env.py` says what an environment must do; each suite has a file; `episodes.py` runs them.
"""
