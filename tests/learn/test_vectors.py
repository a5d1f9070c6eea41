# SPDX-License-Identifier: MIT
"""Flat arrays of other environments: seen by name, written and read, and no robot's business."""

from dataclasses import replace

import numpy as np
import pytest

from difftori_models.checkpoint import decode_card
from difftori_models.contract.features import FeatureError, state_names, state_vector
from difftori_models.contract.specs import ActionSpec, Card, Observation, ObservationSpec
from difftori_models.contract.strict_json import encode, loads
from difftori_models.data import (
    DemoEpisode,
    Demos,
    DemosError,
    Meta,
    load_demos,
    state_vectors,
    write_demos,
)
from difftori_ros.config.paths import checkpoint_dir
from difftori_ros.policy.compatibility import check_card
from difftori_ros.robot.profile import ProfileError, load_profile

SPEC = ObservationSpec(
    frame="world",
    joint_names=(),
    poses=(),
    features=("speed", "place"),
    vectors={"place": 3, "speed": 2},
)
ACTION = ActionSpec(
    kind="env",
    names=("push",),
    scale=(1.0,),
    low=(-1.0,),
    high=(1.0,),
    dt_s=0.05,
    horizon=2,
    execute=1,
)


def seen(**vectors) -> Observation:
    return Observation(0, (), np.zeros(0), np.zeros(0), {}, vectors=vectors)


def test_vectors_are_bound_by_name_in_the_order_of_the_features():
    vector = state_vector(seen(place=np.array([1.0, 2.0, 3.0]), speed=np.array([4.0, 5.0])), SPEC)
    assert vector.tolist() == [4.0, 5.0, 1.0, 2.0, 3.0]
    assert state_names(SPEC)[:3] == ("speed.0", "speed.1", "place.0")


@pytest.mark.parametrize(
    ("vectors", "complaint"),
    [
        ({"place": np.zeros(3)}, "vector 'speed' is wanted; the observation has place"),
        ({"place": np.zeros(3), "speed": np.zeros(3)}, r"must have shape \(2,\), got \(3,\)"),
    ],
)
def test_vector_that_is_missing_or_of_another_length_is_refused(vectors, complaint):
    with pytest.raises(FeatureError, match=complaint):
        state_vector(seen(**vectors), SPEC)


def write(path, **vectors):
    steps = [seen(**{name: rows[k] for name, rows in vectors.items()}) for k in range(3)]
    still = np.zeros((3, 1))
    episodes = [DemoEpisode(3, steps[:2], still[:2]), DemoEpisode(4, steps[2:], still[2:])]
    meta = Meta("a.task", "nobody", 0.0, SPEC, ACTION, "made here")
    write_demos(path, Demos.from_episodes(meta, episodes))


def test_demonstrations_without_joints_and_tip_are_what_they_were_when_read_again(tmp_path):
    rng = np.random.default_rng(0)
    vectors = {"place": rng.normal(size=(3, 3)), "speed": rng.normal(size=(3, 2))}
    write(tmp_path / "demos.npz", **vectors)
    demos = load_demos(tmp_path / "demos.npz")
    np.testing.assert_array_equal(demos.vectors["place"], vectors["place"])
    speed = vectors["speed"][1].astype(np.float32)
    np.testing.assert_array_equal(state_vectors(demos)[1, :2], speed)


def test_demonstrations_whose_vectors_do_not_fit_are_refused(tmp_path):
    with pytest.raises(DemosError, match="step 0 lacks speed among its vectors: place"):
        write(tmp_path / "demos.npz", place=np.zeros((3, 3)))
    with pytest.raises(DemosError, match=r"vector_speed must have shape \(3, 2\)"):
        write(tmp_path / "demos.npz", place=np.zeros((3, 3)), speed=np.zeros((3, 1)))
    assert list(tmp_path.iterdir()) == []


def test_card_that_says_nothing_of_vectors_has_none():
    data = loads((checkpoint_dir() / "pick_cube_state" / "card.json").read_text())
    del data["observation"]["vectors"]
    assert decode_card(data).observation.vectors == {}


def test_checkpoint_of_a_suite_is_no_robots_and_says_so():
    data = loads((checkpoint_dir() / "pick_cube_state" / "card.json").read_text())
    card: Card = replace(decode_card(data), task="metaworld.push", action=ACTION)
    with pytest.raises(ProfileError, match=r"'metaworld\.push' of a suite.*no robot of ours"):
        check_card(card, load_profile("panda"))
    assert encode(card)["action"]["kind"] == "env"
