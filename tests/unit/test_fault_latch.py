# SPDX-License-Identifier: MIT
"""What goes wrong too often in a row is latched under its own name; a reset forgets it."""

import pytest

from difftori_models.contract.specs import PlanStatus
from difftori_ros.policy.fault_latch import FaultLatch, PlannerFault, is_device_error
from difftori_ros.types import Reason


@pytest.mark.parametrize("status", [PlanStatus.DIVERGED, PlanStatus.FAILED])
def test_third_divergence_in_a_row_is_latched(status):
    latch = FaultLatch(max_divergences=3)
    assert [latch.planned(status) for _ in range(3)] == [None, None, latch.fault]
    assert latch.fault is not None
    assert latch.fault.reason is Reason.DIVERGED
    assert "3 plans in a row" in latch.fault.detail
    assert status.value in latch.fault.detail
    assert not latch.fault.needs_new_planner
    latch.reset()
    assert latch.fault is None
    assert not latch.planned(status)


@pytest.mark.parametrize(
    "good", [PlanStatus.REFINED, PlanStatus.BASE, PlanStatus.DEADLINE], ids=lambda s: s.name
)
def test_good_plan_in_between_starts_the_count_anew(good):
    latch = FaultLatch(max_divergences=2)
    for _ in range(5):
        assert not latch.planned(PlanStatus.DIVERGED)
        assert not latch.planned(good)
    assert latch.fault is None


def test_exceptions_are_named_and_latched_after_three_in_a_row():
    latch = FaultLatch()
    reported = [latch.raised(KeyError("tip")) for _ in range(3)]
    assert {fault.reason for fault in reported} == {Reason.EXCEPTION}
    assert "KeyError: 'tip'" in reported[0].detail
    assert latch.fault is not None
    assert latch.fault is reported[2]
    assert "3 times in a row" in reported[2].detail
    assert latch.fault.needs_new_planner


def test_plan_between_exceptions_starts_their_count_anew():
    latch = FaultLatch()
    for _ in range(5):
        latch.raised(ValueError("x"))
        latch.raised(ValueError("x"))
        latch.planned(PlanStatus.BASE)
    assert latch.fault is None


class OutOfMemoryError(RuntimeError):
    """Named as torch names it."""


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        OutOfMemoryError("Tried to allocate 20.00 GiB"),
    ],
)
def test_failed_device_is_latched_at_once(error):
    assert is_device_error(error)
    latch = FaultLatch()
    assert latch.raised(error).reason is Reason.DEVICE_LOST
    assert latch.fault is not None
    assert latch.fault.reason is Reason.DEVICE_LOST


@pytest.mark.parametrize(
    "error", [ValueError("CUDA"), RuntimeError("mat1 and mat2 shapes cannot be multiplied")]
)
def test_other_errors_are_not_taken_for_a_failed_device(error):
    assert not is_device_error(error)


def test_real_out_of_memory_error_of_the_network_library_is_recognised():
    torch = pytest.importorskip("torch")
    assert is_device_error(torch.cuda.OutOfMemoryError("CUDA out of memory"))


def test_what_is_held_stays_until_the_reset():
    latch = FaultLatch()
    latch.hold(PlannerFault(Reason.DEADLINE, "too long"))
    latch.planned(PlanStatus.BASE)
    assert latch.fault == PlannerFault(Reason.DEADLINE, "too long")
    latch.reset()
    assert latch.fault is None
