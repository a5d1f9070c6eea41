# SPDX-License-Identifier: MIT
"""Reading a card: from JSON to `Card`, and whether its parts make sense together. No torch."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from .features import FeatureError, state_size
from .input_statistics import summary_names
from .network_settings import (
    BASES,
    FIRST_STARTS,
    MAX_FRAMES,
    MAX_ITERATIONS,
    MAX_RESIDUALS,
    METHODS,
    RL_METHODS,
    SAMPLERS,
    SCORES,
    SOLVERS,
    STARTS,
    Network,
    Solver,
    read_network,
    read_solver,
)
from .specs import SCHEMA, ActionSpec, Card, ObservationSpec
from .strict_json import decode
from .world_model_settings import PLANNERS, WorldSolver, solver_kind

_CAMERA = re.compile(r"[a-z][a-z0-9_]*")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
WITHOUT_IMAGES = 2
"""The last schema whose cards could not ask for images."""
LATER = {
    "observation": {"frames": 1, "frames_apart_s": 0.1, "vectors": {}},
    "network": {"frames": 1},
    "action": {"tip_low": None, "tip_high": None},
}
"""What cards from before stacked frames, vectors and the tip's box do not say."""
LATER_POINTS = {"outlier_radius_m": None}
"""What the points of cards from before the filter of outliers do not say."""
IMAGES = {"observation": {"images": {}}, "network": {"images": 0}}
"""What cards from before images do not say."""
MAX_SIDE = 1024
"""Largest image that a card may ask for [px]."""
_KINDS = ("ee_delta_pos", "joint_delta", "joint_position", "env")
_FIRST = " or ".join(f"'{name}'" for name in FIRST_STARTS)


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message is one sentence that says why."""


def is_plain_name(name: str) -> bool:
    """Whether a card may have this name: it becomes part of paths and messages."""
    return bool(_NAME.fullmatch(name))


def decode_card(data: Any) -> Card:
    """The card that parsed JSON describes; its schema is looked at first.

    Raises:
        CheckpointError: The schema is not known.
        JsonError: A key is missing or unknown, or a value has another type.
    """
    if isinstance(data, dict):
        data = _with_points(_filled(data, LATER), LATER_POINTS)
        if data.get("schema") == WITHOUT_IMAGES:
            data = upgraded(data) | {"schema": SCHEMA}
        if data.get("schema") != SCHEMA:
            raise CheckpointError(
                f"unknown card schema {json.dumps(data.get('schema'))}; this version reads "
                f"{WITHOUT_IMAGES} and {SCHEMA}"
            )
        # from before there was a choice
        data = {"base": "bc"} | data
    return decode(Card, data)


def upgraded(data: Any) -> Any:
    """The card or meta data of demonstrations from before images, saying that there are none.

    Nor were there several clouds, points that are dropped because they are on the arm, or several
    frames.
    """
    if not isinstance(data, dict):
        return data
    alone = {"clouds": ["points"], "self_filter_m": None}
    return _with_points(_filled(_filled(data, LATER), IMAGES), LATER_POINTS | alone)


def _with_points(data: Any, added: Mapping[str, Any]) -> Any:
    """The data with what the points of its observation lack of `added`."""
    spec = data.get("observation")
    points = spec.get("points") if isinstance(spec, dict) else None
    if not isinstance(spec, dict) or not isinstance(points, dict):
        return data
    return data | {"observation": spec | {"points": dict(added) | points}}


def _filled(data: Any, added: Mapping[str, Mapping[str, Any]]) -> Any:
    """The data with what its parts lack of `added`."""
    parts = {key: data[key] for key in added if isinstance(data.get(key), dict)}
    return data | {key: {**added[key], **part} for key, part in parts.items()}


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
        require(is_plain_name(value), f"{key} {value!r} is not a plain name")
    require(card.method in METHODS, f"unknown method '{card.method}'; known: {', '.join(METHODS)}")
    _check_action(card.action, require)
    require(card.base in BASES, f"unknown base '{card.base}'; known: {', '.join(BASES)}")
    require(
        card.method not in BASES or card.method == card.base,
        f"method is '{card.method}', which is a base policy itself, and base is '{card.base}'",
    )
    network = read_network(card.network)
    solver = read_solver(card.solver, solver_kind(card.method))
    _check_solver(solver, network, require)
    if card.method in RL_METHODS:
        assert isinstance(solver, WorldSolver)
        _check_world(card, network, solver, require)
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
        _check_clouds(spec, require)
    channels = 0 if spec.points is None else (6 if spec.points.color else 3)
    require(
        network.points == channels, f"network.points is {network.points}, the spec has {channels}"
    )
    _check_images(spec, require)
    for name, length in spec.vectors.items():
        taken = not _CAMERA.fullmatch(name) or name in ("position", "velocity", "tip", *spec.poses)
        where = f"observation.vectors['{name}']"
        require(not taken, f"{where} is no plain name, or another feature's")
        require(1 <= length <= 1 << 16, f"{where} is {length}, must be 1 to 65536")
    count = len(spec.images)
    require(
        network.images == count, f"network.images is {network.images}, the spec has {count} images"
    )
    _check_frames(spec, network, require)
    try:
        size = state_size(spec)
    except FeatureError as error:
        raise CheckpointError(str(error)) from error
    require(network.state == size, f"network.state is {network.state}, the features give {size}")
    lengths = {"state": size, "action": len(card.action.names)}
    known = {kind: len(names) for kind, names in summary_names(spec).items()}
    lengths |= {kind: known[kind] for kind in card.normaliser if kind in known}
    require(
        {kind: set(rows) for kind, rows in card.normaliser.items()}
        == {kind: {"mean", "std"} for kind in lengths},
        "normaliser must have state and action, each with mean and std",
    )
    for kind, length in lengths.items():
        for key, row in card.normaliser[kind].items():
            require(len(row) == length, f"normaliser.{kind}.{key} has {len(row)}, wanted {length}")
        require(min(card.normaliser[kind]["std"]) > 0, f"normaliser.{kind}.std must be positive")


def _check_frames(spec: ObservationSpec, network: Network, require: Any) -> None:
    frames, apart_s = spec.frames, spec.frames_apart_s
    require(
        1 <= frames <= MAX_FRAMES, f"observation.frames is {frames}, must be 1 to {MAX_FRAMES}"
    )
    require(
        1e-3 <= apart_s <= 1.0, f"observation.frames_apart_s is {apart_s} s, must be 0.001 to 1"
    )
    require(network.frames == frames, f"network.frames is {network.frames}, the spec has {frames}")


def _check_clouds(spec: ObservationSpec, require: Any) -> None:
    assert spec.points is not None
    clouds, margin = spec.points.clouds, spec.points.self_filter_m
    radius = spec.points.outlier_radius_m
    require(
        radius is None or 0.0 < radius <= 0.2,
        f"observation.points.outlier_radius_m is {radius}, must lie between 0 and 0.2",
    )
    where = "observation.points.clouds"
    require(len(clouds) > 0, f"{where} is empty")
    for name in clouds:
        require(bool(_CAMERA.fullmatch(name)), f"{where}: '{name}' is not a plain name")
        taken = name in ("joint_states", *spec.tips, *spec.poses) or clouds.count(name) > 1
        require(not taken, f"{where}: '{name}' is another stream's name")
    if margin is not None:
        require(
            0.0 <= margin <= 0.2,
            f"observation.points.self_filter_m is {margin}, must be 0 to 0.2",
        )
        frame = spec.points.frame
        require(
            frame == spec.frame,
            f"observation.points.self_filter_m needs the points in the base frame '{spec.frame}', "
            f"not in '{frame}'",
        )


def _check_images(spec: ObservationSpec, require: Any) -> None:
    others = ("joint_states", *spec.tips, *spec.clouds, *spec.poses)
    for name, image in spec.images.items():
        where = f"observation.images['{name}']"
        require(bool(_CAMERA.fullmatch(name)), f"{where}: '{name}' is not a plain camera name")
        require(name not in others, f"{where}: '{name}' is another stream's name")
        for side, length in (("height", image.height), ("width", image.width)):
            require(
                8 <= length <= MAX_SIDE, f"{where}.{side} is {length}, must be 8 to {MAX_SIDE}"
            )
        left, top, right, bottom = image.crop
        require(
            0 <= left < right <= 1 and 0 <= top < bottom <= 1,
            f"{where}.crop must be left, top, right, bottom within 0 to 1, got {image.crop}",
        )


def _check_solver(solver: Solver, network: Network, require: Any) -> None:
    solvers = PLANNERS if isinstance(solver, WorldSolver) else SOLVERS
    known = ", ".join(solvers)
    require(solver.method in solvers, f"unknown solver.method '{solver.method}'; known: {known}")
    least_squares = solver.method == "gauss_newton"
    require(
        least_squares == (network.residuals > 0),
        f"solver.method is '{solver.method}' and network.residuals is {network.residuals}: "
        "gauss_newton needs residuals, the other methods need 0",
    )
    count = network.residuals
    require(0 <= count <= MAX_RESIDUALS, f"network.residuals is {count}")
    known = ", ".join(SCORES)
    require(network.score in SCORES, f"unknown network.score '{network.score}'; known: {known}")
    require(
        network.score == "chunk" or not least_squares,
        f"network.score is '{network.score}': gauss_newton needs residuals of the whole chunk",
    )
    known = ", ".join(SAMPLERS)
    require(
        solver.sampler in SAMPLERS, f"unknown solver.sampler '{solver.sampler}'; known: {known}"
    )
    require(solver.latent in ("zero", "sample"), f"unknown solver.latent '{solver.latent}'")
    require(solver.answer in ("last", "best"), f"unknown solver.answer '{solver.answer}'")
    for start in solver.starts:
        require(start in STARTS, f"unknown solver.starts '{start}'; known: {', '.join(STARTS)}")
    require(
        solver.starts[:1] in [(name,) for name in FIRST_STARTS]
        and len(set(solver.starts)) == len(solver.starts),
        f"solver.starts must begin with {_FIRST} and name each start once, got {solver.starts}",
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


def _check_world(card: Card, network: Network, solver: WorldSolver, require: Any) -> None:
    spec, action = card.observation, card.action
    require(
        spec.points is None and not spec.images and network.latent == 0,
        f"method '{card.method}' sees the state alone: no points, images or CVAE latent",
    )
    require(
        all(low == -1 and high == 1 for low, high in zip(action.low, action.high, strict=True))
        and set(card.normaliser["action"]["mean"]) == {0.0}
        and set(card.normaliser["action"]["std"]) == {1.0},
        f"method '{card.method}' has network actions in [-1, 1] that are not normalised",
    )
    require(
        (solver.method == "mppi") == (card.method == "tdmpc"),
        f"solver.method is '{solver.method}', method is '{card.method}': tdmpc plans with mppi, "
        "difftori_rl with another",
    )
    require(1 <= solver.encoder <= 8192, f"solver.encoder is {solver.encoder}")
    require(0 < solver.discount <= 1, f"solver.discount is {solver.discount}")
    known = ("soft", "mean", "min")
    require(solver.terminal in known, f"unknown solver.terminal '{solver.terminal}'")


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
    low, high = action.tip_low, action.tip_high
    require((low is None) == (high is None), "action.tip_low and tip_high: one is null")
    if low is not None and high is not None:
        for axis, a, b in zip("xyz", low, high, strict=True):
            require(a < b, f"action.tip_low is {a} and tip_high {b} along {axis}")
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
