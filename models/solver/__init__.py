# SPDX-License-Identifier: MIT
"""Maximise a differentiable value over action sequences in a box, and differentiate the answer.

See docs/explanation/solver.md. `difftori_models.solver.tracing` is imported by itself, since it
loads PyTorch's tracer.
"""

from .adam_box import AdamBox
from .backward import truncated, unrolled
from .gauss_newton import GaussNewton
from .lm_rank1 import LMRank1
from .method import IterativeMethod, Method, Start, State, advance, solve
from .mppi import MPPI
from .normalised_gradient import NormalisedGradient
from .problem import Problem
from .projected_gradient import ProjectedGradient
from .solution import Solution, SolverStatus
from .theseus import TheseusLM, TheseusMissingError
from .trajectory_value import TrajectoryValue
from .wrappers import BestSoFar, Boxed

__all__ = [
    "MPPI",
    "AdamBox",
    "BestSoFar",
    "Boxed",
    "GaussNewton",
    "IterativeMethod",
    "LMRank1",
    "Method",
    "NormalisedGradient",
    "Problem",
    "ProjectedGradient",
    "Solution",
    "SolverStatus",
    "Start",
    "State",
    "TheseusLM",
    "TheseusMissingError",
    "TrajectoryValue",
    "advance",
    "solve",
    "truncated",
    "unrolled",
]
