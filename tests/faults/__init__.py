# SPDX-License-Identifier: MIT
"""One test per row of the fault table, on real nodes and a kinematic fake arm."""
