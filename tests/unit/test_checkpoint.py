# SPDX-License-Identifier: MIT
"""A checkpoint is read back exactly, or refused with one sentence; it is never executed."""

from __future__ import annotations

import hashlib
import json
import pickle
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import numpy as safetensors

from difftori_models.checkpoint import (
    CARD,
    WEIGHTS,
    CheckpointError,
    load_card,
    save,
    update_results,
)
from difftori_models.contract.network_settings import Network, Solver
from difftori_models.contract.specs import ActionSpec, Card, ObservationSpec, PointSpec
from difftori_models.policies.agent import Agent
from difftori_models.policies.load import load_policy

ACTION = ActionSpec(
    kind="ee_delta_pos",
    names=("x", "gripper"),
    scale=(0.05, 1.0),
    low=(-1.0, -1.0),
    high=(1.0, 1.0),
    dt_s=0.05,
    horizon=4,
    execute=2,
    tip_orientation=(1.0, 0.0, 0.0, 0.0),
)

POINTS = {
    "frame": "base",
    "count": 8,
    "color": False,
    "crop_min": [0, 0, 0],
    "crop_max": [1, 1, 1],
    "min_points": 4,
    "clouds": ["points"],
    "self_filter_m": None,
}

IMAGE = {"height": 16, "width": 24, "crop": [0, 0, 1, 1], "rectify": False}


def new_card(points: bool = False) -> Card:
    cloud = PointSpec("base", 8, False, (-1.0, 0.1, 0.0), (1.0, 1.0, 1.0)) if points else None
    spec = ObservationSpec("base", ("j1", "j2"), ("goal",), ("position", "goal-tip"), cloud)
    return Card(
        name="tiny",
        task="Reach-v0",
        robot="toy",
        method="difftori",
        observation=spec,
        action=ACTION,
        network=Network(state=5, points=3 if points else 0, feature=8, hidden=8),
        normaliser={
            "state": {"mean": (0.1, 1 / 3, 0.0, 0.0, 0.0), "std": (1.0,) * 5},
            "action": {"mean": (0.0, 0.0), "std": (0.5, 1.0)},
        },
        solver=Solver(iterations=3),
        training={"seed": 0, "parts": (1, 2.5, None, "text", {"deep": True})},
        base="bc",
    )


def weights(card: Card) -> dict[str, np.ndarray]:
    torch.manual_seed(0)
    return {name: tensor.numpy() for name, tensor in Agent(card).state_dict().items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    card = new_card()
    save(tmp_path / "tiny", card, weights(card))
    return tmp_path / "tiny"


def reason(folder: Path) -> str:
    """The sentence with which a checkpoint is refused."""
    with pytest.raises(CheckpointError) as caught:
        load_policy(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def edit_card(folder: Path, **changes: Any) -> None:
    data = json.loads((folder / CARD).read_text())
    for where, value in changes.items():
        *path, key = where.split("__")
        place = data
        for name in path:
            place = place[name]
        if value is ...:
            del place[key]
        else:
            place[key] = value
    (folder / CARD).write_text(json.dumps(data))


def put_weights(folder: Path, data: bytes) -> None:
    """Replace the weights and make the card agree, so that only the content can be at fault."""
    (folder / WEIGHTS).write_bytes(data)
    edit_card(folder, weights_sha256=hashlib.sha256(data).hexdigest())


def put_tensors(folder: Path, **changes: np.ndarray | None) -> None:
    tensors = safetensors.load((folder / WEIGHTS).read_bytes())
    tensors |= {name.replace("__", "."): tensor for name, tensor in changes.items()}  # type: ignore[misc]
    put_weights(folder, safetensors.save({k: v for k, v in tensors.items() if v is not None}))


class Trap:
    """Unpickling this leaves a file behind."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.trace), "w"))


@pytest.mark.parametrize("points", [False, True])
def test_a_card_and_its_weights_are_read_back_exactly(tmp_path: Path, points: bool) -> None:
    card = new_card(points)
    tensors = weights(card)
    saved = save(tmp_path, card, tensors)
    loaded = load_policy(tmp_path)
    assert loaded.card == saved == load_card(tmp_path)
    assert replace(saved, weights_sha256="") == card
    assert loaded.card.normaliser["state"]["mean"][1] == 1 / 3
    for name, tensor in loaded.agent.state_dict().items():
        assert np.array_equal(tensor.numpy(), tensors[name]), name
    assert not loaded.agent.training
    assert sorted(p.name for p in tmp_path.iterdir()) == [CARD, WEIGHTS]


def test_loading_leaves_the_random_numbers_alone(folder: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_policy(folder)
    assert torch.equal(torch.rand(3), expected)


def test_results_are_added_and_all_else_stays(folder: Path) -> None:
    before = load_card(folder)
    rows = [{"episodes": 50, "successes": 47, "interval": [0.84, 0.98]}]
    after = update_results(folder, rows)
    assert after == load_card(folder)
    assert after.results == ({"episodes": 50, "successes": 47, "interval": (0.84, 0.98)},)
    assert replace(after, results=()) == before
    with pytest.raises(CheckpointError, match=r"results\[0\].plan_ms: nan is not a finite"):
        update_results(folder, [{"plan_ms": float("nan")}])
    with pytest.raises(CheckpointError, match=r"results\[0\].plan_ms: a float64 cannot"):
        update_results(folder, [{"plan_ms": np.float64(1.0)}])
    assert load_card(folder) == after


def test_a_path_that_does_not_exist_is_said_to(tmp_path: Path) -> None:
    assert "there is no such directory" in reason(tmp_path / "none")


def test_an_empty_directory_is_told_what_a_checkpoint_has(tmp_path: Path) -> None:
    assert f"no {CARD} there" in reason(tmp_path)


@pytest.mark.parametrize("kind", ["pickle", "zip", "zlib"])
@pytest.mark.parametrize("inside", [True, False])
def test_pickled_and_zipped_weights_are_named_and_never_opened(
    folder: Path, kind: str, inside: bool
) -> None:
    trace = folder.parent / "trace"
    pickled = pickle.dumps(Trap(trace))
    data = {"pickle": pickled, "zip": b"PK\x03\x04" + pickled, "zlib": zlib.compress(pickled)}[
        kind
    ]
    path = folder / WEIGHTS if inside else folder.parent / "policy.pt"
    path.write_bytes(data)
    sentence = reason(folder if inside else path)
    assert {"pickle": "a Python pickle", "zip": "a zip archive", "zlib": "a zlib stream"}[
        kind
    ] in sentence
    assert not trace.exists()


def test_a_directory_with_torch_weights_says_what_it_found(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "policy.pth")
    assert "no weights.safetensors there, and no other format is read (found policy.pth)" in (
        reason(folder)
    )


def test_truncated_and_oversized_weights_are_named(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    for size in (0, 5, 40, len(data) - 1):
        (folder / WEIGHTS).write_bytes(data[:size])
        assert "truncated" in reason(folder), size
    (folder / WEIGHTS).write_bytes(data + b"\0")
    assert "oversized" in reason(folder)


@pytest.mark.parametrize(
    "data",
    [
        b"\xff" * 64,
        (20).to_bytes(8, "little") + b"{not json at all....",
        (2**63).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (11).to_bytes(8, "little") + b'{"w": "bad"}'[:11],
        (8).to_bytes(8, "little") + b'{"w": 5}',
        (22).to_bytes(8, "little") + b'{"w":{"dtype":"F32"}}  ',
        (60).to_bytes(8, "little")
        + b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}}'.ljust(60),
    ],
)
def test_a_garbage_header_is_refused(folder: Path, data: bytes) -> None:
    put_weights(folder, data)
    assert WEIGHTS in reason(folder)


def test_other_weights_than_the_cards_are_refused(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS).write_bytes(data)
    assert "not the weights the card was written for" in reason(folder)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_named(folder: Path, value: float) -> None:
    bad = np.zeros((8, 8), dtype=np.float32)
    bad[3, 4] = value
    put_tensors(folder, head__middle__weight=bad)
    assert "tensor head.middle.weight holds NaN or infinity (1 of 64 numbers)" in reason(folder)


def test_tensors_that_do_not_fit_the_network_are_named(folder: Path) -> None:
    put_tensors(
        folder,
        head__log_steps=None,
        head__extra=np.zeros(1, np.float32),
        head__middle__bias=np.zeros(9, np.float32),
    )
    sentence = reason(folder)
    for words in (
        "missing head.log_steps",
        "unknown head.extra",
        "head.middle.bias has shape (9,) instead of (8,)",
    ):
        assert words in sentence


def test_tensors_of_another_type_or_with_a_path_for_a_name_are_refused(folder: Path) -> None:
    put_tensors(folder, head__middle__bias=np.zeros(8, np.float64))
    assert "head.middle.bias must be float32, got float64" in reason(folder)
    data = safetensors.save({"../../evil": np.zeros(1, np.float32)})
    put_weights(folder, data)
    assert "'../../evil' is not a tensor name" in reason(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema": 1}, "unknown card schema 1; this version reads 2 to 4"),
        ({"schema": "2"}, 'unknown card schema "2"'),
        ({"schema": True}, "unknown card schema true"),
        ({"schema": ...}, "unknown card schema null"),
        ({"surprise": 1}, "unknown surprise"),
        ({"robot": ...}, "missing robot"),
        ({"action__dt_s": ...}, "action: missing dt_s"),
        ({"observation__extra": 1}, "observation: unknown extra"),
        ({"name": 5}, "name: wanted a string, got 5"),
        ({"name": "../../evil"}, "name '../../evil' is not a plain name"),
        ({"name": "a/b"}, "is not a plain name"),
        ({"method": "magic"}, "unknown method 'magic'; known: difftori, residual, bc"),
        ({"action__horizon": 4.0}, "action.horizon: wanted an integer, got 4.0"),
        ({"action__horizon": True}, "action.horizon: wanted an integer, got True"),
        ({"action__horizon": 10**9}, "action.horizon is 1000000000"),
        ({"action__scale": [0.05]}, "action.scale has 1 entries, action.names has 2"),
        ({"action__scale": [0.05, "1"]}, "action.scale[1]: wanted a number, got '1'"),
        ({"action__low": [1.0, -1.0]}, "action 'x' has low 1.0 and high 1.0"),
        ({"action__tip_orientation": [1, 0, 0]}, "wanted 4 entries, got 3"),
        ({"action__kind": "teleport"}, "unknown action.kind 'teleport'"),
        ({"action__execute": 5}, "action.execute is 5, action.horizon is 4"),
        ({"action__dt_s": 0}, "action.dt_s is 0.0 s, must be 0.001 to 1"),
        ({"observation__features": ["gaol"]}, "feature 'gaol' is not known"),
        ({"observation__features": ["position"]}, "network.state is 5, the observation gives 2"),
        ({"network__state": ...}, "network: missing state"),
        ({"network__layers": 3}, "network: unknown layers"),
        ({"network__hidden": 10**9}, "network.hidden is 1000000000"),
        ({"network__points": 6}, "network.points is 6, the observation gives 0"),
        ({"solver__latent": "maybe"}, "unknown solver.latent 'maybe'; known: zero, sample"),
        ({"solver__iterations": 0}, "solver.iterations is 0"),
        ({"solver__method": "magic"}, "unknown solver.method 'magic'; known: projected_gradient"),
        ({"solver__method": "gauss_newton"}, "gauss_newton needs residuals"),
        ({"network__residuals": 4}, "gauss_newton needs residuals"),
        ({"solver__start": "noise"}, "unknown solver.start 'noise'; known: base, previous, zero"),
        ({"solver__answer": "best"}, "solver: unknown answer"),
        ({"solver__sampler": "magic"}, "unknown solver.sampler 'magic'; known: derivative_free"),
        (
            {"network__objective": "magic"},
            "unknown network.objective 'magic'; known: chunk",
        ),
        ({"base": "magic"}, "unknown base 'magic'; known: bc, bc_rnn, ibc, diffusion"),
        ({"base": None}, "unknown base None; known: bc, bc_rnn, ibc, diffusion"),
        ({"solver__iterations": ..., "solver__surprise": 1}, "solver: unknown surprise"),
        ({"solver": ...}, "missing solver"),
        ({"method": "bc_rnn"}, "method is 'bc_rnn', which is a base policy itself, and base is"),
        ({"normaliser__state": ...}, "normaliser must have state and action"),
        ({"normaliser__action__std": [1.0]}, "normaliser.action.std has 1, wanted 2"),
        ({"normaliser__action__std": [1.0, 0.0]}, "normaliser.action.std must be positive"),
        ({"results": {}}, "results: wanted a list, got {}"),
        ({"observation__points": POINTS | {"count": 0}}, "observation.points.count is 0"),
        ({"observation__points": POINTS | {"clouds": []}}, "observation.points.clouds is empty"),
        ({"observation__points": POINTS | {"clouds": ["a", "a"]}}, "'a' is another stream's name"),
        ({"observation__points": POINTS | {"clouds": ["a b"]}}, "'a b' is not a plain name"),
        ({"observation__points": POINTS | {"self_filter_m": 1.0}}, "self_filter_m is 1.0"),
        (
            {"observation__points": POINTS | {"self_filter_m": 0.01, "frame": "camera"}},
            "needs the points in the base frame",
        ),
        ({"observation__points": POINTS | {"crop_min": [2, 0, 0]}}, "crop_min must lie below"),
        ({"observation__features": ...}, "observation: missing features"),
        ({"network__frames": 2}, "network.frames is 2, the observation gives 1"),
        ({"observation__frames": 9}, "observation.frames is 9, must be 1 to 8"),
        ({"observation__frames_apart_s": 0}, "observation.frames_apart_s is 0.0 s, must be"),
        ({"network__images": 1}, "network.images is 1, the observation gives 0"),
        (
            {"observation__images": {"camera": IMAGE}},
            "network.images is 0, the obs",
        ),
        ({"observation__images": {"a/b": IMAGE}}, "'a/b' is not a plain camera name"),
        ({"observation__images": {"goal": IMAGE}}, "'goal' is another stream's name"),
        ({"observation__images": {"camera": IMAGE | {"width": 4}}}, "width is 4, must be 8 to"),
        (
            {"observation__images": {"camera": IMAGE | {"crop": [0.5, 0, 0.5, 1]}}},
            "observation.images['camera'].crop must be left, top, right, bottom within 0 to 1",
        ),
    ],
)
def test_a_card_that_is_wrong_is_refused_by_the_entry_at_fault(
    folder: Path, changes: dict[str, Any], words: str
) -> None:
    edit_card(folder, **changes)
    sentence = reason(folder)
    assert words in sentence
    assert CARD in sentence


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"),
        ("\xff\xfe", "not JSON"),
        ('{"schema": 2', "not JSON"),
        ("[1, 2]", "wanted an object"),
        ('{"schema": 2, "schema": 2}', "key 'schema' appears twice"),
        ('{"schema": NaN}', "NaN is not a finite number"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_card_that_is_no_card_is_refused(folder: Path, text: str, words: str) -> None:
    (folder / CARD).write_bytes(text.encode("latin-1"))
    assert words in reason(folder)


def test_deep_nesting_is_refused(folder: Path) -> None:
    deep = "[" * 50_000 + "]" * 50_000
    text = (folder / CARD).read_text().replace('"seed": 0', f'"seed": {deep}')
    (folder / CARD).write_text(text)
    assert CARD in reason(folder)


def test_what_would_be_refused_is_not_saved(tmp_path: Path) -> None:
    card = new_card()
    tensors = weights(card)
    bad = {**tensors, "head.log_steps": np.full(3, np.nan, np.float32)}
    for broken, arrays, words in (
        (card, bad, r"head.log_steps holds NaN or infinity \(3 of 3"),
        (replace(card, name="a/b"), tensors, "not a plain name"),
        (replace(card, training={"when": Path("x")}), tensors, "training.when: a PosixPath"),
        (replace(card, solver=Solver(iterations=0)), tensors, "solver.iterations is 0"),
    ):
        with pytest.raises(CheckpointError, match=words):
            save(tmp_path / "new", broken, arrays)
    assert not (tmp_path / "new").exists()
