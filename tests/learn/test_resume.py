# SPDX-License-Identifier: MIT
"""A run that is killed at any moment goes on and ends with the very same weights."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import difftori_models
import difftori_ros
import difftori_sim
from difftori_models.checkpoint import WEIGHTS
from difftori_models.training.errors import ResumeError
from difftori_models.training.imitation.config import TrainConfig
from difftori_models.training.imitation.trainer import Trainer
from difftori_models.training.run_log import METRICS, read_rows
from difftori_models.training.run_state import draw_seed, sole_writer
from tests.support.reach_task import TRAIN, train

SETTINGS = {"base_steps": 150, "head_steps": 60, "save_every": 10, "iterations": 3, "batch": 32}


def start(demos: Path, out: Path, alias: Path) -> subprocess.Popen[bytes]:
    """`difftori train imitation` as a process of its own."""
    for package in (difftori_models, difftori_ros, difftori_sim):
        link = alias / package.__name__
        if not link.exists():
            link.symlink_to(Path(str(package.__file__)).parent)
    command = [sys.executable, "-m", "difftori_sim.cli.main", *TRAIN, "--name", "reach"]
    command += ["--demos", str(demos), "--out", str(out)]
    for key, value in SETTINGS.items():
        command += [f"--{key.replace('_', '-')}", str(value)]
    return subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(alias)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def kill_when(process: subprocess.Popen[bytes], out: Path, phase: str, step: int) -> None:
    """SIGKILL as soon as the log has passed a step."""
    while not any(row["phase"] == phase and row["step"] >= step for row in read_rows(out)):
        try:
            code = process.wait(timeout=0.01)
        except subprocess.TimeoutExpired:
            continue
        pytest.fail(f"training ended by itself with {code} before {phase} {step}")
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def test_a_run_killed_in_both_phases_ends_with_the_weights_of_an_undisturbed_one(
    demos: Path, tmp_path: Path
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(demos, whole, **SETTINGS)
    kill_when(start(demos, broken, tmp_path), broken, "base", 30)
    kill_when(start(demos, broken, tmp_path), broken, "head", 20)
    assert not (broken / "checkpoint").exists()
    train(demos, broken, **SETTINGS)
    weights = [(run / "checkpoint" / WEIGHTS).read_bytes() for run in (whole, broken)]
    assert weights[0] == weights[1]
    for mine, theirs in zip(read_rows(whole), read_rows(broken), strict=True):
        assert {**mine, "seconds": 0} == {**theirs, "seconds": 0}


def test_draws_differ_between_seeds_phases_and_steps() -> None:
    drawn = {draw_seed(s, p, k) for s in (0, 1) for p in ("base", "head") for k in range(100)}
    assert len(drawn) == 400


def test_a_run_that_another_process_trains_is_left_alone(demos: Path, tmp_path: Path) -> None:
    config = TrainConfig(demos=demos, out=tmp_path, name="reach", method="bc", base_steps=5)
    with sole_writer(tmp_path), pytest.raises(ResumeError, match="another process is training in"):
        Trainer.open(config).run()
    assert not read_rows(tmp_path)
    assert Trainer.open(config).run().is_dir()


def test_a_broken_state_is_refused_and_not_trained_over(demos: Path, tmp_path: Path) -> None:
    train(demos, tmp_path, method="bc", base_steps=5)
    config = TrainConfig(demos=demos, out=tmp_path, name="reach", method="bc", base_steps=5)
    (tensors,) = (tmp_path / "state").glob("*.safetensors")
    data = tensors.read_bytes()
    tensors.write_bytes(data[:-1])
    with pytest.raises(ResumeError, match="is not the file"):
        Trainer.open(config)
    tensors.unlink()
    with pytest.raises(ResumeError, match="which is not there"):
        Trainer.open(config)
    (tmp_path / "state" / "state.json").write_text("{")
    with pytest.raises(ResumeError, match="not JSON"):
        Trainer.open(config)


def test_a_line_of_the_log_that_is_cut_short_was_past_the_state_and_goes(
    demos: Path, tmp_path: Path
) -> None:
    settings = {"method": "bc", "base_steps": 20, "save_every": 10}
    train(demos, tmp_path, **settings)
    rows, log = read_rows(tmp_path), tmp_path / METRICS
    assert [(row["phase"], row["step"]) for row in rows] == [("base", 10), ("base", 20)]
    with log.open("a") as file:
        file.write(json.dumps({**rows[-1], "step": 30}) + '\n{"phase": "ba')
    assert read_rows(tmp_path)[:-1] == rows
    train(demos, tmp_path, **settings)
    assert read_rows(tmp_path) == rows
    log.write_text("{\n")
    config = TrainConfig(demos=demos, out=tmp_path, name="reach", **settings)
    with pytest.raises(ResumeError, match=r"metrics\.jsonl: not JSON"):
        Trainer.open(config).run()
