# SPDX-License-Identifier: MIT
"""A checkpoint is exported once, into the user's cache: complete, current and its own, or not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from difftori_models.checkpoint import CheckpointError, save, update_results
from difftori_models.data import load_demos
from difftori_models.inference import graph_cache
from difftori_models.inference.backends.onnx_backend import OnnxBackend
from difftori_models.inference.backends.torch_backend import TorchBackend
from difftori_models.inference.export import TOLERANCE, compare
from difftori_models.inference.graph_cache import ready_graphs
from difftori_models.inference.planner import Planner
from difftori_models.policies.load import load_policy

FILES = {"card.json", "export.json", "propose.onnx", "step.onnx", "finish.onnx"}


@pytest.fixture(scope="module")
def made(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The entry of a checkpoint that was run for the first time, and what was said meanwhile."""
    home, said = tmp_path_factory.mktemp("cache"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(home))
        entry = ready_graphs(trained, say=said.append)
    assert entry is not None, said
    return entry, said


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an empty cache, in a process that has not tried anything."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(graph_cache, "_refused", {})
    return tmp_path / "difftori" / "graphs"


@pytest.fixture
def quick(home: Path, made: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch) -> Path:
    """`home`, with exports that copy what was exported before."""
    monkeypatch.setattr(graph_cache, "_export", lambda _, out: shutil.copytree(made[0], out))
    return home


def lighter(trained: Path, out: Path) -> Path:
    """The checkpoint with other weights."""
    loaded = load_policy(trained)
    tensors = {name: 0.5 * tensor.numpy() for name, tensor in loaded.agent.state_dict().items()}
    save(out, loaded.card, tensors)
    return out


def refused(trained: Path) -> str:
    """The one sentence with which there are no graphs."""
    said: list[str] = []
    assert ready_graphs(trained, say=said.append) is None
    start = "reach: PyTorch runs it, there are no exported graphs: "
    (sentence,) = [text for text in said if text.startswith(start)]
    return sentence.removeprefix(start)


def program(folder: Path, line: str) -> str:
    """An executable that does this one thing in place of Python."""
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o700)
    return str(path)


def test_a_first_run_exports_and_says_so_before_and_after(made: tuple[Path, list[str]]) -> None:
    entry, (before, after) = made
    assert {path.name for path in entry.iterdir()} == FILES
    assert [path.name for path in entry.parent.iterdir()] == [entry.name]
    assert "reach: exporting it to graphs" in before
    assert str(entry) in before
    assert after.startswith("reach: exported in ")
    assert json.loads((entry / "export.json").read_text())["checked"] > 0


def test_the_graphs_of_the_cache_give_pytorchs_numbers(
    trained: Path, demos: Path, made: tuple[Path, list[str]]
) -> None:
    graphs = OnnxBackend(trained, "cpu", 1, made[0])
    eager = TorchBackend(load_policy(trained), "eager", "cpu", 1)
    assert compare(eager, graphs, samples=5, seed=7) <= TOLERANCE
    seen = load_demos(demos).observation(3)
    cached, torch = Planner(trained, graphs=made[0]), Planner(trained)
    assert (cached.backend, torch.backend) == ("onnx", "eager")
    np.testing.assert_allclose(cached.plan(seen).actions, torch.plan(seen).actions, atol=1e-4)


def test_a_second_run_takes_what_is_there_without_a_word_and_without_torch(
    trained: Path, made: tuple[Path, list[str]]
) -> None:
    home = made[0].parents[2]
    program = f"""
import sys
from pathlib import Path
from difftori_models.inference.graph_cache import ready_graphs
from difftori_models.inference.planner import Planner
checkpoint = Path({str(trained)!r})
planner = Planner(checkpoint, graphs=ready_graphs(checkpoint))
planner.warm_up()
assert planner.backend == "onnx"
assert "torch" not in sys.modules
"""
    environment = os.environ | {"XDG_CACHE_HOME": str(home)}
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    # nor does ONNX Runtime keep anything of its own
    assert [path.name for path in home.iterdir()] == ["difftori"]


def test_other_weights_other_packages_and_other_code_have_other_entries(
    trained: Path, tmp_path: Path, quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = load_policy(trained).card
    names = {graph_cache._entry_name(card)}
    names.add(graph_cache._entry_name(load_policy(lighter(trained, tmp_path / "other")).card))
    with monkeypatch.context() as patch:
        patch.setattr(graph_cache, "_version", lambda package: "9")
        names.add(graph_cache._entry_name(card))
    with monkeypatch.context() as patch:
        patch.setattr(graph_cache, "_source", lambda: "other code")
        names.add(graph_cache._entry_name(card))
    assert len(names) == 4


def test_the_code_that_counts_is_that_of_the_networks_too() -> None:
    assert (graph_cache.SOURCE / "policies" / "agent.py").is_file()


def test_results_that_are_added_to_a_card_change_no_entry(
    trained: Path, tmp_path: Path, quick: Path
) -> None:
    copied = Path(shutil.copytree(trained, tmp_path / "copied"))
    before = ready_graphs(copied, say=str)
    update_results(copied, [{"success": 1.0}])
    assert ready_graphs(copied, say=str) == before
    assert Planner(copied, graphs=before).card.results == ({"success": 1.0},)


def test_graphs_of_another_checkpoint_are_refused(
    trained: Path, tmp_path: Path, made: tuple[Path, list[str]]
) -> None:
    with pytest.raises(CheckpointError, match="another card or other weights"):
        Planner(lighter(trained, tmp_path), graphs=made[0])


def test_a_checkpoint_that_changes_while_it_is_exported_gets_no_entry(
    trained: Path, tmp_path: Path, quick: Path
) -> None:
    assert "changed while it was exported" in refused(lighter(trained, tmp_path / "other"))
    assert list(quick.iterdir()) == []


def cut(entry: Path) -> None:
    path = entry / "step.onnx"
    path.write_bytes(path.read_bytes()[:-10])


def flip(entry: Path) -> None:
    path = entry / "finish.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def empty(entry: Path) -> None:
    (entry / "export.json").write_bytes(b"")


def turn_into_a_file(entry: Path) -> None:
    shutil.rmtree(entry)
    entry.write_text("")


@pytest.mark.parametrize("damage", [cut, flip, empty, turn_into_a_file])
def test_a_damaged_entry_is_noticed_and_made_anew(
    trained: Path, quick: Path, damage: Callable[[Path], None]
) -> None:
    entry = ready_graphs(trained, say=str)
    assert entry is not None
    damage(entry)
    said: list[str] = []
    assert ready_graphs(trained, say=said.append) == entry
    assert "those that are there are damaged; exporting" in said[0]
    assert Planner(trained, graphs=entry).backend == "onnx"
    assert list(quick.iterdir()) == [entry]


@pytest.mark.parametrize("damaged", [False, True])
def test_of_two_that_export_at_once_both_get_a_good_entry(
    trained: Path, quick: Path, monkeypatch: pytest.MonkeyPatch, damaged: bool
) -> None:
    if damaged:
        cut(ready_graphs(trained, say=str) or quick)
    copy, others = graph_cache._export, []

    def overtaken(source: Path, out: Path) -> None:
        copy(source, out)
        monkeypatch.setattr(graph_cache, "_export", copy)
        others.append(ready_graphs(source, say=str))

    monkeypatch.setattr(graph_cache, "_export", overtaken)
    entry = ready_graphs(trained, say=str)
    assert others == [entry]
    assert Planner(trained, graphs=entry).backend == "onnx"
    assert list(quick.iterdir()) == [entry]


def test_an_export_that_is_interrupted_leaves_nothing(
    trained: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(source: Path, out: Path) -> None:
        out.mkdir()
        (out / "propose.onnx").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(graph_cache, "_export", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ready_graphs(trained, say=str)
    assert list(home.iterdir()) == []


def test_what_killed_exports_left_is_cleared_away_and_what_others_make_is_not(
    trained: Path, quick: Path
) -> None:
    old, young = quick / ".old.tmp", quick / ".young.tmp"
    for folder in (old, young):
        (folder / "made").mkdir(parents=True)
    quick.chmod(0o700)
    os.utime(old, (1e9, 1e9))
    entry = ready_graphs(trained, say=str)
    assert set(quick.iterdir()) == {young, entry}


def test_of_many_entries_those_used_last_are_kept(
    trained: Path, tmp_path: Path, quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_cache, "KEPT", 2)
    quick.mkdir(mode=0o700, parents=True)
    for k, name in enumerate(("first", "second")):
        (quick / name).mkdir()
        os.utime(quick / name, (1e9 + k, 1e9 + k))
    entry = ready_graphs(trained, say=str)
    assert set(quick.iterdir()) == {quick / "second", entry}


def test_an_entry_that_is_used_counts_as_used_last(trained: Path, quick: Path) -> None:
    entry = ready_graphs(trained, say=str)
    assert entry is not None
    os.utime(entry, (1e9, 1e9))
    assert ready_graphs(trained, say=str) == entry
    assert entry.stat().st_mtime > 1e9


def test_what_cannot_be_exported_is_tried_once_in_a_process(
    trained: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def fail(source: Path, out: Path) -> None:
        tried.append(source)
        raise OSError("the disk is full")

    monkeypatch.setattr(graph_cache, "_export", fail)
    assert refused(trained) == refused(trained) == "the disk is full"
    assert tried == [trained]
    assert list(home.iterdir()) == []


def test_an_exporter_that_crashes_is_survived(
    trained: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", program(tmp_path, "kill -SEGV $$"))
    assert refused(trained) == "the export ended with -11"


def test_an_export_that_hangs_is_given_up(
    trained: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", program(tmp_path, "exec tail -f /dev/null"))
    monkeypatch.setattr(graph_cache, "LIMIT_S", 0.05)
    assert refused(trained) == "the export took longer than 0.05 s"


def test_why_an_export_failed_is_told_in_its_own_words(trained: Path, home: Path) -> None:
    with pytest.raises(graph_cache._NoGraphsError, match=r"no checkpoint at .*there is no such"):
        graph_cache._export(trained / "nowhere", home / "out")


def test_without_the_packages_that_export_they_are_named(
    trained: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_cache, "MAKERS", ("onnx", "no_such_exporter"))
    wanted = "no_such_exporter must be installed: pip install 'difftori_ros[export]'"
    assert wanted in refused(trained)


def test_without_a_home_pytorch_runs_it(
    trained: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    monkeypatch.delenv("HOME", raising=False)
    assert "neither XDG_CACHE_HOME nor HOME names a folder" in refused(trained)


def test_the_cache_is_below_home_where_no_other_place_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert graph_cache.cache_folder() == tmp_path / ".cache" / "difftori" / "graphs"


def test_a_cache_that_cannot_be_written_is_done_without(trained: Path, home: Path) -> None:
    home.parent.write_text("a file in the way")
    assert str(home.parent) in refused(trained)


def test_a_cache_that_others_may_write_to_is_not_trusted(trained: Path, quick: Path) -> None:
    assert ready_graphs(trained, say=str) is not None
    quick.chmod(0o777)
    assert f"others than this user may write to {quick}" in refused(trained)


@pytest.mark.parametrize(
    "asked", [{"backend": "eager"}, {"backend": "onnx"}, {"device": "cuda"}], ids=str
)
def test_whoever_asks_for_something_else_gets_it_unexported(
    trained: Path, home: Path, asked: dict[str, str]
) -> None:
    assert ready_graphs(trained, **asked) is None
    assert not home.exists()


def test_graphs_in_the_checkpoints_own_folder_come_first(
    trained: Path, home: Path, tmp_path: Path, made: tuple[Path, list[str]]
) -> None:
    own = Path(shutil.copytree(made[0], tmp_path / "own"))
    assert ready_graphs(own) is None
    assert not home.exists()


def test_weights_that_are_damaged_are_refused_though_their_graphs_are_there(
    trained: Path, tmp_path: Path, quick: Path
) -> None:
    copied = Path(shutil.copytree(trained, tmp_path / "copied"))
    assert ready_graphs(copied, say=str) is not None
    path = copied / "weights.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="not the weights the card was written for"):
        ready_graphs(copied)
