# SPDX-License-Identifier: MIT
"""Whether the parts of a card make sense together."""

from __future__ import annotations

import re

from difftori_models.contract.features import FeatureError, network_for
from difftori_models.contract.input_statistics import summary_names
from difftori_models.contract.network_settings import (
    BASES,
    LATENTS,
    MAX_ITERATIONS,
    MAX_RESIDUALS,
    METHODS,
    OBJECTIVES,
    RL_METHODS,
    SAMPLERS,
    SOLVERS,
    STARTS,
    Network,
    Solver,
)
from difftori_models.contract.specs import ActionSpec, Card
from difftori_models.contract.world_model_settings import PLANNERS, TERMINALS, WorldSolver

from .errors import CheckpointError, require
from .observation_checks import check_observation

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_KINDS = ("ee_delta_pos", "joint_delta", "joint_position", "env")


def is_plain_name(name: str) -> bool:
    """Whether a card may have this name: it becomes part of paths and messages."""
    return bool(_NAME.fullmatch(name))


def check_card(card: Card) -> None:
    """Pass silently when the card's parts fit each other.

    Raises:
        CheckpointError: They do not; the message names the entry.
    """
    for key in ("name", "task", "robot"):
        value = getattr(card, key)
        require(is_plain_name(value), f"{key} {value!r} is not a plain name")
    require(card.method in METHODS, f"unknown method '{card.method}'; known: {', '.join(METHODS)}")
    _check_base(card)
    _check_action(card.action)
    _check_network(card.network)
    _check_solver(card.solver, card.network)
    if card.method in RL_METHODS:
        _check_world(card)
    check_observation(card.observation)
    try:
        fitting = network_for(card.observation)
    except FeatureError as error:
        raise CheckpointError(str(error)) from error
    for key in ("state", "points", "images", "frames"):
        size, wanted = getattr(card.network, key), getattr(fitting, key)
        require(size == wanted, f"network.{key} is {size}, the observation gives {wanted}")
    _check_normaliser(card)


def _check_base(card: Card) -> None:
    if card.method in RL_METHODS:
        require(
            card.base is None,
            f"base is '{card.base}': what was learned by reward ('{card.method}') has none",
        )
        return
    require(card.base in BASES, f"unknown base {card.base!r}; known: {', '.join(BASES)}")
    require(
        card.method not in BASES or card.method == card.base,
        f"method is '{card.method}', which is a base policy itself, and base is '{card.base}'",
    )


def _check_action(action: ActionSpec) -> None:
    require(
        action.kind in _KINDS, f"unknown action.kind '{action.kind}'; known: {', '.join(_KINDS)}"
    )
    count = len(action.names)
    require(count > 0, "action.names is empty")
    for key in ("scale", "low", "high"):
        length = len(getattr(action, key))
        require(length == count, f"action.{key} has {length} entries, action.names has {count}")
    for name, low, high in zip(action.names, action.low, action.high, strict=True):
        require(low < high, f"action '{name}' has low {low} and high {high}")
    low, high = action.tip_low, action.tip_high
    require((low is None) == (high is None), "action.tip_low and tip_high: one is null")
    if low is not None and high is not None:
        for axis, a, b in zip("xyz", low, high, strict=True):
            require(a < b, f"action.tip_low is {a} and tip_high {b} along {axis}")
    require(1e-3 <= action.dt_s <= 1.0, f"action.dt_s is {action.dt_s} s, must be 0.001 to 1")
    require(
        1 <= action.horizon <= 1024,
        f"action.horizon is {action.horizon}, must lie between 1 and 1024",
    )
    span_s = action.horizon * action.dt_s
    require(
        span_s <= 5.0,
        f"action.horizon is {action.horizon}: a plan of {span_s:g} s is longer than 5 s",
    )
    require(
        1 <= action.execute <= action.horizon,
        f"action.execute is {action.execute}, action.horizon is {action.horizon}",
    )


def _check_network(network: Network) -> None:
    for key in ("feature", "hidden"):
        size = getattr(network, key)
        require(1 <= size <= 8192, f"network.{key} is {size}, must lie between 1 and 8192")
    require(0 <= network.latent <= 8192, f"network.latent is {network.latent}")
    require(0 <= network.dropout < 1, f"network.dropout is {network.dropout}, must lie in [0, 1)")
    require(network.point_scale > 0, f"network.point_scale is {network.point_scale}")
    require(0 <= network.residuals <= MAX_RESIDUALS, f"network.residuals is {network.residuals}")
    known = ", ".join(OBJECTIVES)
    require(
        network.objective in OBJECTIVES,
        f"unknown network.objective '{network.objective}'; known: {known}",
    )


def _check_solver(solver: Solver, network: Network) -> None:
    solvers = PLANNERS if isinstance(solver, WorldSolver) else SOLVERS
    known = ", ".join(solvers)
    require(solver.method in solvers, f"unknown solver.method '{solver.method}'; known: {known}")
    count = solver.iterations
    require(
        1 <= count <= MAX_ITERATIONS,
        f"solver.iterations is {count}, must lie between 1 and {MAX_ITERATIONS}",
    )
    least_squares = solver.method == "gauss_newton"
    require(
        least_squares == (network.residuals > 0),
        f"solver.method is '{solver.method}' and network.residuals is {network.residuals}: "
        "gauss_newton needs residuals, the other methods need 0",
    )
    require(
        network.objective == "chunk" or not least_squares,
        f"network.objective is '{network.objective}': gauss_newton needs residuals of the whole "
        "chunk",
    )
    known = ", ".join(SAMPLERS)
    require(
        solver.sampler in SAMPLERS, f"unknown solver.sampler '{solver.sampler}'; known: {known}"
    )
    known = ", ".join(LATENTS)
    require(solver.latent in LATENTS, f"unknown solver.latent '{solver.latent}'; known: {known}")
    known = ", ".join(STARTS)
    require(solver.start in STARTS, f"unknown solver.start '{solver.start}'; known: {known}")


def _check_world(card: Card) -> None:
    spec, action, solver = card.observation, card.action, card.solver
    require(
        isinstance(solver, WorldSolver), f"solver has no settings of a planner for '{card.method}'"
    )
    assert isinstance(solver, WorldSolver)
    require(
        spec.points is None and not spec.images and card.network.latent == 0,
        f"method '{card.method}' sees the state alone: no points, images or CVAE latent",
    )
    scales = card.normaliser.get("action", {})
    require(
        all(low == -1 and high == 1 for low, high in zip(action.low, action.high, strict=True))
        and set(scales.get("mean", ())) == {0.0}
        and set(scales.get("std", ())) == {1.0},
        f"method '{card.method}' has network actions in [-1, 1] that are not normalised",
    )
    require(
        (solver.method == "mppi") == (card.method == "tdmpc"),
        f"solver.method is '{solver.method}', method is '{card.method}': tdmpc plans with mppi, "
        "difftori_rl with another",
    )
    require(1 <= solver.encoder <= 8192, f"solver.encoder is {solver.encoder}")
    require(0 < solver.discount <= 1, f"solver.discount is {solver.discount}")
    known = ", ".join(TERMINALS)
    require(
        solver.terminal in TERMINALS,
        f"unknown solver.terminal '{solver.terminal}'; known: {known}",
    )


def _check_normaliser(card: Card) -> None:
    """What clouds and images looked like may stand there besides state and action, or not."""
    lengths = {"state": card.network.state, "action": len(card.action.names)}
    summaries = {kind: len(names) for kind, names in summary_names(card.observation).items()}
    lengths |= {kind: summaries[kind] for kind in card.normaliser if kind in summaries}
    require(
        {kind: set(rows) for kind, rows in card.normaliser.items()}
        == {kind: {"mean", "std"} for kind in lengths},
        "normaliser must have state and action, each with mean and std",
    )
    for kind, length in lengths.items():
        for key, row in card.normaliser[kind].items():
            require(len(row) == length, f"normaliser.{kind}.{key} has {len(row)}, wanted {length}")
        require(min(card.normaliser[kind]["std"]) > 0, f"normaliser.{kind}.std must be positive")
