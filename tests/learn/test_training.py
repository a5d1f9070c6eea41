# SPDX-License-Identifier: MIT
"""Training: refining helps on unseen states, and a run is refused or resumed honestly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from difftori_models.checkpoint import load_card
from difftori_models.data import (
    action_chunks,
    load_demos,
    point_clouds,
    split_episodes,
    state_vectors,
)
from difftori_models.policies.agent import Agent
from difftori_models.policies.load import load_policy
from difftori_models.solver.method import solve
from difftori_models.training.imitation.config import TrainConfig
from difftori_models.training.imitation.data import Samples, delayed_states, new_card
from difftori_sim.cli.main import main
from tests.support.reach_task import TRAIN, make_demos, train


def rows(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_refining_a_noisy_start_moves_it_towards_the_expert(trained: Path, tmp_path: Path) -> None:
    demos = make_demos(tmp_path / "unseen.npz", 20, seed=99)
    agent = load_policy(trained).agent
    assert agent.head is not None
    with torch.no_grad():
        inputs = agent.inputs(torch.from_numpy(state_vectors(demos)), None)
        labels = agent.normaliser.to_unit(torch.from_numpy(action_chunks(demos)))
        base = agent.propose(inputs)
        noise = torch.randn(base.shape, generator=torch.Generator().manual_seed(0))
        box = agent.normaliser.low, agent.normaliser.high
        for start in (base, base + 0.3 * noise):
            head = agent.head
            problem = head.problem(head.encoder.encode(inputs), *box)
            refined = solve(problem, start, head.method()).actions
            before = (start.clamp(*box) - labels).abs().mean()
            assert (refined - labels).abs().mean() < 0.95 * before


def test_the_curves_show_both_phases_and_a_falling_error(trained: Path) -> None:
    curves = rows(trained.parent)
    base = [row for row in curves if row["phase"] == "base"]
    head = [row for row in curves if row["phase"] == "head"]
    assert base[-1]["val_l1"] < base[0]["val_l1"]
    assert head[-1]["val_l1_after"] < head[-1]["val_l1_before"] == base[-1]["val_l1"]
    assert (trained.parent / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_card_says_what_it_was_trained_on(trained: Path, demos: Path) -> None:
    card, data = load_card(trained), load_demos(demos)
    assert card.training["demos_sha256"] == data.sha256
    assert card.training["demos_command"] == "make_demos"
    assert card.training["settings"]["noise"] == 0.3
    assert (card.observation, card.action) == (data.meta.observation, data.meta.action)
    assert str(demos.parent) not in (trained / "card.json").read_text()


def test_the_normaliser_knows_the_training_episodes_alone(trained: Path, demos: Path) -> None:
    card, data = load_card(trained), load_demos(demos)
    training, _ = split_episodes(data, 0.1, seed=0)
    mean = card.normaliser["state"]["mean"]
    np.testing.assert_allclose(mean, state_vectors(data)[training].mean(axis=0), atol=1e-6)
    assert not np.allclose(mean, state_vectors(data).mean(axis=0), atol=1e-6)


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("residual", {}),
        ("bc", {}),
        ("difftori", {"cvae": True, "iterations": 3}),
        ("difftori", {"solver": "gauss_newton", "iterations": 4, "residuals": 8}),
        ("difftori", {"solver": "adam_box", "iterations": 5}),
    ],
)
def test_every_method_trains_and_loads(
    demos: Path, tmp_path: Path, method: str, settings: dict
) -> None:
    folder = train(demos, tmp_path, method=method, base_steps=40, head_steps=40, **settings)
    loaded = load_policy(folder)
    assert loaded.card.method == method
    assert (loaded.agent.head is None) == (method == "bc")
    phases = {row["phase"] for row in rows(tmp_path)}
    assert phases == ({"base"} if method == "bc" else {"base", "head"})


def test_a_cloud_is_learned_from(tmp_path: Path) -> None:
    make_demos(tmp_path / "cloud.npz", 10, points=32)
    out = tmp_path / "run"
    train(tmp_path / "cloud.npz", out, base_steps=150, head_steps=20, save_every=50, ema=0.9)
    base = [row for row in rows(out) if row["phase"] == "base"]
    assert base[-1]["train_l1"] < 0.8 * base[0]["train_l1"]


def test_clouds_are_learned_from_though_they_come_late(tmp_path: Path) -> None:
    make_demos(tmp_path / "cloud.npz", 10, points=32)
    settings = {"base_steps": 100, "head_steps": 5, "save_every": 50, "ema": 0.9, "delay": 3}
    folder = train(tmp_path / "cloud.npz", tmp_path / "run", **settings)
    base = [row for row in rows(tmp_path / "run") if row["phase"] == "base"]
    assert base[-1]["train_l1"] < 0.9 * base[0]["train_l1"]
    assert load_card(folder).training["settings"]["delay"] == 3


def test_every_step_is_learned_from_with_every_delay(tmp_path: Path) -> None:
    demos = make_demos(tmp_path / "cloud.npz", 4, points=8)
    config = TrainConfig(tmp_path / "cloud.npz", tmp_path, "late", delay=2, val_fraction=0.25)
    states = delayed_states(demos, config.delay)
    agent = Agent(new_card(config, demos, states))
    samples = Samples(agent, demos, states, config)
    assert len(samples.training.steps) == 3 * 60
    assert len(samples.validation.steps) == 3 * 20
    step, steps = 33, len(demos)
    late = samples.at(torch.tensor([step, step + steps, step + 2 * steps]))
    cloud = agent.normaliser.points(torch.from_numpy(point_clouds(demos)[[33, 32, 31]]))
    assert late.points is not None
    assert torch.equal(late.points, cloud)
    assert torch.equal(samples.labels[step], samples.labels[step + 2 * steps])


def test_pictures_are_learned_from_though_every_batch_shows_them_otherwise(tmp_path: Path) -> None:
    make_demos(tmp_path / "images.npz", 10, images=True)
    out = tmp_path / "run"
    settings = {"base_steps": 100, "head_steps": 5, "save_every": 50, "ema": 0.9, "shift": 1}
    folder = train(tmp_path / "images.npz", out, batch=32, **settings)
    base = [row for row in rows(out) if row["phase"] == "base"]
    assert base[-1]["train_l1"] < 0.9 * base[0]["train_l1"]
    card = load_card(folder)
    assert card.network.images == 2
    assert card.training["settings"]["shift"] == 1


def test_a_finished_run_is_exported_again_without_training(demos: Path, tmp_path: Path) -> None:
    settings = {"base_steps": 20, "head_steps": 20, "iterations": 2}
    folder = train(demos, tmp_path, **settings)
    before, curves = load_card(folder).weights_sha256, rows(tmp_path)
    assert train(demos, tmp_path, **settings) == folder
    assert load_card(folder).weights_sha256 == before
    assert rows(tmp_path) == curves


def test_a_run_with_other_settings_or_demonstrations_is_not_continued(
    demos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    train(demos, out, method="bc", base_steps=5)
    arguments = ["--out", str(out), "--name", "reach", "--method", "bc", "--base-steps", "5"]
    assert main([*TRAIN, *arguments, "--demos", str(demos), "--lr", "0.01"]) == 1
    assert "lr 0.001 there, 0.01 now" in capsys.readouterr().err
    make_demos(tmp_path / "other.npz", 4, seed=5)
    assert main([*TRAIN, *arguments, "--demos", str(tmp_path / "other.npz")]) == 1
    assert "other settings (demonstrations " in capsys.readouterr().err


def test_bad_settings_and_files_give_one_sentence(
    demos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["--out", str(tmp_path / "run"), "--name", "reach", "--demos"]
    for arguments, words in (
        ([*start, str(demos), "--method", "magic"], "unknown method 'magic'; known: difftori"),
        ([*start, str(demos), "--batch", "0"], "batch must be at least 1, got 0"),
        ([*start, str(demos), "--dropout", "1.0"], "dropout must lie in [0, 1)"),
        ([*start, str(tmp_path / "none.npz")], "no demonstration file"),
    ):
        assert main([*TRAIN, *arguments]) == (1 if "no demonstration" in words else 2)
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1


def test_gauss_newton_refines_in_four_iterations(demos: Path, tmp_path: Path) -> None:
    settings = {"solver": "gauss_newton", "iterations": 4, "base_steps": 300, "head_steps": 120}
    train(demos, tmp_path, save_every=100, ema=0.98, batch=64, **settings)
    head = [row for row in rows(tmp_path) if row["phase"] == "head"]
    assert head[-1]["val_l1_after"] < head[-1]["val_l1_before"]


def test_an_unknown_solver_is_refused(
    demos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--demos", str(demos), "--out", str(tmp_path), "--name", "x", "--solver", "magic"]
    assert main([*TRAIN, *arguments]) == 2
    assert "unknown solver 'magic'; known: projected_gradient" in capsys.readouterr().err
