# SPDX-License-Identifier: MIT
"""What a solve gives back, as data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from torch import Tensor


class SolverStatus(Enum):
    """How a sample's solve ended; the value is a sentence for people."""

    COMPLETE = "all iterations were done"
    FLAT = "no iteration moved the actions: the gradient was zero, or no move raised the value"
    NON_FINITE = "a value, gradient or step was not finite: this is the start, or the best known"


@dataclass(frozen=True)
class Solution:
    """What came out of a solve of B samples.

    Attributes:
        actions: The answer, shape (B, H, A).
        objective_before: Value of the projected start, shape (B,).
        objective_after: Value of `actions`, shape (B,).
        finite: Whether the values of start and answer and all moves were finite, shape (B,) of
            bool. An infinite gradient ends at a bound of the box and would look harmless in
            `actions`.
        flat: Whether no iteration moved anything, shape (B,) of bool.
    """

    actions: Tensor
    objective_before: Tensor
    objective_after: Tensor
    finite: Tensor
    flat: Tensor

    @property
    def statuses(self) -> tuple[SolverStatus, ...]:
        """One status per sample; reads the tensors, so not for use inside a captured graph."""
        return tuple(
            SolverStatus.NON_FINITE
            if not finite
            else (SolverStatus.FLAT if flat else SolverStatus.COMPLETE)
            for finite, flat in zip(self.finite.tolist(), self.flat.tolist(), strict=True)
        )
