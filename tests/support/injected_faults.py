# SPDX-License-Identifier: MIT
"""Faults injected on purpose into processes and planners."""

from __future__ import annotations

import math
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from difftori_models.contract.specs import Plan, PlanStatus
from difftori_sim.ros.fault_injection import FaultError

SIGNALS: Mapping[str, signal.Signals] = {
    "kill": signal.SIGKILL,
    "stop": signal.SIGSTOP,
    "continue": signal.SIGCONT,
    "interrupt": signal.SIGINT,
    "terminate": signal.SIGTERM,
}


def send_signal(processes: Mapping[str, subprocess.Popen[Any]], name: str, kind: str) -> None:
    """Send a process the signal of that kind.

    Raises:
        FaultError: There is no such process or kind.
    """
    if name not in processes:
        raise FaultError(f"no process '{name}'; there are {', '.join(sorted(processes))}")
    if kind not in SIGNALS:
        raise FaultError(f"unknown process fault '{kind}'; there are {', '.join(SIGNALS)}")
    processes[name].send_signal(SIGNALS[kind])


PLANNER_FAULTS = ("diverge", "nan", "raise", "oom", "slow", "hang")
SLOW_S = 0.3
"""Time that a `slow` planner wastes [s]."""
HUNG_S = 0.1
"""Time between two looks whether a `hang` is over [s]."""


class FaultyPlanner:
    """A planner with the fault that `ask()` names, one of `PLANNER_FAULTS`; none if empty."""

    def __init__(self, planner: Any, ask: Callable[[], str]):
        self._planner, self._ask = planner, ask
        self._never = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._planner, name)

    def plan(self, *given: Any, **named: Any) -> Plan:
        """The planner's plan, or what the fault makes of it."""
        fault = self._ask()
        if fault and fault not in PLANNER_FAULTS:
            raise FaultError(
                f"unknown planner fault '{fault}'; there are {', '.join(PLANNER_FAULTS)}"
            )
        while fault == "hang":  # until the fault is over: a thread cannot be ended
            self._never.wait(HUNG_S)
            fault = self._ask()
        if fault == "slow":
            self._never.wait(SLOW_S)
        if fault == "raise":
            raise RuntimeError("a solver that raises, on purpose")
        if fault == "oom":
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB, on purpose")
        plan = self._planner.plan(*given, **named)
        if fault == "diverge":
            return replace(plan, value_after=math.nan, status=PlanStatus.DIVERGED)
        if fault == "nan":
            nothing = np.full_like(plan.actions, np.nan)
            return replace(plan, actions=nothing, status=PlanStatus.FAILED)
        if fault == "slow":
            return replace(plan, elapsed_s=plan.elapsed_s + SLOW_S)
        return plan
