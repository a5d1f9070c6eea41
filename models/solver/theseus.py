# SPDX-License-Identifier: MIT
"""The real Theseus, called as the DiffTORI reference code calls it.

It is the oracle of tests and the peer of benchmarks; no policy needs it to run. It is an optional
extra with its own recipe, since its declared dependencies do not build on most machines; see
docs/explanation/solver.md.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from difftori_models.errors import LearningError

from .lm_rank1 import LMRank1
from .method import State
from .problem import Problem


class TheseusMissingError(LearningError, ImportError):
    """Theseus is not installed; the message says how to get it."""


def load_theseus() -> Any:
    """The library.

    Raises:
        TheseusMissingError: It is not installed.
    """
    try:
        with warnings.catch_warnings():
            # It warns of an absent sparse solver that nothing here uses.
            warnings.simplefilter("ignore")
            import theseus
    except ImportError as error:
        raise TheseusMissingError(
            "theseus is not importable: install it with 'pip install --no-deps "
            "--no-build-isolation theseus-ai==0.2.3 torchlie==0.1.0 torchkin==0.1.1 "
            "urdf-parser-py==0.0.4 scipy' in an environment that has torch"
        ) from error
    return theseus


@dataclass(frozen=True)
class TheseusLM(LMRank1):
    """`LMRank1` as the library does it, with a dense Cholesky factorisation.

    Attributes:
        autograd_mode: How Theseus finds the Jacobian: `vmap` (its default), `dense` or
            `loop_batch`.
        backward_iterations: Iterations left in the graph; None for all.
        tolerance: Relative change of the error at which it stops early; 0 for never. Theseus'
            default is 1e-8.
    """

    autograd_mode: str = "vmap"
    backward_iterations: int | None = None
    tolerance: float = 0.0

    def step(self, problem: Problem, state: State, row: Tensor) -> State:
        """One iteration of the library."""
        one = replace(self, iterations=1, backward_iterations=None)
        after = one.solve(problem, state.actions)[0]
        value = problem.evaluate(problem.project(state.actions))
        return State(after, value, state.moved + (after - state.actions).detach().abs())

    def layer(self, problem: Problem, start: Tensor) -> Any:
        """A Theseus layer for starts of this shape; the context travels as auxiliary variable.

        Only problems whose context is one tensor (B, n) fit.
        """
        th = load_theseus()
        shape, batch = start.shape[1:], len(start)
        rows, unknowns = (1, start.numel()) if self.coupled else (batch, start[0].numel())

        def error(optim_vars: Any, aux_vars: Any) -> Tensor:
            actions, context = optim_vars[0].tensor, aux_vars[0].tensor
            if self.coupled:
                # vmap hides the row of one
                lead = actions.shape[:-1]
                actions = actions.reshape(batch, *shape)
                context = context.reshape(batch, -1)
                value = problem.objective(problem.params, context, problem.project(actions))
                return (self.target - value).mean().reshape(*lead, 1)
            value = problem.objective(
                problem.params, context, problem.project(actions.reshape(-1, *shape))
            )
            return (self.target - value).reshape(*actions.shape[:-1], 1)

        actions = th.Vector(tensor=start.new_zeros(rows, unknowns), name="actions")
        context = problem.context.reshape(rows, -1)
        objective = th.Objective(dtype=start.dtype)
        objective.add(
            th.AutoDiffCostFunction(
                [actions],
                error,
                1,
                # Its default weight is fp32, whatever the objective's type.
                cost_weight=th.ScaleCostWeight(start.new_ones(1, 1)),
                aux_vars=[th.Variable(context, name="context")],
                autograd_mode=self.autograd_mode,
            )
        )
        optimizer = th.LevenbergMarquardt(
            objective,
            th.CholeskyDenseSolver,
            max_iterations=self.iterations,
            step_size=self.step_size,
            rel_err_tolerance=self.tolerance,
            abs_err_tolerance=0.0 if self.tolerance == 0 else 1e-10,
        )
        return th.TheseusLayer(optimizer)

    def run(self, layer: Any, problem: Problem, start: Tensor) -> tuple[Tensor, Tensor]:
        """The last and the best iterate of `layer`, both (B, H, A), from `start`."""
        rows = 1 if self.coupled else len(start)
        options: dict[str, Any] = {"damping": self.damping, "track_best_solution": True}
        if self.backward_iterations is not None:
            options |= {
                "backward_mode": "truncated",
                "backward_num_iterations": self.backward_iterations,
            }
        values, info = layer.forward(
            {
                "actions": start.reshape(rows, -1),
                "context": problem.context.reshape(rows, -1),
            },
            optimizer_kwargs=options,
        )
        best = info.best_solution["actions"].to(start.device)
        return values["actions"].view_as(start), best.view_as(start)

    def solve(self, problem: Problem, start: Tensor) -> tuple[Tensor, Tensor]:
        """The last and the best iterate, with a layer built anew, as the reference code does."""
        return self.run(self.layer(problem, start), problem, start)
