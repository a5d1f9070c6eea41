# SPDX-License-Identifier: MIT
"""Simulated robots behind the robot's own topics, demonstrations, and evaluation.

`arm` is the simulated arm, `ros` puts it behind topics, `suites` are other people's tasks,
`demonstrations` records, `evaluation` measures, `cli` is the `difftori` command.
"""
