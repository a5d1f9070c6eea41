# SPDX-License-Identifier: MIT
"""Augmentation moves and recolours images, by whole pixels and by the seed, in training alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from difftori_models.networks import Inputs
from difftori_models.training.errors import ConfigError
from difftori_models.training.imitation.augment import augment, random_colour, random_shift
from difftori_models.training.imitation.config import TrainConfig

IMAGES = torch.randint(
    0, 256, (64, 12, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)


def config(**settings) -> TrainConfig:
    return TrainConfig(Path("demos.npz"), Path("run"), "name", **settings)


def test_every_shifted_image_is_a_window_of_the_image_with_its_border_repeated() -> None:
    torch.manual_seed(0)
    places = set()
    for before, after in zip(IMAGES, random_shift(IMAGES, 2), strict=True):
        rows = torch.arange(-2, 14).clamp(0, 11)
        columns = torch.arange(-2, 18).clamp(0, 15)
        wide = before[rows][:, columns]
        found = [
            (y, x)
            for y in range(5)
            for x in range(5)
            if torch.equal(after, wide[y : y + 12, x : x + 16])
        ]
        assert len(found) == 1
        places.add(found[0])
    assert {y for y, _ in places} == {x for _, x in places} == set(range(5))


def test_colour_keeps_black_and_white_in_range_and_changes_each_image_on_its_own() -> None:
    torch.manual_seed(0)
    grey = torch.full((200, 2, 2, 3), 128, dtype=torch.uint8)
    changed = random_colour(grey, 0.1, 0.5)[:, 0, 0, 0].int()
    assert (changed - 128).abs().max() <= 26
    assert len(changed.unique()) > 20
    ends = torch.tensor([0, 255], dtype=torch.uint8).repeat(200, 1)[:, None, :, None]
    spread = random_colour(ends, 0.5, 0.5).reshape(200, 2)
    assert (spread[:, 0] <= spread[:, 1]).all(), "no number has wrapped around"


def test_without_settings_nothing_changes_and_the_state_never_does() -> None:
    inputs = Inputs(torch.randn(64, 3), None, (IMAGES,))
    same = augment(inputs, config(shift=0, brightness=0.0, contrast=0.0))
    assert torch.equal(same.images[0], IMAGES)
    changed = augment(inputs, config())
    assert torch.equal(changed.state, inputs.state)
    assert not torch.equal(changed.images[0], IMAGES)


def test_every_cloud_is_moved_as_a_whole_and_coloured_channel_by_channel() -> None:
    torch.manual_seed(0)
    points = torch.cat([torch.randn(200, 5, 3), torch.zeros(200, 5, 3)], dim=-1)
    inputs = Inputs(torch.zeros(200, 1), points)
    assert torch.equal(augment(inputs, config()).points, points)
    changed = augment(inputs, config(cloud_shift=0.02, cloud_colour=0.3)).points
    moved, gain = changed[..., :3] - points[..., :3], (changed[..., 3:] + 0.5) / 0.5
    for same in (moved, gain):
        torch.testing.assert_close(same, same[:, :1].expand(-1, 5, -1))
        assert len(same[:, 0].unique()) > 500
    assert 0.15 < moved.std() < 0.25, "two centimetres, in units of ten"
    assert 0.7 <= gain.min() < 0.72
    assert 1.28 < gain.max() <= 1.3
    bare = augment(Inputs(inputs.state, points[..., :3]), config(cloud_shift=0.02)).points
    assert bare.shape == (200, 5, 3)


def test_the_same_seed_gives_the_same_images() -> None:
    seen = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        seen.append(augment(Inputs(torch.zeros(64, 1), None, (IMAGES,)), config()).images[0])
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])


@pytest.mark.parametrize(
    "wrong", [{"shift": -1}, {"brightness": 2.0}, {"contrast": -0.1}, {"cloud_shift": -1.0}]
)
def test_settings_that_make_no_sense_are_named(wrong) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        config(**wrong)


def test_what_plans_does_not_even_load_the_augmentation() -> None:
    code = "import sys, difftori_models.inference.planner\n"
    code += "import difftori_models.inference.backends.torch_backend\n"
    code += "print([name for name in sys.modules if 'training' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
