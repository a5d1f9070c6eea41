# SPDX-License-Identifier: MIT
"""Maximise a differentiable value over action sequences in a box, and differentiate the answer.

See docs/explanation/solver.md. `difftori_models.solver.compiled` and `.tracing` are imported by
themselves, since they load PyTorch's compiler.
"""

from .adam_box import AdamBox
from .backward import frozen_hessian, implicit, truncated, unrolled
from .gauss_newton import GaussNewton
from .lm_rank1 import LMRank1
from .method import Climber, Method, Start, State, advance, solve
from .mppi import MPPI
from .normalised_gradient import NormalisedGradient
from .problem import Problem
from .projected_gradient import AdaptiveGradient, ProjectedGradient
from .projected_newton import ProjectedNewton
from .solution import Solution, SolverStatus
from .theseus import TheseusLM, TheseusMissingError
from .trajectory_value import TrajectoryValue
from .wrappers import BestSoFar, Boxed, Deadline, MultiStart, RateLimited

__all__ = [
    "MPPI",
    "AdamBox",
    "AdaptiveGradient",
    "BestSoFar",
    "Boxed",
    "Climber",
    "Deadline",
    "GaussNewton",
    "LMRank1",
    "Method",
    "MultiStart",
    "NormalisedGradient",
    "Problem",
    "ProjectedGradient",
    "ProjectedNewton",
    "RateLimited",
    "Solution",
    "SolverStatus",
    "Start",
    "State",
    "TheseusLM",
    "TheseusMissingError",
    "TrajectoryValue",
    "advance",
    "frozen_hessian",
    "implicit",
    "solve",
    "truncated",
    "unrolled",
]
