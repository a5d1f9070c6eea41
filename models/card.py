# SPDX-License-Identifier: MIT
"""Reading a card: from JSON to `Card`, and whether its parts make sense together. No torch."""

from __future__ import annotations

import json
import re
from typing import Any

from .contract import SCHEMA, ActionSpec, Card
from .features import FeatureError, state_size
from .jsonio import decode, encode
from .network import (
    MAX_ITERATIONS,
    MAX_RESIDUALS,
    METHODS,
    SOLVERS,
    STARTS,
    Network,
    Solver,
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_KINDS = ("ee_delta_pos", "joint_delta", "joint_position")


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message is one sentence that says why."""


def decode_card(data: Any) -> Card:
    """The card that parsed JSON describes; its schema is looked at first.

    Raises:
        CheckpointError: The schema is not known.
        JsonError: A key is missing or unknown, or a value has another type.
    """
    if isinstance(data, dict) and data.get("schema") != SCHEMA:
        raise CheckpointError(
            f"unknown card schema {json.dumps(data.get('schema'))}; this version reads {SCHEMA}"
        )
    return decode(Card, data)


def check_card(card: Card) -> None:
    """Pass silently when the card's parts fit each other.

    Raises:
        CheckpointError: They do not; the message names the entry.
        JsonError: The network or solver entry has missing or unknown keys.
    """

    def require(holds: bool, sentence: str) -> None:
        if not holds:
            raise CheckpointError(sentence)

    for key in ("name", "task", "robot"):
        value = getattr(card, key)
        require(bool(_NAME.fullmatch(value)), f"{key} {value!r} is not a plain name")
    require(card.method in METHODS, f"unknown method '{card.method}'; known: {', '.join(METHODS)}")
    _check_action(card.action, require)
    network: Network = decode(Network, encode(card.network), "network")
    solver: Solver = decode(Solver, encode(card.solver), "solver")
    _check_solver(solver, network, require)
    for key, value, top in (
        ("network.feature", network.feature, 8192),
        ("network.hidden", network.hidden, 8192),
        ("solver.iterations", solver.iterations, MAX_ITERATIONS),
        ("action.horizon", card.action.horizon, 1024),
    ):
        require(1 <= value <= top, f"{key} is {value}, must lie between 1 and {top}")
    require(0 <= network.latent <= 8192, f"network.latent is {network.latent}")
    require(0 <= network.dropout < 1, f"network.dropout is {network.dropout}, must lie in [0, 1)")
    require(network.point_scale > 0, f"network.point_scale is {network.point_scale}")
    spec = card.observation
    if spec.points is not None:
        count, low, high = spec.points.count, spec.points.crop_min, spec.points.crop_max
        require(1 <= count <= 1 << 20, f"observation.points.count is {count}")
        below = all(a < b for a, b in zip(low, high, strict=True))
        require(
            below, f"observation.points: crop_min must lie below crop_max, got {low} and {high}"
        )
    channels = 0 if spec.points is None else (6 if spec.points.color else 3)
    require(
        network.points == channels, f"network.points is {network.points}, the spec has {channels}"
    )
    try:
        size = state_size(spec)
    except FeatureError as error:
        raise CheckpointError(str(error)) from error
    require(network.state == size, f"network.state is {network.state}, the features give {size}")
    lengths = {"state": size, "action": len(card.action.names)}
    require(
        {kind: set(rows) for kind, rows in card.normaliser.items()}
        == {kind: {"mean", "std"} for kind in lengths},
        "normaliser must have state and action, each with mean and std",
    )
    for kind, length in lengths.items():
        for key, row in card.normaliser[kind].items():
            require(len(row) == length, f"normaliser.{kind}.{key} has {len(row)}, wanted {length}")
        require(min(card.normaliser[kind]["std"]) > 0, f"normaliser.{kind}.std must be positive")


def _check_solver(solver: Solver, network: Network, require: Any) -> None:
    known = ", ".join(SOLVERS)
    require(solver.method in SOLVERS, f"unknown solver.method '{solver.method}'; known: {known}")
    least_squares = solver.method == "gauss_newton"
    require(
        least_squares == (network.residuals > 0),
        f"solver.method is '{solver.method}' and network.residuals is {network.residuals}: "
        "gauss_newton needs residuals, the other methods need 0",
    )
    count = network.residuals
    require(0 <= count <= MAX_RESIDUALS, f"network.residuals is {count}")
    require(solver.latent in ("zero", "sample"), f"unknown solver.latent '{solver.latent}'")
    require(solver.answer in ("last", "best"), f"unknown solver.answer '{solver.answer}'")
    for start in solver.starts:
        require(start in STARTS, f"unknown solver.starts '{start}'; known: {', '.join(STARTS)}")
    require(
        solver.starts[:1] == ("base",) and len(set(solver.starts)) == len(solver.starts),
        f"solver.starts must begin with 'base' and name each start once, got {solver.starts}",
    )
    require(1 <= solver.latents <= 256, f"solver.latents is {solver.latents}, must be 1 to 256")
    require(
        solver.latents == 1 or (network.latent > 0 and solver.latent == "sample"),
        f"solver.latents is {solver.latents}: several need a CVAE latent that is sampled",
    )
    require(
        solver.rows == 1 or solver.answer == "best",
        f"solver.answer is '{solver.answer}': of several starts or latents only the 'best' counts",
    )


def _check_action(action: ActionSpec, require: Any) -> None:
    require(
        action.kind in _KINDS, f"unknown action.kind '{action.kind}'; known: {', '.join(_KINDS)}"
    )
    count = len(action.names)
    require(count > 0, "action.names is empty")
    for key in ("scale", "low", "high"):
        got = len(getattr(action, key))
        require(got == count, f"action.{key} has {got} entries, action.names has {count}")
    for name, low, high in zip(action.names, action.low, action.high, strict=True):
        require(low < high, f"action '{name}' has low {low} and high {high}")
    require(1e-3 <= action.dt_s <= 1.0, f"action.dt_s is {action.dt_s} s, must be 0.001 to 1")
    span_s = action.horizon * action.dt_s
    require(
        span_s <= 5.0,
        f"action.horizon is {action.horizon}: a plan of {span_s:g} s is longer than 5 s",
    )
    require(
        1 <= action.execute <= action.horizon,
        f"action.execute is {action.execute}, action.horizon is {action.horizon}",
    )
