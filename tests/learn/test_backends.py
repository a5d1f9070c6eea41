# SPDX-License-Identifier: MIT
"""One policy, same numbers: eager and exported; what does not fit is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from difftori_models.checkpoint import CheckpointError, save
from difftori_models.contract.specs import PlanStatus
from difftori_models.data import Demos, load_demos
from difftori_models.inference import export as exporting
from difftori_models.inference.backends.onnx_backend import OnnxBackend
from difftori_models.inference.backends.torch_backend import TorchBackend
from difftori_models.inference.export import ExportError, compare, export
from difftori_models.inference.planner import Planner
from difftori_models.policies.agent import Agent
from difftori_models.policies.load import LoadedPolicy, load_policy
from tests.support.reach_task import make_demos, train

RUNS = {
    "difftori": {},
    "gauss_newton": {"solver": "gauss_newton", "iterations": 4, "residuals": 6},
    "adam_box": {"solver": "adam_box", "iterations": 4},
    "residual": {"method": "residual"},
    "bc": {"method": "bc"},
    "cvae": {"cvae": True},
    "points": {},
    "images": {},
}

SLOW = ("adam_box", "residual")


@pytest.fixture(scope="module")
def data(demos: Path) -> Demos:
    return load_demos(demos)


@pytest.fixture(
    scope="module",
    params=[pytest.param(kind, marks=[pytest.mark.slow] * (kind in SLOW)) for kind in RUNS],
)
def trained_kind(
    request: pytest.FixtureRequest, demos: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp(request.param)
    if request.param == "points":
        make_demos(out / "cloud.npz", 4, points=32)
        return train(out / "cloud.npz", out / "run", base_steps=20, head_steps=20, batch=16)
    if request.param == "images":
        make_demos(out / "images.npz", 4, images=True)
        return train(out / "images.npz", out / "run", base_steps=20, head_steps=20, batch=16)
    return train(demos, out, base_steps=60, head_steps=30, **RUNS[request.param])


@pytest.fixture(scope="module")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    export(trained, folder)
    return folder


@pytest.fixture
def copied(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "copied"))


def with_solver(folder: Path, out: Path, **settings: object) -> Path:
    """A checkpoint like the one in `folder` with other solver settings."""
    loaded = load_policy(folder)
    card = replace(loaded.card, solver=replace(loaded.card.solver, **settings))
    tensors = {name: tensor.numpy() for name, tensor in loaded.agent.state_dict().items()}
    save(out, card, tensors)
    return out


def test_exported_graphs_give_pytorchs_numbers_for_every_kind_of_policy(
    trained_kind: Path, tmp_path: Path
) -> None:
    manifest = export(trained_kind, tmp_path)
    assert manifest.checked == exporting.SAMPLES
    assert manifest.difference <= 1e-4
    eager = TorchBackend(load_policy(trained_kind), "eager", "cpu", 1)
    assert compare(eager, OnnxBackend(tmp_path, "cpu", 1), samples=5, seed=7) <= 1e-4


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"start": "zero"}, marks=pytest.mark.slow),
        {"start": "previous", "latent": "sample"},
    ],
)
def test_starts_and_latents_are_exported_too(demos: Path, tmp_path: Path, settings: dict) -> None:
    folder = train(demos, tmp_path / "run", cvae=True, base_steps=40, head_steps=20)
    folder = with_solver(folder, tmp_path / "other", **settings)
    assert export(folder, tmp_path / "out").difference <= 1e-4
    planner = Planner(tmp_path / "out")
    assert planner.backend == "onnx"


def test_auto_takes_exported_graphs_where_they_are_and_eager_otherwise(
    trained: Path, exported: Path
) -> None:
    assert Planner(trained).backend == "eager"
    assert Planner(exported).backend == "onnx"


def test_an_exported_policy_plans_without_torch(exported: Path, demos: Path) -> None:
    program = f"""
import sys
sys.modules["torch"] = None  # importing it would raise
from difftori_models.data import load_demos
from difftori_models.inference.planner import Planner
planner = Planner({str(exported)!r})
planner.warm_up()
planner.reset(0)
plan = planner.plan(load_demos({str(demos)!r}).observation(3), deadline_s=1.0)
assert plan.status.name == "REFINED", plan.status
assert not [name for name in sys.modules if name.startswith("torch.")]
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def test_a_deadline_ends_an_exported_policys_solve_between_two_iterations(
    exported: Path, trained: Path, data: Demos, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = []
    for folder, backend in ((exported, "onnx"), (trained, "eager")):
        planner = Planner(folder, backend=backend)
        ticks = iter(float(k) for k in range(100))
        monkeypatch.setattr(
            "difftori_models.inference.planner.time.monotonic", lambda t=ticks: next(t)
        )
        plans.append(planner.plan(data.observation(3), deadline_s=3.5))
        monkeypatch.undo()
    assert [plan.iterations for plan in plans] == [3, 3]
    assert {plan.status for plan in plans} == {PlanStatus.DEADLINE}
    np.testing.assert_allclose(plans[0].actions, plans[1].actions, atol=1e-6)


def test_an_exported_policy_flags_bad_observations(exported: Path, data: Demos) -> None:
    planner, good = Planner(exported), data.observation(3)
    poses = {**good.poses, "goal": np.full(7, np.nan)}
    assert planner.plan(replace(good, poses=poses)).status is PlanStatus.FAILED
    assert planner.plan(good).status is PlanStatus.REFINED


def test_a_network_that_overflows_is_flagged_alike_by_every_backend(
    trained: Path, data: Demos, tmp_path: Path
) -> None:
    loaded = load_policy(trained)
    dict(loaded.agent.named_parameters())["head.out.weight"].fill_(3e38)
    tensors = {name: tensor.numpy() for name, tensor in loaded.agent.state_dict().items()}
    save(tmp_path / "wild", loaded.card, tensors)
    export(tmp_path / "wild", tmp_path / "out")
    for folder, backend in ((tmp_path / "wild", "eager"), (tmp_path / "out", "onnx")):
        plan = Planner(folder, backend=backend).plan(data.observation(3))
        base = Planner(trained).plan(data.observation(3), refine=False)
        assert plan.status is PlanStatus.DIVERGED
        np.testing.assert_allclose(plan.actions, base.actions, atol=1e-6)


def test_graphs_that_differ_from_pytorch_are_not_written(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoiled(policy: LoadedPolicy):
        tensors = policy.agent.state_dict()
        agent = Agent(policy.card).eval()
        agent.load_state_dict({**tensors, "head.out.weight": 1.01 * tensors["head.out.weight"]})
        return graphs(LoadedPolicy(policy.card, agent))

    graphs = exporting.onnx_graphs
    monkeypatch.setattr(exporting, "onnx_graphs", spoiled)
    with pytest.raises(ExportError, match=r"differ from PyTorch by .* nothing was written"):
        export(trained, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert export(trained, tmp_path / "out", check=False).checked == 0


def test_every_graph_carries_the_card(exported: Path) -> None:
    card = json.loads((exported / "card.json").read_text())
    for name in ("propose", "step", "finish"):
        model = onnx.load(exported / f"{name}.onnx")
        (entry,) = [prop for prop in model.metadata_props if prop.key == "card"]
        assert json.loads(entry.value) == card


def test_a_truncated_or_foreign_graph_is_refused(copied: Path) -> None:
    step = copied / "step.onnx"
    step.write_bytes(step.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match=r"step.onnx: not the graph that was exported"):
        Planner(copied)


def test_a_missing_graph_is_refused(copied: Path) -> None:
    (copied / "finish.onnx").unlink()
    with pytest.raises(CheckpointError, match=r"no finish.onnx there"):
        Planner(copied)


def test_graphs_of_other_weights_are_refused(copied: Path) -> None:
    card = json.loads((copied / "card.json").read_text())
    (copied / "card.json").write_text(json.dumps({**card, "weights_sha256": "0" * 64}))
    with pytest.raises(CheckpointError, match="exported from another card or other weights"):
        Planner(copied)


def test_graphs_of_a_card_that_was_edited_since_are_refused_but_results_may_be_added(
    copied: Path,
) -> None:
    card = json.loads((copied / "card.json").read_text())
    (copied / "card.json").write_text(json.dumps({**card, "results": [{"success": 1.0}]}))
    assert Planner(copied).backend == "onnx"
    card["normaliser"]["state"]["mean"][0] += 1.0
    (copied / "card.json").write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match="exported from another card"):
        Planner(copied)


def test_a_folder_of_another_checkpoint_is_left_alone(trained: Path, tmp_path: Path) -> None:
    other = with_solver(trained, tmp_path / "other", start="zero")
    before = (other / "card.json").read_bytes()
    with pytest.raises(ExportError, match="holds the card of 'reach', another checkpoint"):
        export(trained, other)
    assert (other / "card.json").read_bytes() == before
    assert not (other / "export.json").exists()


@pytest.mark.parametrize("name", ["card.json", "step.onnx", "export.json"])
def test_a_directory_in_the_way_is_named_before_any_work(
    trained: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(ExportError, match=f"{name} is a directory and in the way"):
        export(trained, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"graphs": {}}, "wanted the graphs propose.onnx, step.onnx, finish.onnx, it lists none"),
        ({"schema": 7}, "unknown schema 7"),
        ({"opset": "18"}, "opset: wanted an integer"),
        ({"extra": 1}, "unknown extra"),
    ],
)
def test_a_manifest_that_is_wrong_is_refused_by_the_entry_at_fault(
    copied: Path, changes: dict, sentence: str
) -> None:
    manifest = json.loads((copied / "export.json").read_text())
    (copied / "export.json").write_text(json.dumps({**manifest, **changes}))
    with pytest.raises(CheckpointError, match=sentence):
        Planner(copied)


def test_a_checkpoint_without_graphs_is_refused_with_the_command_that_makes_them(
    trained: Path,
) -> None:
    with pytest.raises(CheckpointError, match="difftori export"):
        Planner(trained, backend="onnx")


@pytest.mark.parametrize(
    ("backend", "device", "sentence"),
    [
        ("magic", "cpu", "unknown backend 'magic'; known: auto, eager, onnx, cuda_graph"),
        ("compile", "cpu", "unknown backend 'compile'; known: auto, eager, onnx, cuda_graph"),
        ("cuda_graph", "cpu", "backend cuda_graph needs device cuda"),
        ("eager", "cuda", "PyTorch finds no GPU here"),
        ("auto", "cuda", "PyTorch finds no GPU here"),
        ("onnx", "cuda", "needs onnxruntime-gpu"),
        ("eager", "banana", "unknown device 'banana'; known: cpu, cuda"),
    ],
)
def test_a_backend_this_machine_cannot_run_is_refused(
    exported: Path, trained: Path, backend: str, device: str, sentence: str
) -> None:
    folder = exported if backend == "onnx" else trained
    with pytest.raises(CheckpointError, match=sentence):
        Planner(folder, device=device, backend=backend)


@pytest.mark.parametrize("backend", ["eager", "onnx"])
def test_threads_below_one_are_refused(exported: Path, trained: Path, backend: str) -> None:
    with pytest.raises(CheckpointError, match="threads must be at least 1, got 0"):
        Planner(exported if backend == "onnx" else trained, threads=0, backend=backend)
