# SPDX-License-Identifier: MIT
"""Every suite records, trains and evaluates by the same three commands."""

import json

import pytest

from difftori_models.data import load_demos
from difftori_sim.cli.main import main

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CASES = [
    ("metaworld", "push", "state", ()),
    ("metaworld", "push", "rgb", ()),
    ("metaworld", "push", "points", ()),
    ("maniskill", "PullCube", "state", ()),
    ("maniskill", "LiftPegUpright", "state", ()),
    ("maniskill", "LiftPegUpright", "rgb", ()),
    ("maniskill", "LiftPegUpright", "points", ()),
    ("robomimic", "Lift", "state", ()),
    ("robomimic", "Lift", "rgb", ()),
    ("robomimic", "Lift", "points", ()),
    ("dmc", "reacher-easy", "state", ("--expert", "random")),
    ("dmc", "reacher-easy", "rgb", ("--expert", "random")),
    ("gymnasium", "Pendulum-v1", "state", ()),
]


@pytest.mark.vulkan
@pytest.mark.parametrize(("suite", "task", "obs", "more"), CASES, ids=lambda case: str(case))
def test_suite_records_trains_and_evaluates(suite, task, obs, more, tmp_path, monkeypatch):
    if suite == "robomimic":
        pytest.importorskip("robosuite", reason="it comes with the extra robomimic")
    monkeypatch.chdir(tmp_path)
    words = ["--suite", suite, "--task", task, "--obs", obs]
    assert main(["demos", "record", *words, "--episodes", "2", *more]) == 0
    home = tmp_path / "out" / f"{suite}.{task}.{obs}"
    demos = load_demos(home / "demos.npz")
    assert len(set(demos.seed.tolist())) == 2
    short = ["--base-steps", "20", "--head-steps", "10", "--batch", "32", "--save-every", "10"]
    assert main(["train", "imitation", *words, *short]) == 0
    result = tmp_path / "result.json"
    assert main(["evaluate", *words, "--episodes", "1", "--json", str(result)]) == 0
    found = json.loads(result.read_text())
    assert found["episodes"] == 1
    assert found["seeds"] == "test"
    assert ("return_mean" in found) == (suite in ("dmc", "gymnasium"))


def test_checkpoint_of_another_task_is_refused_with_what_differs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--suite", "metaworld", "--task", "push", "--obs", "state"]
    assert main(["demos", "record", *words, "--episodes", "2"]) == 0
    assert main(["train", "imitation", *words, "--method", "bc", "--base-steps", "5"]) == 0
    trained = str(tmp_path / "out" / "metaworld.push.state" / "train" / "checkpoint")
    other = ["--suite", "metaworld", "--task", "hammer", "--checkpoint", trained]
    assert main(["evaluate", *other, "--episodes", "1"]) == 1
    told = " ".join(capsys.readouterr().err.split())
    assert "does not fit 'metaworld.hammer': task: trained for metaworld.push" in told
    for command in ("evaluate", "demo"):
        assert main([command, "--checkpoint", trained, "--episodes", "1"]) == 1
        told = " ".join(capsys.readouterr().err.split())
        assert "was trained for 'metaworld.push' of a suite" in told
        assert "difftori evaluate --suite" in told


def test_trained_policy_demonstrates_as_well(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--suite", "gymnasium", "--task", "Pendulum-v1"]
    assert main(["demos", "record", *words, "--episodes", "2"]) == 0
    assert main(["train", "imitation", *words, "--method", "bc", "--base-steps", "5"]) == 0
    trained = str(tmp_path / "out" / "gymnasium.Pendulum-v1.state" / "train" / "checkpoint")
    again = ["--episodes", "1", "--expert", trained, "--out", "again.npz"]
    assert main(["demos", "record", *words, *again]) == 0
    assert load_demos(tmp_path / "again.npz").meta.task == "gymnasium.Pendulum-v1"
