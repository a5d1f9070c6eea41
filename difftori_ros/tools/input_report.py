# SPDX-License-Identifier: MIT
"""What a policy sees, as a table and as a picture, beside what it was trained on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.markup import escape
from rich.table import Table

from difftori_models.contract.features import state_vector
from difftori_models.contract.input_statistics import summary_names
from difftori_models.contract.specs import Card, Observation
from difftori_models.data import Demos, DemosError, state_vectors
from difftori_ros.observation.novelty import Novelty

SHOWN = 14
"""Distances that are shown, the largest first."""
VIEWS = (("from the front", 1, 2), ("from the side", 0, 2))
"""Two looks at a cloud: title, and which axes go right and up."""


@dataclass(frozen=True)
class InputSnapshot:
    """The inputs of the policy at one time.

    Attributes:
        observation: What the policy would see; None when there is nothing to see.
        refusal: Why not; empty when there is.
        ages: Age of the newest sample of each stream [s].
        frames: Frame in which each stream comes.
        novelty: How far the observation is from the training.
    """

    observation: Observation | None
    refusal: str
    ages: Mapping[str, float]
    frames: Mapping[str, str]
    novelty: Novelty


def nearest(demos: Demos, card: Card, observation: Observation) -> Observation:
    """The step of the demonstrations whose state is nearest to that of the observation.

    Raises:
        DemosError: They were observed in another way than the card says.
    """
    demos = _as_seen(demos, card)
    mean, std = (np.array(card.normaliser["state"][key]) for key in ("mean", "std"))
    here = (state_vector(observation, card.observation) - mean) / std
    there = (state_vectors(demos) - mean) / std
    return demos.observation(int(np.square(there - here).sum(axis=1).argmin()))


def _as_seen(demos: Demos, card: Card) -> Demos:
    """The demonstrations in as many frames as the checkpoint sees."""
    spec = card.observation
    if spec.frames > 1 and demos.meta.observation.frames == 1:
        demos = demos.stacked(spec.frames, spec.frames_apart_s)
    if demos.meta.observation != spec:
        raise DemosError(
            f"these demonstrations of '{demos.meta.task}' show something else than checkpoint "
            f"'{card.name}' sees; take those that it was trained on"
        )
    return demos


def card_table(card: Card) -> Table:
    """What a checkpoint sees and does, from its card."""
    spec, action = card.observation, card.action
    table = Table(show_header=False)
    rows = [
        ("checkpoint", f"{card.name} ({card.method}), task {card.task}, robot {card.robot}"),
        ("weights", f"sha256 {card.weights_sha256}"),
        ("joints", " ".join(spec.joint_names)),
        ("poses", f"{' '.join(spec.poses) or 'none'}, in {spec.frame}"),
        ("state", " ".join(spec.features)),
    ]
    if spec.frames > 1:
        rows.append(("frames", f"{spec.frames}, {spec.frames_apart_s:g} s apart"))
    if spec.points is not None:
        p = spec.points
        colour = "with" if p.color else "without"
        rows.append(("cloud", f"{p.count} points {colour} colour, {p.crop_min} to {p.crop_max} m"))
    rows += [
        (f"image '{name}'", f"{w.width} x {w.height}, crop {w.crop}, rectified: {w.rectify}")
        for name, w in spec.images.items()
    ]
    rows += [
        ("actions", f"{action.kind}: {' '.join(action.names)}"),
        ("rate", f"{action.horizon} actions of {action.dt_s:g} s, {action.execute} carried out"),
        ("known of the training", ", ".join(sorted(card.normaliser))),
    ]
    for key, text in rows:
        table.add_row(key, escape(text))
    return table


def snapshot_table(card: Card, snapshot: InputSnapshot) -> Table:
    """Streams with ages and frames, and the largest distances from the training."""
    table = Table(title=escape(snapshot.refusal or snapshot.novelty.far() or "like the training"))
    for title in ("stream", "age [s]", "frame", "feature", "distance [std]"):
        justify = "right" if title.endswith("]") else "left"
        table.add_column(escape(title), justify=justify, overflow="fold")
    streams = [
        (
            name,
            f"{snapshot.ages[name]:.3f}" if name in snapshot.ages else "-",
            snapshot.frames.get(name, "-"),
        )
        for name in card.observation.streams
    ]
    features = _largest(snapshot.novelty)
    for k in range(max(len(streams), len(features))):
        stream = streams[k] if k < len(streams) else ("", "", "")
        name, distance = features[k] if k < len(features) else ("", float("nan"))
        style = "red" if distance > snapshot.novelty.limit(name) else ""
        told = "" if np.isnan(distance) else f"{distance:.1f}"
        table.add_row(*map(escape, (*stream, name, told)), style=style)
    missing = [kind for kind in summary_names(card.observation) if kind not in card.normaliser]
    if missing:
        table.caption = f"the card does not tell what {' and '.join(missing)} looked like"
    return table


def draw(card: Card, snapshot: InputSnapshot, sample: Observation | None, png: Path) -> None:
    """Write the picture, whole or not at all: what is seen, and below it a training sample.

    Raises:
        RuntimeError: matplotlib is not there.
        OSError: The picture cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RuntimeError(f"a picture needs matplotlib: {error}") from error

    seen = [("live", snapshot.observation), ("training", sample)]
    rows = [(title, observation) for title, observation in seen if observation is not None]
    cameras = tuple(card.observation.images)
    columns = 1 + (len(VIEWS) if card.observation.points else 0) + len(cameras)
    figure = Figure(figsize=(3.4 * columns + 1.0, 3.2 * max(len(rows), 1)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(max(len(rows), 1), columns, squeeze=False)
    for line, (title, observation) in zip(axes, rows, strict=False):
        places = list(line[1:])
        if card.observation.points is not None and observation.points is not None:
            for view in VIEWS:
                _draw_cloud(places.pop(0), card, observation.points, title, view)
        for camera in cameras:
            place = places.pop(0)
            place.imshow(observation.images[camera])
            place.set_title(f"{title}: {camera}", fontsize=9)
            place.set_axis_off()
    _draw_distances(axes[0, 0], snapshot.novelty)
    for line in axes[1:]:
        line[0].set_axis_off()
    ages = ", ".join(f"{name} {age:.3f} s" for name, age in snapshot.ages.items())
    frames = ", ".join(f"{name} in {frame}" for name, frame in snapshot.frames.items() if frame)
    told = snapshot.refusal or snapshot.novelty.far() or "like the training"
    figure.suptitle(f"{card.name}: {told}\nages: {ages or 'none'}\n{frames}", fontsize=9)
    png.parent.mkdir(parents=True, exist_ok=True)
    unfinished = png.with_suffix(".part")
    figure.savefig(unfinished, dpi=100, format="png")
    os.replace(unfinished, png)


def _draw_cloud(
    place: Any, card: Card, points: NDArray[np.float32], title: str, view: tuple[str, int, int]
) -> None:
    name, right, up = view
    spec = card.observation.points
    assert spec is not None
    color = np.clip(points[:, 3:6], 0, 1) if spec.color else "tab:blue"
    place.scatter(points[:, right], points[:, up], s=4, c=color)
    place.set_xlim(spec.crop_min[right], spec.crop_max[right])
    place.set_ylim(spec.crop_min[up], spec.crop_max[up])
    place.set_aspect("equal")
    place.set_facecolor("0.85")
    place.set_xlabel(f"{'xyz'[right]} [m]", fontsize=8)
    place.set_ylabel(f"{'xyz'[up]} [m]", fontsize=8)
    place.set_title(f"{title}: cloud {name}", fontsize=9)


def _draw_distances(place: Any, novelty: Novelty) -> None:
    shown = _largest(novelty)[::-1]
    limits = np.array([novelty.limit(name) for name, _ in shown])
    share = np.array([distance for _, distance in shown]) / limits
    names = [f"{name}  {distance:.1f}" for name, distance in shown]
    colors = ["tab:red" if part > 1.0 else "tab:green" for part in share]
    place.barh(names, np.minimum(share, 2.0), color=colors)
    place.axvline(1.0, color="black", linewidth=0.8)
    place.set_xlabel("distance from the training [std], over its limit", fontsize=8)
    place.tick_params(labelsize=7)


def _largest(novelty: Novelty) -> list[tuple[str, float]]:
    return novelty.ordered()[:SHOWN]
