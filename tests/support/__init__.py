# SPDX-License-Identifier: MIT
"""What tests and benchmarks share: a harness of real nodes, fake arms and planners, promises."""
