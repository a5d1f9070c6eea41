# SPDX-License-Identifier: MIT
"""A policy node that does what a file says: nothing special, hang, diverge, fail."""

import os
import sys
import threading
from dataclasses import replace
from pathlib import Path

from difftori_models.contract.specs import PlanStatus
from difftori_models.inference.planner import Planner
from difftori_ros.nodes import policy_node
from difftori_ros.observation.observer import Observer
from difftori_ros.policy import open_policy

VARIABLE = "DIFFTORI_TEST_MOOD"
"""Names the file."""


def mood() -> str:
    return Path(os.environ[VARIABLE]).read_text()


class MoodyPlanner(Planner):
    """Plans as ever, unless the file holds another word."""

    def plan(self, observation, deadline_s=None, refine=True):
        word = mood()
        if word == "hang":
            threading.Event().wait()
        if word == "cuda":
            raise RuntimeError("CUDA error: unspecified launch failure")
        plan = super().plan(observation, deadline_s, refine)
        return replace(plan, status=PlanStatus.DIVERGED) if word == "diverge" else plan


class MoodyObserver(Observer):
    """Takes in samples as ever, unless the file says that the callback shall raise."""

    def push(self, stream, sample, now_ns):
        if mood() == "callback":
            raise AttributeError("no such field")
        super().push(stream, sample, now_ns)


if __name__ == "__main__":
    open_policy.Planner = MoodyPlanner
    policy_node.Observer = MoodyObserver
    sys.exit(policy_node.main())
