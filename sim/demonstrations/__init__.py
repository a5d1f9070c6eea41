# SPDX-License-Identifier: MIT
"""Files of demonstrations.

`record` makes them with the arm's experts, `from_suite` with those of suites, `from_hdf5` of files
of the Robomimic data sets.
"""
