# SPDX-License-Identifier: MIT
"""Cards of older schemas are read as what they meant; what a card leaves out has its default."""

import copy
from typing import Any

import pytest

from difftori_models.checkpoint import CheckpointError, check_card, decode_card, migrate
from difftori_models.contract.strict_json import JsonError, encode, loads
from difftori_models.contract.world_model_settings import WorldSolver
from difftori_ros.config.paths import checkpoint_dir
from tests.unit.test_checkpoint import new_card

CARD = new_card(points=True)


def card_data(**changes: Any) -> dict[str, Any]:
    """The JSON of a card of the present schema."""
    return copy.deepcopy(encode(CARD)) | changes


def learned_by_reward(**changes: Any) -> dict[str, Any]:
    """The JSON of a shipped card of a policy that was learned by reward."""
    data = loads((checkpoint_dir() / "push_cube_rl_state" / "card.json").read_text())
    return data | changes


def test_a_card_of_schema_2_sees_no_images_and_a_single_frame_and_cloud() -> None:
    data = card_data(schema=2)
    del data["base"], data["network"]["objective"], data["solver"]["sampler"]
    for key in ("images", "frames", "frames_apart_s", "vectors"):
        del data["observation"][key]
    for key in ("clouds", "self_filter_m", "outlier_radius_m"):
        del data["observation"]["points"][key]
    for key in ("images", "frames"):
        del data["network"][key]
    for key in ("tip_low", "tip_high"):
        del data["action"][key]
    card = decode_card(data)
    check_card(card)
    assert card == CARD
    assert card.schema == 4
    assert card.observation.streams == ("joint_states", "goal", "points")
    assert (card.action.tip_low, card.action.tip_high) == (None, None)


def test_a_card_of_schema_3_without_a_base_means_behaviour_cloning() -> None:
    data = card_data(schema=3)
    del data["base"]
    assert decode_card(data) == CARD
    assert decode_card(card_data(schema=3, base="ibc")).base == "ibc"


def test_a_card_of_schema_3_may_ask_for_one_solve_alone() -> None:
    data = card_data(schema=3)
    del data["solver"]["start"]
    data["solver"] |= {"answer": "last", "starts": ["zero"], "latents": 1}
    assert decode_card(data).solver.start == "zero"
    for several in ({"answer": "best"}, {"starts": ["base", "previous"]}, {"latents": 8}):
        asked = data | {"solver": data["solver"] | several}
        with pytest.raises(CheckpointError, match="one solve from one of base, previous, zero"):
            decode_card(asked)


def test_a_card_of_schema_3_calls_the_objective_a_score() -> None:
    data = card_data(schema=3)
    del data["network"]["objective"]
    data["network"]["score"] = "dynamics"
    assert decode_card(data).network.objective == "dynamics"
    with pytest.raises(JsonError, match="network: unknown score"):
        decode_card(data | {"schema": 4})


def test_the_base_of_what_was_learned_by_reward_meant_nothing_in_schema_3() -> None:
    card = decode_card(learned_by_reward(schema=3, base="bc"))
    check_card(card)
    assert card.base is None
    assert isinstance(card.solver, WorldSolver)


def test_what_was_learned_by_reward_has_no_base_in_schema_4() -> None:
    card = decode_card(learned_by_reward(base="bc"))
    with pytest.raises(CheckpointError, match="base is 'bc': what was learned by reward"):
        check_card(card)


def test_migrating_leaves_what_it_was_given_alone() -> None:
    data = card_data(schema=3)
    data["network"]["score"] = data["network"].pop("objective")
    before = copy.deepcopy(data)
    assert migrate(data) == card_data()
    assert data == before


def test_a_card_of_the_present_schema_says_everything_when_it_is_written() -> None:
    data = card_data()
    assert decode_card(data) == CARD
    assert set(data["network"]) == set(vars(CARD.network))
    assert set(data["solver"]) == set(vars(CARD.solver))


def test_what_a_card_leaves_out_has_its_default_and_what_has_none_is_missing() -> None:
    data = card_data()
    for part, key in (("network", "dropout"), ("solver", "method"), ("observation", "images")):
        del data[part][key]
    assert decode_card(data) == CARD
    del data["observation"]["frame"]
    with pytest.raises(JsonError, match="observation: missing frame"):
        decode_card(data)


def test_every_shipped_card_is_of_the_present_schema() -> None:
    for path in sorted(checkpoint_dir().glob("*/card.json")):
        data = loads(path.read_text())
        assert encode(decode_card(data)) == data, path
