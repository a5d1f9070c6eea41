# SPDX-License-Identifier: MIT
"""What `checkpoint` names is loaded, and only with the hash that was asked for."""

import hashlib
import json
import shutil

import numpy as np
import pytest

from difftori_models.checkpoint import CheckpointError
from difftori_models.contract.specs import Observation
from difftori_models.inference import graph_cache
from difftori_models.inference.export import export
from difftori_models.inference.planner import BasePlanner, Planner
from difftori_ros.config.parameters import POLICY
from difftori_ros.config.paths import checkpoint_dir
from difftori_ros.policy.open_policy import open_policy, refined
from difftori_ros.policy.scripted import ScriptedPlanner
from difftori_ros.robot.kinematics import Kinematics
from difftori_ros.robot.profile import load_profile

PANDA = load_profile("panda")
SHIPPED = checkpoint_dir() / "pick_cube_state"
DEFAULTS = {parameter.name: parameter.default for parameter in POLICY}
HOME = np.append(PANDA.home, 0.04)


def opened(**values):
    return open_policy(DEFAULTS | {"checkpoint": str(SHIPPED)} | values, PANDA)


def hash_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def seen() -> Observation:
    tip = Kinematics(PANDA).tip_pose(PANDA.home)
    poses = {"tip": tip, "goal": tip + 0.05, "object": tip - 0.05}
    return Observation(10**9, PANDA.joint_names, HOME, np.zeros(8), poses)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    shutil.copytree(SHIPPED, folder, dirs_exist_ok=True)
    export(SHIPPED, folder)
    return folder


@pytest.fixture(autouse=True)
def cache(exported, tmp_path, monkeypatch):
    """A cache of the test's own; what is exported into it was exported before."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(graph_cache, "_refused", {})
    monkeypatch.setattr(graph_cache, "_export", lambda _, out: shutil.copytree(exported, out))


def test_checkpoint_runs_as_graphs_that_are_exported_once_and_give_pytorchs_plans(tmp_path):
    said = []
    sources = [open_policy(DEFAULTS | {"checkpoint": str(SHIPPED)}, PANDA, said.append)]
    assert len(said) == 2
    sources += [opened(backend="eager")]
    planners = [sources[0].planner, sources[0].make(), sources[1].planner]
    assert [planner.backend for planner in planners] == ["onnx", "onnx", "eager"]
    assert len(said) == 2
    first, again, torch = (planner.plan(seen()).actions for planner in planners)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(first, torch, atol=1e-4)


def test_checkpoint_that_cannot_be_exported_runs_with_pytorch(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", "")
    said = []
    source = open_policy(DEFAULTS | {"checkpoint": str(SHIPPED)}, PANDA, said.append)
    assert source.planner.backend == "eager"
    assert ["PyTorch runs it" in text for text in said] == [True]


@pytest.mark.parametrize("backend", ["auto", "eager"])
def test_hash_of_the_weights_is_known_and_may_be_asked_for(backend):
    digest = hash_of(SHIPPED / "weights.safetensors")
    source = opened(checkpoint_sha256=digest, backend=backend)
    assert (source.sha256, source.hashed) == (digest, "weights.safetensors")
    assert isinstance(source.make(), Planner)


@pytest.mark.parametrize("backend", ["auto", "eager"])
def test_other_weights_are_refused_with_both_hashes(backend):
    with pytest.raises(CheckpointError) as refused:
        opened(checkpoint_sha256="ab" * 32, backend=backend)
    assert "ab" * 32 in str(refused.value)
    assert hash_of(SHIPPED / "weights.safetensors") in str(refused.value)


def test_with_graphs_of_its_own_it_is_their_manifest_that_counts_and_not_the_weights(exported):
    source = opened(checkpoint=str(exported))
    assert source.planner.backend == "onnx"
    assert source.hashed == "export.json"
    digest = hash_of(exported / "export.json")
    assert opened(checkpoint=str(exported), checkpoint_sha256=digest).sha256 == digest
    weights = hash_of(exported / "weights.safetensors")
    with pytest.raises(CheckpointError, match=r"export\.json: not the one that is wanted"):
        opened(checkpoint=str(exported), checkpoint_sha256=weights)


def test_hold_has_nothing_to_compare_a_hash_with():
    assert opened(checkpoint="hold").sha256 == ""
    with pytest.raises(CheckpointError, match="no file to compare it with"):
        opened(checkpoint="hold", checkpoint_sha256="ab" * 32)


def test_recording_can_be_pinned_like_weights(tmp_path):
    path = tmp_path / "mine.json"
    data = {"times": [0.0, 1.0], "positions": [HOME.tolist()] * 2}
    path.write_text(json.dumps(data | {"joint_names": list(PANDA.joint_names)}))
    digest = hash_of(path)
    source = opened(checkpoint=f"replay:{path}", checkpoint_sha256=digest)
    assert source.sha256 == digest
    assert isinstance(source.make(), ScriptedPlanner)


def test_refining_is_a_choice_where_there_is_something_to_refine():
    planner = opened().planner
    assert refined(planner, True) is planner
    assert isinstance(refined(planner, False), BasePlanner)
    scripted = opened(checkpoint="hold").planner
    assert refined(scripted, False) is scripted


def test_encoded_observation_is_told_on_request_and_changes_no_plan(exported):
    plans = []
    for checkpoint in (SHIPPED, SHIPPED, exported):
        backend = "onnx" if checkpoint is exported else "eager"
        planner = opened(checkpoint=str(checkpoint), backend=backend).planner
        planner.reset(0)
        planner.publish_latent = len(plans) > 0
        plans.append(planner.plan(seen()))
    silent, told, graphs = plans
    assert silent.context is None
    assert told.context is not None
    assert graphs.context is not None
    np.testing.assert_array_equal(told.actions, silent.actions)
    assert told.context.ndim == 1
    assert told.context.dtype == np.float32
    assert np.ptp(told.context) > 0
    np.testing.assert_allclose(graphs.context, told.context, atol=1e-4)
