# SPDX-License-Identifier: MIT
"""Every base policy proposes the same for the same episode, inside the box, alone or refined."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from difftori_models.checkpoint import CARD, WEIGHTS, load_card
from difftori_models.contract.specs import PlanStatus
from difftori_models.data import Demos, load_demos
from difftori_models.inference.backends.onnx_backend import OnnxBackend
from difftori_models.inference.backends.torch_backend import TorchBackend
from difftori_models.inference.export import compare, export
from difftori_models.inference.planner import Planner
from difftori_models.policies.load import load_policy
from difftori_sim.cli.main import main, parse
from tests.support.reach_task import TRAIN, make_demos, train

BRIEF = {"base_steps": 12, "head_steps": 6, "batch": 32, "save_every": 6, "ema": 0.5}
KINDS = {
    "bc_rnn": {"method": "bc_rnn"},
    "ibc": {"method": "ibc"},
    "ibc_derivative_free": {"method": "ibc", "sampler": "derivative_free"},
    "diffusion": {"method": "diffusion"},
    "residual_on_rnn": {"method": "residual", "base": "bc_rnn"},
    "difftori_on_diffusion": {"base": "diffusion", "iterations": 3, "contrastive": 0.1},
    "dynamics": {"score": "dynamics", "iterations": 2, "cvae": True},
    "zero": {"start": "zero", "iterations": 3},
    "paper": {"preset": "paper", "iterations": 6},
}


QUICK = ("bc_rnn", "ibc", "diffusion", "difftori_on_diffusion", "zero")
"""Kinds that are tried in every run of the tests; the others are slow ones."""


def kinds(*quick: str) -> list:
    """All kinds, as parameters; those that are not `quick` are slow."""
    return [
        name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in KINDS
    ]


@pytest.fixture(scope="module")
def data(demos: Path) -> Demos:
    return load_demos(demos)


@pytest.fixture(scope="module", params=kinds(*QUICK))
def brief(
    request: pytest.FixtureRequest, demos: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A checkpoint of each kind that has hardly been trained."""
    out = tmp_path_factory.mktemp(request.param)
    return train(demos, out, **(BRIEF | KINDS[request.param]))


def walk(planner: Planner, data: Demos, seed: int, steps: int = 4) -> list[np.ndarray]:
    """The plans of the first steps of an episode."""
    planner.reset(seed)
    dt_ns = round(planner.card.action.plan_period_s * 1e9)
    seen = [replace(data.observation(2 * k), stamp_ns=k * dt_ns) for k in range(steps)]
    plans = [planner.plan(observation) for observation in seen]
    assert all(plan.status in (PlanStatus.BASE, PlanStatus.REFINED) for plan in plans)
    return [plan.actions for plan in plans]


def test_an_episode_is_planned_alike_again_and_inside_the_box(brief: Path, data: Demos) -> None:
    planner = Planner(brief)
    planner.warm_up()
    scale = np.array(planner.card.action.scale)
    first = walk(planner, data, seed=3)
    walk(planner, data, seed=4)
    for other in (planner, Planner(brief)):
        assert np.array_equal(first, walk(other, data, seed=3))
    assert (np.abs(first) <= scale + 1e-9).all()
    assert np.array(first).shape == (4, 4, 4)


def test_a_card_says_what_answers_and_what_is_below_it(brief: Path) -> None:
    card, loaded = load_card(brief), load_policy(brief)
    alone = card.method == card.base
    assert (loaded.agent.head is None) == alone
    assert loaded.card == card
    assert card.base in ("bc", "bc_rnn", "ibc", "diffusion")


@pytest.mark.parametrize("kind", kinds("bc_rnn"))
def test_exported_graphs_remember_and_draw_as_pytorch_does(
    demos: Path, tmp_path: Path, kind: str
) -> None:
    folder = train(demos, tmp_path / "run", **(BRIEF | KINDS[kind]))
    manifest = export(folder, tmp_path)
    assert manifest.difference <= 1e-4
    exported = OnnxBackend(tmp_path, "cpu", 1)
    eager = TorchBackend(load_policy(folder), "eager", "cpu", 1)
    assert (exported.noise, exported.memory) == (eager.noise, eager.memory)
    assert compare(eager, exported, samples=8, seed=5) <= 1e-4


def test_what_was_seen_before_matters_to_a_policy_with_memory(
    demos: Path, data: Demos, tmp_path: Path
) -> None:
    planner = Planner(train(demos, tmp_path, method="bc_rnn", **BRIEF))
    planner.reset(0)
    fresh = planner.plan(data.observation(3)).actions
    again = planner.plan(data.observation(3)).actions
    assert not np.array_equal(fresh, again)
    planner.reset(0)
    assert np.array_equal(planner.plan(data.observation(3)).actions, fresh)


def test_a_plan_that_failed_is_no_step_of_the_memory(
    demos: Path, data: Demos, tmp_path: Path
) -> None:
    planner = Planner(train(demos, tmp_path, method="bc_rnn", **BRIEF))
    good = data.observation(3)
    bad = replace(good, poses={**good.poses, "goal": np.full(7, np.nan)})
    planner.reset(0)
    fresh = planner.plan(good).actions
    planner.reset(0)
    assert planner.plan(bad).status is PlanStatus.FAILED
    assert np.array_equal(planner.plan(good).actions, fresh)


def test_another_episode_of_a_diffusion_policy_draws_other_noise(
    demos: Path, data: Demos, tmp_path: Path
) -> None:
    planner = Planner(train(demos, tmp_path, method="diffusion", **BRIEF))
    one, other = (walk(planner, data, seed) for seed in (1, 2))
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    ("method", "seen"),
    [
        ("bc_rnn", "points"),
        ("diffusion", "images"),
        *(pytest.param("ibc", seen, marks=pytest.mark.slow) for seen in ("points", "images")),
        pytest.param("bc_rnn", "images", marks=pytest.mark.slow),
        pytest.param("diffusion", "points", marks=pytest.mark.slow),
    ],
)
def test_clouds_and_pictures_are_learned_from_too(tmp_path: Path, method: str, seen: str) -> None:
    what = {"points": 32} if seen == "points" else {"images": True}
    data = make_demos(tmp_path / "demos.npz", 3, **what)
    settings = BRIEF | {"base_steps": 2, "batch": 8}
    folder = train(tmp_path / "demos.npz", tmp_path / "run", method=method, **settings)
    plan = Planner(folder).plan(data.observation(3))
    assert plan.status is PlanStatus.BASE
    assert np.isfinite(plan.actions).all()


class TornError(Exception):
    """A run ends in the middle; the command has no sentence for it."""


@pytest.mark.parametrize("kind", kinds("bc_rnn"))
def test_a_run_that_stops_in_any_phase_goes_on_as_if_nothing_had_happened(
    demos: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from difftori_models.training.imitation.trainer import Trainer

    settings = BRIEF | KINDS[kind]
    whole = train(demos, tmp_path / "whole", **settings)
    save = Trainer._save

    def save_and_die(trainer: Trainer, *rest: object, **named: object) -> None:
        save(trainer, *rest, **named)  # type: ignore[arg-type]
        raise TornError

    # every call gets as far as one saved state, and is then torn out of its loop
    for _ in range(20):
        with monkeypatch.context() as patch, contextlib.suppress(TornError):
            patch.setattr(Trainer, "_save", save_and_die)
            train(demos, tmp_path / "torn", **settings)
            break
    torn = train(demos, tmp_path / "torn", **settings)
    assert (torn / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()


def test_settings_that_do_not_fit_each_other_are_one_sentence(
    demos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["--out", str(tmp_path), "--name", "x", "--demos", str(demos)]
    for arguments, words in (
        (["--base", "magic"], "unknown base 'magic'; known: bc, bc_rnn, ibc, diffusion"),
        (["--method", "tdmpc"], "learns by reward: take `difftori train rl`"),
        (["--start", "magic"], "unknown start 'magic'; known: noisy"),
        (["--method", "ibc", "--base", "diffusion"], "is a base policy itself"),
        (["--contrastive", "0.1"], "it needs base diffusion, got bc"),
        (["--method", "bc", "--cvae"], "method 'bc' has no use for cvae: leave that out"),
        (["--method", "residual", "--solver", "lm_rank1"], "'residual' has no use for solver"),
        (["--sampler", "derivative_free"], "'difftori' has no use for sampler"),
        (["--method", "ibc", "--batch", "1"], "batch at least 2"),
        (["--in-graph", "-1"], "in_graph must not be negative, got -1"),
        (["--name", "a b"], "name 'a b' is not a plain name"),
        (
            ["--base", "diffusion", "--contrastive", "0.1", "--cvae"],
            "contrastive cannot be had with cvae",
        ),
        (["--score", "dynamics", "--solver", "gauss_newton"], "residuals of the whole chunk"),
        (["--draw-latent"], "there is no latent"),
        (["--start", "oof"], "unknown start 'oof'; known: noisy, base, zero"),
    ):
        assert main([*TRAIN, *start, *arguments]) == 2
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1


@pytest.mark.parametrize("method", ["bc", "bc_rnn", "diffusion", "ibc", "residual", "difftori"])
def test_the_paper_preset_is_for_every_method_and_changes_what_it_has(method: str) -> None:
    words = ["--demos", "d", "--out", "o", "--name", "n", "--preset", "paper"]
    config = parse([*TRAIN, *words, "--method", method, "--lr", "0.01"]).config()
    assert (config.lr, config.dropout) == (0.01, 0.0), "what is said counts, then the preset"
    assert config.cvae == (method == "difftori")
    assert config.below == ("diffusion" if method in ("residual", "difftori") else method)


def test_a_run_that_diverges_says_so(
    demos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--out", str(tmp_path), "--name", "x", "--demos", str(demos), "--method", "bc_rnn"]
    assert main([*TRAIN, *words, "--base-steps", "40", "--lr", "1e30"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "the loss of phase 'base' is" in error
    assert "the run has diverged" in error


def test_an_unfinished_run_may_be_given_another_name(demos: Path, tmp_path: Path) -> None:
    train(demos, tmp_path, name="first", method="bc", **BRIEF)
    assert load_card(train(demos, tmp_path, name="second", method="bc", **BRIEF)).name == "second"


def test_a_card_from_before_there_was_a_choice_means_behaviour_cloning(
    trained: Path, data: Demos, tmp_path: Path
) -> None:
    card = json.loads((trained / CARD).read_text())
    del card["base"], card["network"]["objective"], card["solver"]["sampler"]
    card["schema"] = 3
    (tmp_path / CARD).write_text(json.dumps(card))
    (tmp_path / WEIGHTS).write_bytes((trained / WEIGHTS).read_bytes())
    old, new = Planner(tmp_path), Planner(trained)
    assert old.card.base == "bc"
    plans = [planner.plan(data.observation(3)).actions for planner in (old, new)]
    assert np.array_equal(*plans)


@pytest.mark.slow
def test_the_paper_preset_is_what_the_released_code_does(demos: Path, tmp_path: Path) -> None:
    card = load_card(train(demos, tmp_path, preset="paper", **(BRIEF | {"iterations": 2})))
    assert card.base == "diffusion"
    assert card.solver.method == "lm_rank1"
    assert card.solver.latent == "sample"
    assert card.network.latent == 64
    assert card.training["settings"]["loss"] == "mse"
