# SPDX-License-Identifier: MIT
"""Several frames at once: motion is learned, and training stacks them as deployment does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from difftori_models.checkpoint import load_card
from difftori_models.contract.features import (
    FeatureError,
    policy_images,
    policy_points,
    state_names,
    state_vector,
)
from difftori_models.contract.network_settings import Network
from difftori_models.contract.specs import Observation
from difftori_models.data import (
    DemoEpisode,
    Demos,
    DemosError,
    Meta,
    camera_images,
    load_demos,
    point_clouds,
    state_vectors,
    write_demos,
)
from difftori_models.inference.export import export
from difftori_models.inference.planner import Planner
from difftori_models.networks import Encoder, Inputs
from difftori_models.training.imitation.augment import augment
from difftori_models.training.imitation.config import TrainConfig
from tests.support.reach_task import ACTION, CAMERAS, observation_spec, picture, train

STEPS = 12


def drifting(path: Path, episodes: int, points: int = 0) -> Demos:
    """A thing drifts across the picture or the cloud; the expert moves the way it drifts.

    Nothing else tells which way: neither the state nor any one frame.
    """
    rng = np.random.default_rng(0)
    steps = episodes * STEPS
    speed = np.repeat(rng.uniform(0.01, 0.02, (episodes, 2)), STEPS, axis=0)
    speed *= np.repeat(rng.choice([-1.0, 1.0], (episodes, 2)), STEPS, axis=0)
    middle = np.repeat(rng.uniform(-0.2, 0.2, (episodes, 2)), STEPS, axis=0)
    place = middle + speed * (np.tile(np.arange(STEPS), episodes) - STEPS / 2)[:, None]
    actions = np.zeros((steps, 4), np.float32)
    actions[:, :2] = np.sign(speed)
    spec = observation_spec(points, not points)
    cloud = None
    if points:
        xyz = np.zeros((steps, points, 3)) + rng.normal(0, 0.01, (steps, points, 3))
        xyz[..., :2] += place[:, None]
        cloud = np.concatenate([xyz, np.full_like(xyz, 0.5)], axis=2).astype(np.float32)
    pose = np.array([0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    images = {n: np.array([picture(want, *p) for p in place]) for n, want in CAMERAS.items()}
    position = rng.normal(size=(steps, 3))
    observations = [
        Observation(
            stamp_ns=0,
            joint_names=spec.joint_names,
            position=position[k],
            velocity=np.zeros(3),
            poses=dict.fromkeys((*spec.tips, "goal"), pose),
            points=None if cloud is None else cloud[k],
            images={name: rows[k] for name, rows in images.items()},
        )
        for k in range(steps)
    ]
    parts = [slice(k * STEPS, (k + 1) * STEPS) for k in range(episodes)]
    demos = Demos.from_episodes(
        Meta("drift", "toy", 0.0, spec, ACTION, "drifting"),
        [DemoEpisode(k, observations[part], actions[part]) for k, part in enumerate(parts)],
    )
    write_demos(path, demos)
    return demos


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("drift") / "pictures.npz"
    drifting(path, 80)
    return path


@pytest.fixture(scope="module")
def clouds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("drift") / "clouds.npz"
    drifting(path, 80, points=16)
    return path


def error(demos: Path, out: Path, frames: int) -> float:
    """L1 of the base policy on episodes that it has not seen."""
    settings = {"base_steps": 250, "batch": 64, "shift": 1, "frames": frames}
    train(demos, out, method="bc", save_every=250, **settings)
    return json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])["val_l1"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pictures", "clouds"])
def test_motion_that_no_single_frame_shows_is_learned_from_two(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    demos = request.getfixturevalue(kind)
    assert error(demos, tmp_path / "two", 2) < 0.6 * error(demos, tmp_path / "one", 1)


def test_training_stacks_the_steps_of_an_episode_as_deployment_stacks_frames(
    pictures: Path, clouds: Path
) -> None:
    for path in (pictures, clouds):
        alone = load_demos(path)
        demos = alone.stacked(3, 0.1)
        spec, plain = demos.meta.observation, alone.meta.observation
        for step in (0, 1, STEPS - 1, STEPS, STEPS + 3):
            first = step // STEPS * STEPS
            frames = [alone.observation(max(first, step - 2 * k)) for k in range(3)]
            seen = replace(frames[0], past=tuple(frames[1:]))
            rows = [state_vector(frame, plain) for frame in frames]
            np.testing.assert_array_equal(state_vectors(demos)[step], np.concatenate(rows))
            np.testing.assert_array_equal(state_vectors(demos)[step], state_vector(seen, spec))
            for given, shown in zip(camera_images(demos), policy_images(seen, spec), strict=True):
                np.testing.assert_array_equal(given[step], shown)
            if spec.points:
                found = point_clouds(demos)
                assert found is not None
                np.testing.assert_array_equal(found[step], policy_points(seen, spec))
        assert len(state_names(spec)) == state_vectors(demos).shape[1]
        assert state_names(spec)[-1] == f"{state_names(plain)[-1]}@-2"


def test_frames_that_are_no_whole_steps_apart_are_refused(pictures: Path) -> None:
    with pytest.raises(
        DemosError, match=r"0\.12 s apart are not a whole number of steps of 0\.05"
    ):
        load_demos(pictures).stacked(2, 0.12)


def test_an_observation_with_too_few_frames_is_refused(pictures: Path) -> None:
    demos = load_demos(pictures)
    spec = demos.stacked(3, 0.1).meta.observation
    with pytest.raises(FeatureError, match="asks for 3 frames, there are 1"):
        state_vector(demos.observation(5), spec)


def test_every_frame_reaches_the_latent_and_no_other_sample_does() -> None:
    torch.manual_seed(0)
    encoder = Encoder(Network(state=4, points=6, images=1, frames=2)).eval()
    state, points = torch.randn(2, 4), torch.randn(2, 20, 6)
    images = torch.randint(0, 256, (2, 32, 16, 3), dtype=torch.uint8)
    z = encoder.encode(Inputs(state, points, (images,)))
    assert z.shape == (2, 128)
    for rows in (slice(0, 16), slice(16, 32)):
        changed = images.clone()
        changed[0, rows] = 255 - changed[0, rows]
        other = encoder.encode(Inputs(state, points, (changed,)))
        assert not torch.equal(z[0], other[0])
        torch.testing.assert_close(z[1], other[1])
    swapped = torch.cat([points[:, 10:], points[:, :10]], dim=1)
    assert not torch.allclose(z, encoder.encode(Inputs(state, swapped, (images,))))


def test_augmentation_moves_the_frames_of_a_stack_alike() -> None:
    torch.manual_seed(0)
    one = torch.randint(0, 256, (32, 12, 16, 3), dtype=torch.uint8)
    config = TrainConfig(Path("demos.npz"), Path("run"), "name", frames=2)
    changed = augment(Inputs(torch.zeros(32, 1), None, (torch.cat([one, one], 1),)), config)
    assert changed.images[0].shape == (32, 24, 16, 3)
    assert torch.equal(changed.images[0][:, :12], changed.images[0][:, 12:])
    assert not torch.equal(changed.images[0][:, :12], one)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pictures", "clouds"])
def test_a_policy_of_two_frames_is_exported_and_plans_without_pytorch_the_same(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    path = request.getfixturevalue(kind)
    settings = {"base_steps": 5, "head_steps": 5, "batch": 16, "iterations": 3, "frames": 2}
    folder = train(path, tmp_path / "run", **settings)
    manifest = export(folder, tmp_path / "out")
    assert manifest.difference < 1e-4
    card = load_card(folder)
    assert (card.observation.frames, card.network.frames) == (2, 2)
    observation = load_demos(path).stacked(2, 0.1).observation(7)
    plans = [
        Planner(where, backend=backend).plan(observation)
        for where, backend in ((folder, "eager"), (tmp_path / "out", "onnx"))
    ]
    np.testing.assert_allclose(plans[0].actions, plans[1].actions, atol=1e-5)
