# SPDX-License-Identifier: MIT
"""A card names its cameras, and their order is that of the networks."""

from dataclasses import replace
from pathlib import Path

from difftori_models.contract.specs import ImageSpec
from difftori_models.policies.load import load_policy
from tests.unit.test_checkpoint import new_card, save, weights


def test_a_card_with_cameras_is_read_back_in_their_order(tmp_path: Path) -> None:
    card = new_card()
    images = {"wrist": ImageSpec(16, 24), "base": ImageSpec(8, 8, (0.1, 0.2, 0.9, 1.0), True)}
    card = replace(
        card,
        observation=replace(card.observation, images=images),
        network=replace(card.network, images=2),
    )
    saved = save(tmp_path / "tiny", card, weights(card))
    read = load_policy(tmp_path / "tiny")
    assert read.card == saved
    assert list(read.card.observation.images) == ["wrist", "base"]
    assert read.card.observation.streams == ("joint_states", "goal", "wrist", "base")
