# SPDX-License-Identifier: MIT
"""What benchmarks share: problems and peers, a load, a feeder, results as lines and pages."""
