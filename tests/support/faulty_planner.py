# SPDX-License-Identifier: MIT
"""The policy node with a planner that falls ill when the file DIFFTORI_SICKNESS says so."""

import os
import sys
from pathlib import Path

import tests.conftest  # noqa: F401  (the import names of the checkout)
from difftori_ros.nodes import policy_node
from difftori_ros.policy import open_policy
from tests.support.injected_faults import FaultyPlanner


def sickness() -> str:
    return Path(os.environ["DIFFTORI_SICKNESS"]).read_text().strip()


class Planner(open_policy.Planner):
    def plan(self, *given, **named):
        return FaultyPlanner(super(), sickness).plan(*given, **named)


if __name__ == "__main__":
    open_policy.Planner = Planner
    sys.exit(policy_node.main())
