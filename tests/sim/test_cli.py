# SPDX-License-Identifier: MIT
"""What commands cannot do is one sentence, and what they measure is written."""

import json
import shutil

import numpy as np
import pytest

from difftori_models.data import load_demos
from difftori_ros.config.paths import available_checkpoints, checkpoint_dir
from difftori_sim.arm.tasks import TEST_SEEDS, VALIDATION_SEEDS, available_tasks
from difftori_sim.cli.main import main
from difftori_sim.evaluation.results import wilson
from tests.unit.test_results import documented_keys

CHECKPOINT = "pick_cube_state"
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def said(capsys):
    """Run the command; return its exit status and the one sentence it complained with."""

    def run(*words) -> tuple[int, str]:
        status = main([str(word) for word in words])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        complaints = [line for line in err.splitlines() if line.startswith("difftori: ")]
        return status, "\n".join(complaints)

    return run


@pytest.mark.parametrize("command", ["demo", "evaluate"])
def test_unknown_checkpoint_is_refused_with_those_that_ship(said, command):
    status, sentence = said(command, "--checkpoint", "pick_cube_stat", "--episodes", 1)
    assert status == 1
    assert sentence.startswith("difftori: no checkpoint 'pick_cube_stat'")
    for name in available_checkpoints():
        assert name in sentence


@pytest.mark.parametrize("command", ["demo", "evaluate"])
@pytest.mark.parametrize("episodes", [0, -3])
def test_nothing_to_run_is_refused(said, command, episodes):
    status, sentence = said(command, "--checkpoint", CHECKPOINT, "--episodes", episodes)
    assert status == 1
    assert sentence == f"difftori: wanted at least one episode, got {episodes}"


@pytest.mark.parametrize("command", ["demo", "evaluate"])
@pytest.mark.parametrize("first", [-1, TEST_SEEDS.stop, VALIDATION_SEEDS.stop - 1])
def test_seeds_outside_the_ranges_are_refused_with_the_ranges(said, command, first):
    words = ("--checkpoint", CHECKPOINT, "--episodes", 2, "--first-seed", first)
    status, sentence = said(command, *words)
    assert status == 1
    assert f"seeds {first} to {first + 1} are not in one range" in sentence
    assert "test 200000 to 299999" in sentence


@pytest.mark.parametrize("command", ["demo", "evaluate"])
def test_checkpoint_of_an_unknown_task_is_refused_with_the_known_ones(said, tmp_path, command):
    folder = tmp_path / "other"
    shutil.copytree(checkpoint_dir() / CHECKPOINT, folder)
    card = json.loads((folder / "card.json").read_text()) | {"task": "fold"}
    (folder / "card.json").write_text(json.dumps(card))
    status, sentence = said(command, "--checkpoint", folder, "--episodes", 1)
    assert status == 1
    known = ", ".join(available_tasks())
    assert "pick_cube, " in known
    assert sentence == f"difftori: unknown task 'fold'; known: {known}"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--episodes", "0"), "wanted at least one episode, got 0"),
        (("--first-seed", "200000"), "seed 200000 is not a training seed (0 to 99999)"),
        (("--task", "push_cube", "--obs", "points"), "has no variant 'points'; it has state"),
    ],
)
def test_demonstrations_that_cannot_be_recorded_are_refused(said, tmp_path, words, complaint):
    out = tmp_path / "none.npz"
    status, sentence = said("demos", "record", "--task", "pick_cube", "--out", out, *words)
    assert status == 1
    assert complaint in sentence
    assert not out.exists()


@pytest.mark.vulkan
def test_evaluation_writes_the_documented_keys_and_says_what_it_found(tmp_path, capsys):
    path = tmp_path / "made" / "result.json"
    words = ["evaluate", "--checkpoint", CHECKPOINT, "--episodes", "2", "--json", str(path)]
    assert main(words) == 0
    found = json.loads(path.read_text())
    assert sorted(found) == sorted(documented_keys())
    assert (found["task"], found["checkpoint"]) == ("pick_cube", CHECKPOINT)
    assert (found["policy"], found["through"], found["seeds"]) == ("difftori", "direct", "test")
    assert (found["episodes"], found["first_seed"]) == (2, TEST_SEEDS.start)
    assert found["successes"] == sum(found["success_by_seed"])
    assert len(found["success_by_seed"]) == 2
    assert found["interval_95"] == pytest.approx(wilson(found["successes"], 2))
    assert 0.0 < found["plan_ms_p50"] <= found["plan_ms_p99"]
    assert 0.0 < found["steps_mean"] <= 50.0
    said = " ".join(capsys.readouterr().out.split())
    assert f"{found['successes']}/2 episodes succeeded" in said


@pytest.mark.vulkan
def test_base_policy_alone_is_reported_as_such(tmp_path):
    path = tmp_path / "result.json"
    words = ["evaluate", "--checkpoint", CHECKPOINT, "--episodes", "1", "--no-refine"]
    assert main([*words, "--json", str(path)]) == 0
    assert json.loads(path.read_text())["policy"] == "base"


@pytest.mark.vulkan
def test_recorded_file_can_be_made_again_by_the_command_it_names(tmp_path):
    first, again = tmp_path / "first.npz", tmp_path / "again.npz"
    words = ["demos", "record", "--task", "push_cube", "--episodes", "1", "--noise", "0.1"]
    assert main([*words, "--first-seed", "5", "--out", str(first)]) == 0
    program, *command = load_demos(first).meta.command.split()
    assert program == "difftori"
    assert main([*command, "--out", str(again)]) == 0
    np.testing.assert_array_equal(load_demos(first).actions, load_demos(again).actions)
    assert load_demos(first).sha256 == load_demos(again).sha256


def test_an_export_says_what_it_wrote_and_how_near_it_is(said, tmp_path, capsys):
    status = main(["export", "--checkpoint", CHECKPOINT, "--out", str(tmp_path)])
    told = capsys.readouterr().out
    assert status == 0
    assert "wrote propose.onnx, step.onnx, finish.onnx" in told
    assert "from PyTorch on 32 random observations" in told
    assert {path.name for path in tmp_path.iterdir()} == {
        "card.json",
        "export.json",
        "propose.onnx",
        "step.onnx",
        "finish.onnx",
    }


def test_exporting_an_unknown_checkpoint_is_refused_with_those_that_ship(said):
    status, sentence = said("export", "--checkpoint", "nope")
    assert status == 1
    assert all(name in sentence for name in available_checkpoints())


def test_evaluating_with_a_backend_that_cannot_run_is_refused(said):
    words = ("--checkpoint", CHECKPOINT, "--episodes", 1, "--backend", "onnx")
    status, sentence = said("evaluate", *words)
    assert status == 1
    assert "difftori export" in sentence
