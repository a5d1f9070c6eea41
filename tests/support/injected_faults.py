# SPDX-License-Identifier: MIT
"""Faults injected on purpose into processes and planners.

A policy process reads the mode of its planner's fault from the file that `FAULT_VARIABLE` names.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
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


FAULT_VARIABLE = "DIFFTORI_PLANNER_FAULT"
"""Names the file with the mode."""
PLANNER_FAULTS = ("diverge", "nan", "raise", "oom", "slow", "hang")
"""Modes of a faulty planner."""
SLOW_S = 0.3
"""Time that a `slow` planner wastes [s]."""
HUNG_S = 0.1
"""Time between two looks whether a `hang` is over [s]."""


def read_mode() -> str:
    """The mode in the file that `FAULT_VARIABLE` names; "" for no fault."""
    return Path(os.environ[FAULT_VARIABLE]).read_text().strip()


def write_mode(path: Path, mode: str) -> None:
    """The file holds that mode, and is never half written."""
    fresh = path.with_suffix(".new")
    fresh.write_text(mode)
    fresh.replace(path)


class FaultyPlanner:
    """A planner with the fault that `mode()` names, one of `PLANNER_FAULTS`; none if empty."""

    def __init__(self, planner: Any, mode: Callable[[], str]):
        self._planner, self._mode = planner, mode
        self._never = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._planner, name)

    def plan(self, *given: Any, **named: Any) -> Plan:
        """The planner's plan, or what the fault makes of it."""
        fault = self._mode()
        if fault and fault not in PLANNER_FAULTS:
            raise FaultError(
                f"unknown planner fault '{fault}'; there are {', '.join(PLANNER_FAULTS)}"
            )
        while fault == "hang":  # until the fault is over: a thread cannot be ended
            self._never.wait(HUNG_S)
            fault = self._mode()
        if fault == "slow":
            self._never.wait(SLOW_S)
        if fault == "raise":
            raise RuntimeError("a solver that raises, on purpose")
        if fault == "oom":
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB, on purpose")
        plan = self._planner.plan(*given, **named)
        if fault == "diverge":
            return replace(plan, objective_after=math.nan, status=PlanStatus.DIVERGED)
        if fault == "nan":
            nothing = np.full_like(plan.actions, np.nan)
            return replace(plan, actions=nothing, status=PlanStatus.FAILED)
        if fault == "slow":
            return replace(plan, elapsed_s=plan.elapsed_s + SLOW_S)
        return plan
