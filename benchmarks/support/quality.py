# SPDX-License-Identifier: MIT
"""Value reached against evaluations, on trained problems.

The value of an iterate is that of its projection into the box: the reference clamps inside its
objective. The gain is G - G of the start, and a curve is the median over states of the gain of
the best iterate so far, as a share of the largest gain that any method found for that state.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.support.problems import Trained
from difftori_models.solver import (
    MPPI,
    AdamBox,
    LMRank1,
    Method,
    NormalisedGradient,
    Problem,
    ProjectedGradient,
)

EVALUATIONS = (1, 2, 3, 5, 10, 20, 30, 50)
REFERENCE = "reference, best"
ADAM = "adam in a box"


def iterates(problem: Problem, start: Tensor, method: Method) -> tuple[Tensor, float]:
    """Values of all iterates (K + 1, B), and the largest distance of one from the box."""
    state = method.init(problem, start)
    values, outside = [problem.evaluate(problem.project(state.actions))], 0.0
    for row in method.schedule(start):
        state = method.step(problem, state, row)
        inside = problem.project(state.actions)
        values.append(problem.evaluate(inside))
        outside = max(outside, float((state.actions - inside).abs().max()))
    return torch.stack(values), outside


@torch.no_grad()
def curves(trained: Trained, count: int) -> dict[str, Any]:
    """Curves of all methods on `count` test states, with the numbers behind the key figures."""
    problem, start = trained.problem(trained.states(count, "test"), "min")
    longest = EVALUATIONS[-1]
    found: dict[str, dict[int, Tensor]] = {}
    outside = {}

    def anytime(name: str, method: Method, last: bool = False) -> None:
        values, outside[name] = iterates(problem, start, method)
        gains = values - values[0]
        best = gains if last else gains.cummax(dim=0).values
        found[name] = {k: best[k] for k in range(1, len(values))}

    jobs = tqdm(total=6, desc=f"quality: {trained.task.name}")
    anytime("reference, last", LMRank1(longest), last=True)
    anytime(REFERENCE, LMRank1(longest))
    jobs.update(2)
    anytime("projected gradient", ProjectedGradient(longest))
    jobs.update()
    # Their step falls along the solve, so every length is a solve of its own.
    for name, make in (("normalised gradient", NormalisedGradient), (ADAM, AdamBox)):
        found[name] = {}
        for length in EVALUATIONS:
            values, outside[name] = iterates(problem, start, make(length))
            found[name][length] = (values - values[0]).amax(dim=0)
        jobs.update()
    few = slice(0, min(count, 16))
    part, begin = trained.problem(trained.states(count, "test")[few], "min")
    values, outside["mppi"] = iterates(part, begin, MPPI(6))
    found["mppi"] = {6 * MPPI(6).samples: values[-1] - values[0]}
    jobs.update()
    jobs.close()

    every = [gain for name in found if name != "mppi" for gain in found[name].values()]
    most = torch.stack(every).amax(dim=0).clamp(min=1e-6)
    share = {
        name: {k: float((gain / most[: len(gain)]).median()) for k, gain in points.items()}
        for name, points in found.items()
    }
    adam, reference = found[ADAM][20], found[REFERENCE][longest]
    return {
        "problem": trained.task.name,
        "states": count,
        "share_of_best": share,
        "largest_distance_from_box": outside,
        "gain_adam_20": float(adam.median()),
        "gain_reference_best_50": float(reference.median()),
        "value_share_20": float(adam.median() / reference.median()),
        "states_at_least_reference": float((adam >= reference).float().mean()),
    }
