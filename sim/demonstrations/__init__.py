# SPDX-License-Identifier: MIT
"""Demonstrations: `record` by our experts, `from_suite` by a suite's, `from_hdf5` from files."""
