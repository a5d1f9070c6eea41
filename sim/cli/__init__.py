# SPDX-License-Identifier: MIT
"""The `difftori` command."""
