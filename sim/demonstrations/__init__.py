# SPDX-License-Identifier: MIT
"""Where demonstrations come from: our experts, a suite's own solutions, other people's files."""
