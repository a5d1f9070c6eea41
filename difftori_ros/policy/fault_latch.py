# SPDX-License-Identifier: MIT
"""Faults of the planner, counted and latched: what went wrong too often stops until a reset."""

from __future__ import annotations

from dataclasses import dataclass

from difftori_models.contract.specs import PlanStatus
from difftori_ros.errors import DifftoriError
from difftori_ros.types import Reason

MAX_EXCEPTIONS = 3
"""Turns in a row that may end with an exception before that is latched."""

DEVICE_ERRORS = ("OutOfMemoryError", "AcceleratorError", "CudaError")
"""Names of exception classes that stand for a failed device; no network library is imported."""

DEVICE_WORDS = ("CUDA", "CUBLAS", "CUDNN", "cuBLAS", "cuDNN", "HIP error")
"""Words in the text of a RuntimeError that stand for a failed device."""


def is_device_error(error: BaseException) -> bool:
    """True when it is the device that failed, by the error's class or its text."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & set(DEVICE_ERRORS):
        return True
    return "RuntimeError" in names and any(word in str(error) for word in DEVICE_WORDS)


class CallbackError(DifftoriError, RuntimeError):
    """A callback has raised what it must not: no one knows what is true now."""

    def __init__(self, error: Exception) -> None:
        super().__init__(f"in a callback: {type(error).__name__}: {error}")


@dataclass(frozen=True)
class PlannerFault:
    """What is latched, and what exactly."""

    reason: Reason
    detail: str

    @property
    def needs_new_planner(self) -> bool:
        """True when a reset must also make the planner anew."""
        return self.reason is not Reason.DIVERGED


class FaultLatch:
    """Counts faults in a row; once too many, `fault` holds until `reset`."""

    def __init__(self, max_divergences: int = 3, max_exceptions: int = MAX_EXCEPTIONS):
        self._max_divergences, self._max_exceptions = max_divergences, max_exceptions
        self.fault: PlannerFault | None = None
        self._divergences = self._exceptions = 0

    def reset(self) -> None:
        """Nothing is latched, and nothing has gone wrong so far."""
        self.fault = None
        self._divergences = self._exceptions = 0

    def planned(self, status: PlanStatus) -> PlannerFault | None:
        """A plan was made; the fault when it was one divergence too many, and is now latched."""
        self._exceptions = 0
        if status not in (PlanStatus.DIVERGED, PlanStatus.FAILED):
            self._divergences = 0
            return None
        self._divergences += 1
        if self._divergences < self._max_divergences:
            return None
        detail = f"{self._divergences} plans in a row; the last one: {status.value}"
        self.fault = PlannerFault(Reason.DIVERGED, detail)
        return self.fault

    def raised(self, error: BaseException) -> PlannerFault:
        """A turn ended with an exception: what to report, latched when it will not go away."""
        text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        if is_device_error(error):
            self.fault = PlannerFault(Reason.DEVICE_LOST, text)
            return self.fault
        if isinstance(error, CallbackError):
            self.fault = PlannerFault(Reason.EXCEPTION, str(error))
            return self.fault
        self._exceptions += 1
        fault = PlannerFault(Reason.EXCEPTION, text)
        if self._exceptions >= self._max_exceptions:
            fault = PlannerFault(
                Reason.EXCEPTION, f"{self._exceptions} times in a row, last: {text}"
            )
            self.fault = fault
        return fault

    def hold(self, fault: PlannerFault) -> None:
        """This is latched, however often it happened."""
        self.fault = fault
