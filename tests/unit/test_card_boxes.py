# SPDX-License-Identifier: MIT
"""A card may keep the tip in a box and drop outliers; one that says neither does neither."""

from pathlib import Path

import pytest

from difftori_models.policies.load import load_policy
from tests.unit.test_checkpoint import (
    POINTS,
    CheckpointError,
    edit_card,
    new_card,
    save,
    weights,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    card = new_card()
    save(tmp_path / "tiny", card, weights(card))
    return tmp_path / "tiny"


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        ([0, 0, 0], None, "action.tip_low and tip_high: one is null"),
        ([0, 0, 0.1], [1, 1, 0.1], "action.tip_low is 0.1 and tip_high 0.1 along z"),
    ],
)
def test_a_box_without_room_is_refused(folder: Path, low, high, words: str) -> None:
    edit_card(folder, action__tip_low=low, action__tip_high=high)
    with pytest.raises(CheckpointError, match=words):
        load_policy(folder)


def test_a_card_that_says_nothing_of_a_box_has_none(folder: Path) -> None:
    edit_card(folder, action__tip_low=..., action__tip_high=...)
    action = load_policy(folder).card.action
    assert (action.tip_low, action.tip_high) == (None, None)


def test_a_radius_of_nothing_is_refused(folder: Path) -> None:
    edit_card(folder, observation__points=POINTS | {"outlier_radius_m": 0.0})
    with pytest.raises(CheckpointError, match=r"outlier_radius_m is 0\.0"):
        load_policy(folder)


def test_points_that_say_nothing_of_a_filter_are_kept_all(folder: Path) -> None:
    edit_card(folder, observation__points=POINTS, network__points=6)
    with pytest.raises(CheckpointError) as caught:
        load_policy(folder)
    assert "outlier_radius_m" not in str(caught.value), "only the weights do not fit"
