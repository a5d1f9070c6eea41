# SPDX-License-Identifier: MIT
"""An input far from the training is named with its distance; one like the training is not."""

import dataclasses

import numpy as np
import pytest

from difftori_models.checkpoint import CheckpointError, check_card, load_card
from difftori_models.contract.features import state_names
from difftori_models.contract.input_statistics import summaries, summary_names, summary_statistics
from difftori_models.contract.specs import ImageSpec, Observation, ObservationSpec, PointSpec
from difftori_ros.config.paths import find_checkpoint
from difftori_ros.observation.novelty import FAR, Novelty, NoveltyWatch, novelty
from difftori_ros.policy.scripted import ScriptedPlanner
from difftori_ros.robot.kinematics import Kinematics
from difftori_ros.robot.profile import load_profile

PANDA = load_profile("panda")
CARD = load_card(find_checkpoint("pick_cube_state"))
POINTS = PointSpec("panda_link0", 64, True, (0.0, -1.0, 0.0), (1.0, 1.0, 1.0))
SPEC = ObservationSpec(
    "panda_link0", PANDA.joint_names, (), ("position",), POINTS, {"camera": ImageSpec(8, 8)}
)


def at_home(**poses):
    tip = Kinematics(PANDA).tip_pose(PANDA.home)
    given = {"tip": tip, "tip@points": tip, "goal": tip, "object": tip} | poses
    position = np.append(PANDA.home, 0.04)
    return Observation(1, PANDA.joint_names, position, np.zeros(8), given)


def observation_of(seed):
    rng = np.random.default_rng(seed)
    points = rng.uniform([0, -1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1], (64, 6)).astype(np.float32)
    image = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return dataclasses.replace(at_home(), points=points, images={"camera": image})


def card_that_saw(count):
    seen = [observation_of(seed) for seed in range(count)]
    points = np.array([o.points for o in seen])
    images = {"camera": np.array([o.images["camera"] for o in seen])}
    tips = np.array([o.poses["tip"] for o in seen])
    statistics = summary_statistics(SPEC, {"tip@points": tips}, points, images, np.arange(count))
    state = {"mean": tuple(seen[0].position), "std": (0.1,) * 8}
    return dataclasses.replace(
        CARD, observation=SPEC, normaliser={"state": state, "action": {}, **statistics}
    )


def test_every_entry_of_the_state_has_its_distance_in_standard_deviations():
    mean, std = (np.array(CARD.normaliser["state"][key]) for key in ("mean", "std"))
    found = novelty(at_home(), CARD).distances
    assert tuple(found) == state_names(CARD.observation)
    assert found["position.panda_joint1"] == pytest.approx(abs(PANDA.home[0] - mean[0]) / std[0])


def test_a_goal_across_the_room_is_far_and_the_sentence_names_the_worst_feature():
    away = np.array([5.0, 0.0, 0.2, 0.0, 0.0, 0.0, 1.0])
    found = novelty(at_home(goal=away), CARD)
    name, distance = found.worst
    assert name in ("goal-tip.x", "goal-object.x")
    assert found.far().startswith(f"{name} is {distance:.1f} standard deviations from its mean")


def test_one_feature_alone_is_told_alone_and_none_not_at_all():
    assert Novelty({"a": 9.3, "b": 1.0}).far() == "a is 9.3 standard deviations from its mean"
    told = Novelty({"a": 9.3, "b": 8.5}).far()
    assert told == "a is 9.3 standard deviations from its mean, and 1 more are as far"
    assert Novelty({"a": FAR}).far() is None
    told = Novelty({"a": 9.3, "cloud": 6.6}, {"cloud": 5.0}).far()
    assert told.startswith("cloud is 6.6")  # further beyond its limit
    assert Novelty({}).far() is None


def test_a_number_that_is_none_is_infinitely_far():
    seen = dataclasses.replace(at_home(), position=np.full(8, np.nan))
    assert novelty(seen, CARD).worst[1] == np.inf


def test_clouds_and_images_like_those_of_the_training_are_near_and_others_far():
    card = card_that_saw(20)
    for seed in (100, 101):
        assert novelty(observation_of(seed), card).far() is None
    seen = observation_of(100)
    moved = seen.points + np.array([0.3, 0, 0, 0, 0, 0], dtype=np.float32)
    found = novelty(dataclasses.replace(seen, points=moved), card)
    assert found.distances["cloud centroid.x"] > novelty(seen, card).distances["cloud centroid.x"]
    dark = {"camera": np.zeros((8, 8, 3), np.uint8)}
    found = novelty(dataclasses.replace(seen, images=dark), card)
    assert found.far() is not None
    assert found.worst[0].startswith("camera ")


def test_summaries_have_the_names_that_are_told():
    found = summaries(observation_of(0), SPEC)
    names = summary_names(SPEC)
    assert {kind: len(values) for kind, values in found.items()} == {
        kind: len(of) for kind, of in names.items()
    }
    assert found["points"][:3] == pytest.approx(observation_of(0).points[:, :3].mean(axis=0))


def test_a_camera_that_was_moved_shows_at_the_hand_more_than_in_the_whole_cloud():
    rng = np.random.default_rng(0)
    tip = at_home().poses["tip"][:3]

    def seen(shift):
        # a hand that always looks the same, and things that lie elsewhere every time
        hand = tip + rng.uniform(-0.03, 0.03, (32, 3)) + shift
        things = rng.uniform(0.1, 0.4, 3) + rng.uniform(-0.02, 0.02, (32, 3)) + shift
        points = np.column_stack([np.vstack([hand, things]), np.full((64, 3), 0.5)])
        return dataclasses.replace(at_home(), points=points.astype(np.float32))

    spec = dataclasses.replace(SPEC, images={})
    clouds = np.array([seen(0.0).points for _ in range(50)])
    tips = np.tile(at_home().poses["tip"], (50, 1))
    statistics = summary_statistics(spec, {"tip@points": tips}, clouds, {}, np.arange(50))
    state = card_that_saw(2).normaliser["state"]
    card = dataclasses.replace(CARD, observation=spec, normaliser={"state": state, **statistics})
    found = novelty(seen(np.array([0.0, 0.03, 0.0])), card).distances
    assert found["cloud hand.y"] > 4.0
    assert found["cloud hand.y"] > 2.0 * found["cloud centroid.y"]
    assert novelty(seen(0.0), card).far() is None


def test_a_card_without_cloud_statistics_tells_of_the_state_alone():
    card = dataclasses.replace(
        CARD, observation=SPEC, normaliser={"state": card_that_saw(2).normaliser["state"]}
    )
    assert set(novelty(observation_of(0), card).distances) == set(state_names(SPEC))


def test_a_policy_without_a_network_was_trained_on_nothing():
    assert novelty(at_home(), ScriptedPlanner(PANDA).card).far() is None


def test_a_card_may_hold_statistics_of_its_cloud_and_of_nothing_that_it_does_not_see():
    card = load_card(find_checkpoint("pick_cube_points"))
    whole = {"mean": (0.0,) * 12, "std": (1.0,) * 12}
    check_card(dataclasses.replace(card, normaliser={**card.normaliser, "points": whole}))
    short = {"mean": (0.0,) * 6, "std": (1.0,) * 6}
    with pytest.raises(CheckpointError, match=r"normaliser\.points\.mean has 6, wanted 12"):
        check_card(dataclasses.replace(card, normaliser={**card.normaliser, "points": short}))
    with pytest.raises(CheckpointError, match="normaliser must have"):
        check_card(dataclasses.replace(CARD, normaliser={**CARD.normaliser, "points": whole}))


def test_a_watch_speaks_up_at_the_first_observation_of_an_episode_and_tells_of_all():
    away = at_home(goal=np.array([5.0, 0.0, 0.2, 0.0, 0.0, 0.0, 1.0]))
    watch = NoveltyWatch(CARD)
    assert watch.look(away) == novelty(away, CARD).far()
    assert watch.look(away) is None
    name, distance = novelty(away, CARD).worst
    assert watch.value == f"{distance:.1f} {name}"
    watch.reset()
    assert watch.value == ""
    assert watch.look(away) is not None
    watch = NoveltyWatch(CARD)
    watch.look(at_home())
    assert watch.look(away) is None  # the arm moves by then
    watch = NoveltyWatch(ScriptedPlanner(PANDA).card)
    assert watch.look(away) is None
    assert watch.value == "not known"
