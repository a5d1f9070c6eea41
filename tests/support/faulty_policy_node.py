# SPDX-License-Identifier: MIT
"""The policy node with the fault that a file names: of its planner, or of its callbacks."""

import sys

import tests.conftest  # noqa: F401  (the import names of the checkout)
from difftori_ros.nodes import policy_node
from difftori_ros.observation import observer
from difftori_ros.policy import open_policy
from tests.support.injected_faults import PLANNER_FAULTS, FaultyPlanner, read_mode

CALLBACK = "callback"
"""The mode in which the callback of a sample raises."""


def planner_mode() -> str:
    mode = read_mode()
    return "" if mode == CALLBACK else mode


class Planner(open_policy.Planner):
    def plan(self, *given, **named):
        return FaultyPlanner(super(), planner_mode).plan(*given, **named)


class StreamSet(observer.StreamSet):
    def push(self, stream, sample, now_ns):
        if read_mode() == CALLBACK:
            raise AttributeError("no such field")
        super().push(stream, sample, now_ns)


assert CALLBACK not in PLANNER_FAULTS

if __name__ == "__main__":
    open_policy.Planner = Planner
    observer.StreamSet = StreamSet
    sys.exit(policy_node.main())
